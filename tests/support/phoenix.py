"""A real Phoenix for tests: its server as a process, and its API, as far as tests read spans back."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / ".venv-phoenix" / "bin" / "phoenix"
PROJECT = "everstep-tests"


@dataclass(frozen=True)
class Span:
    """A span as Phoenix gives it back."""

    trace: str
    id: str
    parent: str | None
    name: str
    kind: str
    failed: bool
    begun: datetime
    ended: datetime
    attributes: dict[str, Any]

    @property
    def seconds(self) -> float:
        """How long it took."""
        return (self.ended - self.begun).total_seconds()


class Phoenix:
    """Its server, while the block lasts, started as users do; with its data in a folder of the test's own.

    Attributes:
        settings: those by which `make phoenix` knows it.
    """

    def __init__(self, folder: Path) -> None:
        self._port = _free_port()
        self.settings = {
            "PHOENIX_HOST": "127.0.0.1",
            "PHOENIX_PORT": str(self._port),
            "PHOENIX_GRPC_PORT": str(_free_port()),
            "PHOENIX_WORKING_DIR": str(folder),
        }

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def env(self) -> dict[str, str]:
        """The settings of a worker that traces to it, contents too."""
        return {
            "PHOENIX_COLLECTOR_ENDPOINT": self.url,
            "PHOENIX_PROJECT_NAME": PROJECT,
            "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "true",
        }

    def __enter__(self) -> Self:
        assert "runs at" in self._make("phoenix")
        self._get("/v1/projects")  # it answers at once
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        assert "stopped" in self._make("phoenix-stop")

    def until(self, run: str, found: Callable[[Sequence[Span]], Any], seconds: float = 30.0) -> list[Span]:
        """All spans of a run, once they are as they should be; it takes some seconds until they can be read."""
        deadline = time.monotonic() + seconds
        while True:
            spans = self.spans(run)
            if spans and found(spans):
                return spans
            assert time.monotonic() < deadline, f"there are only {[span.name for span in spans]}"
            time.sleep(0.5)

    def spans(self, run: str) -> list[Span]:
        """The spans of a run's trace, in order of their beginning."""
        try:
            told = self._get(f"/v1/projects/{PROJECT}/spans?limit=1000")["data"]
        except urllib.error.HTTPError as error:
            if error.code == 404:  # the project is made with its first span
                return []
            raise
        spans = [_span(one) for one in told]
        traces = {span.trace for span in spans if span.attributes.get("session.id") == run}
        return sorted((span for span in spans if span.trace in traces), key=lambda span: (span.begun, span.ended))

    def _make(self, target: str) -> str:
        command = ["make", "--no-print-directory", target]
        done = subprocess.run(command, cwd=ROOT, env=os.environ | self.settings, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stderr

    def _get(self, path: str) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.url}{path}", timeout=20) as answer:
            return json.loads(answer.read())


def tree(spans: Sequence[Span]) -> list[str]:
    """The spans as one tree, a line for each; fails where they are not one."""
    known = {span.id: span for span in spans}
    assert len(known) == len(spans), "a span came twice"
    assert len({span.trace for span in spans}) == 1, "there are several traces"
    roots = [span for span in spans if span.parent is None]
    assert [span.name for span in roots] == [span.name for span in roots[:1]], "there are several roots"
    alone = [span.name for span in spans if span.parent is not None and span.parent not in known]
    assert roots, "there is no root"
    assert not alone, f"without a parent: {alone}"

    def lines(span: Span, depth: int) -> list[str]:
        under = [line for one in spans if one.parent == span.id for line in lines(one, depth + 1)]
        return [f"{'  ' * depth}{span.name} {span.kind}{' !' if span.failed else ''}", *under]

    return lines(roots[0], 0)


def is_tree(spans: Sequence[Span]) -> bool:
    """Whether they are one tree."""
    try:
        tree(spans)
    except AssertionError:
        return False
    return True


def _span(told: dict[str, Any]) -> Span:
    return Span(
        told["context"]["trace_id"],
        told["context"]["span_id"],
        told.get("parent_id"),
        told["name"],
        told["span_kind"],
        told["status_code"] == "ERROR",
        datetime.fromisoformat(told["start_time"]),
        datetime.fromisoformat(told["end_time"]),
        told["attributes"],
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
