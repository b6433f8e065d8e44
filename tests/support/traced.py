"""Spans that tests look at: kept in memory, as trees."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanContext, Tracer

from everstep.observe import use_tracing


def ids(span: ReadableSpan) -> SpanContext:
    """Trace and span id."""
    assert span.context is not None
    return span.context


def times(span: ReadableSpan) -> tuple[int, int]:
    """Beginning and end, in nanoseconds."""
    assert span.start_time is not None
    assert span.end_time is not None
    return span.start_time, span.end_time


@dataclass
class Node:
    """A span with those under it, in order of their beginning."""

    span: ReadableSpan
    under: list[Node]

    @property
    def name(self) -> str:
        return self.span.name

    @property
    def attributes(self) -> dict[str, Any]:
        return dict(self.span.attributes or {})

    @property
    def ok(self) -> bool:
        return self.span.status.is_ok

    def lines(self, depth: int = 0) -> list[str]:
        """The tree as text."""
        out = [f"{'  ' * depth}{self.name}{'' if self.ok else ' !'}"]
        for one in self.under:
            out += one.lines(depth + 1)
        return out


class Traces:
    """What was exported while `traced` lasted."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(resource=Resource({}), shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))

    @property
    def tracer(self) -> Tracer:
        """For spans of a flow's own."""
        return self.provider.get_tracer("mine")

    def spans(self) -> Sequence[ReadableSpan]:
        """Every span so far."""
        return self.exporter.get_finished_spans()

    def named(self, name: str) -> list[ReadableSpan]:
        """The spans of this name."""
        return [span for span in self.spans() if span.name == name]

    def until(self, name: str) -> None:
        """Wait until there is a span of this name; the last one may come a moment after its run has ended."""
        deadline = time.monotonic() + 10
        while not self.named(name):
            assert time.monotonic() < deadline, f"no span {name!r} came; there are {[s.name for s in self.spans()]}"
            time.sleep(0.01)

    def tree(self) -> Node:
        """All spans as one tree: fails where they are not one, or where an id comes twice."""
        nodes: dict[int, Node] = {}
        for span in sorted(self.spans(), key=times):
            assert ids(span).span_id not in nodes, f"{span.name} came twice"
            nodes[ids(span).span_id] = Node(span, [])
        assert len({ids(node.span).trace_id for node in nodes.values()}) == 1, "there are several traces"
        roots: list[Node] = []
        for node in nodes.values():
            parent = node.span.parent
            if parent is None:
                roots.append(node)
            else:
                assert parent.span_id in nodes, f"{node.name} has no parent"
                nodes[parent.span_id].under.append(node)
        assert len(roots) == 1, f"there are {len(roots)} roots"
        return roots[0]


@contextlib.contextmanager
def traced(*, payloads: bool = False) -> Generator[Traces]:
    """What begins within the block is traced to memory."""
    traces = Traces()
    with use_tracing(traces.provider, payloads=payloads):
        yield traces
