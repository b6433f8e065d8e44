"""Has the site generator read sources as they are written here.

`Example:` begins a section of examples; a pydantic model is made by its fields, which is what its signature shows.
"""

from __future__ import annotations

import re
from typing import Any

import griffe  # pyright: ignore[reportMissingImports]  # in the generator's own venv

_EXAMPLE = re.compile(r"^Example:$", re.MULTILINE)
_MODELS = re.compile(r"(^|\.)(BaseModel|\w*Event|\w*NodeBase)$")
_BY_KEYWORD = griffe.ParameterKind.keyword_only


class Examples(griffe.Extension):
    """Names the section as the parser knows it."""

    def on_object(self, *, obj: Any, **kwargs: Any) -> None:
        """Called for each module, class, function and attribute."""
        if obj.docstring:
            obj.docstring.value = _EXAMPLE.sub("Examples:", obj.docstring.value)


class Models(griffe.Extension):
    """Gives models the signature that they have at run time."""

    def on_class(self, *, cls: Any, **kwargs: Any) -> None:
        """Called for each class."""
        if "__init__" in cls.members or not any(_MODELS.search(str(base)) for base in cls.bases):
            return
        fields = [member for member in cls.members.values() if member.is_attribute and _is_field(member)]
        if fields:
            parameters = griffe.Parameters(
                griffe.Parameter("self", kind=griffe.ParameterKind.positional_or_keyword),
                *(
                    griffe.Parameter(one.name, annotation=one.annotation, kind=_BY_KEYWORD, default=_default(one))
                    for one in fields
                ),
            )
            made = griffe.Function("__init__", lineno=cls.lineno, endlineno=cls.lineno, parameters=parameters)
            cls.set_member("__init__", made)


def _is_field(member: Any) -> bool:
    # Properties are attributes too, and what is a ClassVar is none of an instance.
    return "instance-attribute" in member.labels and member.annotation is not None and not member.name.startswith("_")


def _default(member: Any) -> Any:
    """A default as readers see it: what a factory makes is not told by its call."""
    return "..." if str(member.value or "").startswith("Field(") else member.value
