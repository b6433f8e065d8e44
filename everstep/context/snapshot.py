"""A run in process, taken down at one moment as plain JSON, so that it can go on from there later.

Steps that were in flight run again, under the idempotency keys that they had; waits, requests and timers stay.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

from everstep.context.serializers import BaseSerializer, JsonSerializer
from everstep.engine import paths
from everstep.engine.core import Engine
from everstep.errors import ContextSerdeError
from everstep.flow.definition import FlowDefinition

VERSION = 1

_SHAPE = "give what Context.to_dict() gave, whole, with the serializer that it was given"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A context, taken down.

    Attributes:
        flow: the name of the flow.
        state: the run's state.
        run_id: the run's id, where there was one.
        definition: the flow as it was when the run began; None unless the run was under way.
        engine: the engine's snapshot, without the state.
        tries: of the invocations in flight, what their attempts had come to.
        children: the runs below that were under way, by their ids.
    """

    flow: str
    state: Mapping[str, Any] = field(default_factory=dict[str, Any])
    run_id: str | None = None
    definition: FlowDefinition | None = None
    engine: Mapping[str, Any] = field(default_factory=dict[str, Any])
    tries: Mapping[int, Mapping[str, Any]] = field(default_factory=dict[int, Mapping[str, Any]])
    children: Mapping[str, Snapshot] = field(default_factory=dict[str, "Snapshot"])

    @property
    def under_way(self) -> bool:
        """Whether there is a run to go on with."""
        return self.definition is not None

    @classmethod
    def of(
        cls, run_id: str, engine: Engine, tries: Mapping[int, Mapping[str, Any]], children: Mapping[str, Snapshot]
    ) -> Snapshot:
        """Take down a run; what is taken down shares nothing with it."""
        flow = engine.definition.name
        taken = paths.copied(engine.snapshot())
        state = taken.pop("state")
        if not engine.run.active:
            return cls(flow, state, run_id)
        return cls(flow, state, run_id, engine.definition, taken, tries, children)

    def check_fits(self, flow: FlowDefinition, former: Collection[str]) -> None:
        """Whether a flow, as it is now, can go on from here; `former` are names that its steps had.

        Raises:
            ContextSerdeError: it is another flow, or lacks steps that the run began with.
        """
        if self.flow != flow.name:
            raise ContextSerdeError(
                f"the context is one of {self.flow}, not of {flow.name}: use it with the flow that it came from, or "
                "begin a new run with its state: run(ctx=data['state'], …)"
            )
        known = {*flow.steps, *former}
        gone = [] if self.definition is None else [name for name in self.definition.steps if name not in known]
        if gone:
            raise ContextSerdeError(
                f"the run of {self.flow} began with steps that the flow has no more: {', '.join(gone)}. Restore it "
                "with the version that has them, or begin a new run with its state: run(ctx=data['state'], …)"
            )

    def restored(self, run_id: str | None = None) -> Engine:
        """An engine that goes on from here, as this run or under another id.

        Raises:
            ContextSerdeError: what was taken down is damaged, or from a later everstep.
        """
        assert self.definition is not None
        try:
            return Engine.restore(self.definition, {**self.engine, "state": self.state}, run_id or self.run_id or "")
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise ContextSerdeError(f"the run of {self.flow} cannot be restored: {error!r}; {_SHAPE}") from error

    def to_json(self, serializer: BaseSerializer | None = None) -> dict[str, Any]:
        """Plain JSON; with a serializer, state and run are texts of it."""
        parts: dict[str, Any] = {"state": paths.copied(dict(self.state))}
        if self.definition is not None:
            tries = [[number, dict(each)] for number, each in self.tries.items()]
            parts["run"] = {"definition": self.definition.to_json(), "engine": dict(self.engine), "tries": tries}
            if self.children:
                parts["run"]["children"] = {run_id: child.to_json() for run_id, child in self.children.items()}
        if serializer is not None:
            parts = {name: serializer.serialize(part) for name, part in parts.items()}
        return {
            "version": VERSION,
            "flow": self.flow,
            "run_id": self.run_id,
            "is_running": self.under_way,
            **paths.copied(parts),
        }

    @classmethod
    def from_json(cls, data: Any, serializer: BaseSerializer | None = None) -> Snapshot:
        """The inverse of `to_json`.

        Raises:
            ContextSerdeError: it is no such thing.
        """
        if not isinstance(data, Mapping):
            raise ContextSerdeError(f"a context is restored from a dict, not from a {type(data).__name__}; {_SHAPE}")
        given = cast("Mapping[str, Any]", data)
        if given.get("version") != VERSION:
            raise ContextSerdeError(
                f"this is no context that everstep can restore: its version is "
                f"{given.get('version')!r}, and {VERSION} is known; {_SHAPE}"
            )
        try:
            state, run = (_part(given.get(name), serializer) for name in ("state", "run"))
            taken = cls(given["flow"], dict(state or {}), given["run_id"])
            if run is None:
                return taken
            definition = FlowDefinition.from_json(run["definition"])
            children = {run_id: cls.from_json(child) for run_id, child in run.get("children", {}).items()}
            taken = replace(
                taken, definition=definition, engine=run["engine"], tries=dict(run["tries"]), children=children
            )
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise ContextSerdeError(f"the context cannot be restored: {error!r}; {_SHAPE}") from error
        taken.restored()
        return taken


def _part(data: Any, serializer: BaseSerializer | None) -> Any:
    return (serializer or JsonSerializer()).deserialize(data) if isinstance(data, str) else data
