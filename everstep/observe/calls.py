"""Spans for what a step does outside: models, embeddings, searches, tools, judgements. They hang under the step's own.

Outside of a step, and where nothing is traced, they cost one look and do nothing. Tokens are counted by the metrics of
the worker as well.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self

from everstep.observe import conversation, describe, names
from everstep.observe.careful import careful
from everstep.observe.meters import meters
from everstep.observe.names import Kind
from everstep.observe.port import OpenSpan, Tracing, tracing
from everstep.passes import Suspension

DOCUMENTS_SHOWN = 50
"""How many of the documents that a search found are told."""

MESSAGES_SHOWN = 50
"""How many messages of a conversation are told: the last ones."""


class Document(NamedTuple):
    """What a search found: `score` is its own; `place` is where it stands, for people; `metadata` says more."""

    id: str
    score: float
    content: str = ""
    place: str = ""
    metadata: Mapping[str, Any] | None = None


class _Call:
    """A span for one call, if the step that makes it is traced."""

    def __init__(self, name: str, kind: Kind, *, quiet: bool = False) -> None:
        self._name = name
        self._kind: Kind = kind
        self._quiet = quiet
        self._tracing: Tracing | None = None
        self._span: OpenSpan | None = None
        self._inside: AbstractContextManager[None] | None = None

    def __enter__(self) -> Self:
        makes = self._tracing = tracing()
        if makes is not None:
            with careful():
                self._begin(makes)
        return self

    def _begin(self, makes: Tracing) -> None:
        span = makes.begin_inside(self._name, self._kind, {})
        if span is None:
            return
        span.set(self._asked(payloads=makes.payloads))
        inside = makes.within(span, quiet=self._quiet)
        inside.__enter__()
        self._span, self._inside = span, inside

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._span is None or self._inside is None:
            return
        with careful():
            self._inside.__exit__(None, None, None)
            if error is not None and not isinstance(error, Suspension):  # a step that waits in here comes again
                self._span.fail(error)
            self._span.end()

    def _asked(self, *, payloads: bool) -> dict[str, Any]:
        return {}

    def _tell(self, attributes: Mapping[str, Any], **contents: Any) -> None:
        """Add attributes, and contents where they are wanted; those are given as functions that make them."""
        if self._span is None or self._tracing is None:
            return
        with careful():
            self._span.set(attributes)
            if self._tracing.payloads:
                for make in contents.values():
                    self._span.set(make())


class LlmCall(_Call):
    """A call of a chat model. While it lasts, instrumentations of clients are quiet: it would be told twice.

    Args:
        model: as asked for.
        messages: the conversation: objects or mappings with ``role`` and ``content``, and where tools are called with
            ``tool_calls`` (of ``tool_name``, ``tool_kwargs`` and ``tool_id``) and ``tool_call_id``; told where contents
            are.
        parameters: what else was asked for.
        tools: what the model may ask to be called: objects with ``name``, ``description`` and ``parameters``, the JSON
            Schema of the arguments; told where contents are.

    Example:
        >>> with LlmCall("gpt-4.1-mini", messages) as call:
        ...     answer = await ask(messages)
        ...     call.answered(answer.text, prompt_tokens=answer.read, completion_tokens=answer.written)
    """

    def __init__(
        self,
        model: str,
        messages: Sequence[Any] = (),
        parameters: Mapping[str, Any] | None = None,
        tools: Sequence[Any] = (),
    ) -> None:
        super().__init__(f"chat {model}", "LLM", quiet=True)
        self._model = model
        self._messages = messages
        self._parameters = parameters
        self._tools = tools

    def _asked(self, *, payloads: bool) -> dict[str, Any]:
        told: dict[str, Any] = {
            names.LLM_MODEL: self._model,
            names.LLM_PARAMETERS: json.dumps(self._parameters, default=str) if self._parameters else None,
            names.INPUT_SIZE: sum(len(conversation.text(message)) for message in self._messages),
        }
        if payloads:
            for number, message in enumerate(self._messages[-MESSAGES_SHOWN:]):
                told |= conversation.message(number, message)
            for number, tool in enumerate(self._tools):
                told[names.LLM_TOOL.format(number)] = conversation.tool(tool)
            if self._messages:
                told |= describe.content(names.INPUT, names.INPUT_TYPE, conversation.text(self._messages[-1]))
        return told

    def answered(
        self,
        text: str,
        *,
        prompt_tokens: int = 0,
        completion_tokens: int = 0,
        model: str = "",
        tool_calls: Sequence[tuple[str, Any] | tuple[str, Any, str]] = (),
    ) -> None:
        """What came back.

        Args:
            text: the answer's text.
            prompt_tokens: how many were read.
            completion_tokens: how many were written.
            model: as the server names it.
            tool_calls: the tools that the model wants to be called, each by name with its arguments, and with its id.
        """
        meters().tokens(model or self._model, prompt_tokens, completion_tokens)
        counts: dict[str, Any] = {
            names.LLM_MODEL: model or self._model,
            names.LLM_PROMPT_TOKENS: prompt_tokens,
            names.LLM_COMPLETION_TOKENS: completion_tokens,
            names.LLM_TOTAL_TOKENS: prompt_tokens + completion_tokens,
        }
        self._tell(
            counts | {names.OUTPUT_SIZE: len(text)} | conversation.tools_asked(tool_calls),
            message=lambda: conversation.answer(text),
            output=lambda: describe.content(names.OUTPUT, names.OUTPUT_TYPE, text),
            arguments=lambda: conversation.tool_arguments(tool_calls),
        )


class EmbeddingCall(_Call):
    """A call that turns texts into vectors.

    Args:
        model: what turns them.
        texts: what is turned; told where contents are.

    Example:
        >>> with EmbeddingCall("MiniLM", [query]):
        ...     hits = await search(query)
    """

    def __init__(self, model: str, texts: Sequence[str]) -> None:
        super().__init__(f"embed {model}", "EMBEDDING", quiet=True)
        self._model = model
        self._texts = texts

    def _asked(self, *, payloads: bool) -> dict[str, Any]:
        told: dict[str, Any] = {
            names.EMBEDDING_MODEL: self._model,
            names.EVENT_COUNT: len(self._texts),
            names.INPUT_SIZE: sum(map(len, self._texts)),
        }
        if payloads:
            for number, text in enumerate(self._texts[:DOCUMENTS_SHOWN]):
                told[names.EMBEDDING_TEXT.format(number)] = describe.shortened(text)
        return told

    def counted(self, tokens: int) -> None:
        """How many tokens the server counted."""
        meters().tokens(self._model, tokens, 0)
        self._tell({names.LLM_PROMPT_TOKENS: tokens, names.LLM_TOTAL_TOKENS: tokens})


class RetrieverCall(_Call):
    """A search for documents.

    Args:
        name: what is searched, or how, for people.
        query: what is searched for; told where contents are.

    Example:
        >>> with RetrieverCall("search by meaning", query) as call:
        ...     call.found([Document(hit.id, hit.score, hit.text) for hit in await search(query)])
    """

    def __init__(self, name: str, query: str = "") -> None:
        super().__init__(name, "RETRIEVER")
        self._query = query

    def _asked(self, *, payloads: bool) -> dict[str, Any]:
        told: dict[str, Any] = {names.INPUT_SIZE: len(self._query)}
        return told | describe.content(names.INPUT, names.INPUT_TYPE, self._query) if payloads else told

    def found(self, documents: Sequence[Document]) -> None:
        """What it found, best first."""
        told: dict[str, Any] = {names.EVENT_COUNT: len(documents)}
        told |= _ranked(names.DOCUMENT, documents)
        self._tell(told, contents=lambda: _contents(names.DOCUMENT, documents))


class RerankerCall(_Call):
    """Documents put into a better order.

    Args:
        model: what orders them.
        query: what they are to answer.
        documents: those that a search found, in its order.
        top: how many are wanted.

    Example:
        >>> with RerankerCall("my-cross-encoder", query, found, top=5) as call:
        ...     call.ordered(await best(query, found))
    """

    def __init__(self, model: str, query: str, documents: Sequence[Document], *, top: int) -> None:
        super().__init__(f"rerank {model}", "RERANKER")
        self._model = model
        self._query = query
        self._documents = documents
        self._top = top

    def _asked(self, *, payloads: bool) -> dict[str, Any]:
        told: dict[str, Any] = {
            names.RERANKER_MODEL: self._model,
            names.RERANKER_TOP: self._top,
            names.INPUT_SIZE: len(self._query),
        }
        told |= _ranked(names.RERANKER_INPUT, self._documents)
        if payloads:
            told |= {names.RERANKER_QUERY: describe.shortened(self._query)}
            told |= describe.content(names.INPUT, names.INPUT_TYPE, self._query)
            told |= _contents(names.RERANKER_INPUT, self._documents)
        return told

    def ordered(self, documents: Sequence[Document]) -> None:
        """The best of them, best first, with their new scores."""
        told: dict[str, Any] = {names.EVENT_COUNT: len(documents)}
        told |= _ranked(names.RERANKER_OUTPUT, documents)
        self._tell(told, contents=lambda: _contents(names.RERANKER_OUTPUT, documents))


class ToolCall(_Call):
    """A call of a tool.

    Args:
        name: the tool.
        arguments: what it is given, as plain data; told where contents are.
        description: what it is for.

    Example:
        >>> with ToolCall("refund", {"order": "A-1001"}) as call:
        ...     call.gave(await refund("A-1001"))
    """

    def __init__(self, name: str, arguments: Mapping[str, Any] | None = None, description: str = "") -> None:
        super().__init__(name, "TOOL")
        self._arguments = arguments or {}
        self._description = description

    def _asked(self, *, payloads: bool) -> dict[str, Any]:
        arguments = json.dumps(self._arguments, ensure_ascii=False, default=str)
        told: dict[str, Any] = {
            names.TOOL_NAME: self._name,
            names.TOOL_DESCRIPTION: self._description or None,
            names.INPUT_SIZE: len(arguments),
        }
        if payloads:
            told |= {names.TOOL_PARAMETERS: describe.shortened(arguments)}
            told |= describe.content(names.INPUT, names.INPUT_TYPE, self._arguments)
        return told

    def gave(self, result: Any) -> None:
        """What the tool gave back."""
        text = result if isinstance(result, str) else json.dumps(result, ensure_ascii=False, default=str)
        self._tell(
            {names.OUTPUT_SIZE: len(text)},
            output=lambda: describe.content(names.OUTPUT, names.OUTPUT_TYPE, result),
        )


class EvaluatorCall(_Call):
    """A judgement of an answer.

    Args:
        name: what is judged, for people.
        by: what judges: ``LLM``, ``CODE`` or ``HUMAN``.
        subject: what is judged, as text or plain data; told where contents are.

    Example:
        >>> with EvaluatorCall("judge answer", "CODE", answer) as call:
        ...     call.scored({"grounded": 0.5}, "one of two statements is in no source")
    """

    def __init__(self, name: str, by: Literal["LLM", "CODE", "HUMAN"], subject: Any = "") -> None:
        super().__init__(name, "EVALUATOR")
        self._by = by
        self._subject = subject

    def _asked(self, *, payloads: bool) -> dict[str, Any]:
        told: dict[str, Any] = {names.INPUT_SIZE: len(str(self._subject))}
        return told | describe.content(names.INPUT, names.INPUT_TYPE, self._subject) if payloads else told

    def scored(self, scores: Mapping[str, float], explanation: Any = "") -> None:
        """What came out: a number for each name. The explanation, text or plain data, is told where contents are."""
        told: dict[str, Any] = {}
        for number, (name, score) in enumerate(scores.items()):
            at = names.EVALUATION.format(number)
            told |= {
                at + names.EVALUATION_NAME: name,
                at + names.EVALUATION_SCORE: float(score),
                at + names.EVALUATION_BY: self._by,
            }
        output = {"scores": dict(scores), "explanation": explanation}
        self._tell(told, output=lambda: describe.content(names.OUTPUT, names.OUTPUT_TYPE, output))


def _ranked(at: str, documents: Sequence[Document]) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for number, one in enumerate(documents[:DOCUMENTS_SHOWN]):
        place = at.format(number)
        told |= {place + names.DOCUMENT_ID: one.id, place + names.DOCUMENT_SCORE: one.score}
    return told


def _contents(at: str, documents: Sequence[Document]) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for number, one in enumerate(documents[:DOCUMENTS_SHOWN]):
        place = at.format(number)
        told[place + names.DOCUMENT_CONTENT] = describe.shortened(one.content)
        metadata = ({"place": one.place} if one.place else {}) | dict(one.metadata or {})
        if metadata:
            told[place + names.DOCUMENT_METADATA] = json.dumps(metadata, ensure_ascii=False, default=str)
    return told
