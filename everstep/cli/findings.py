"""What `doctor` finds: one line for each thing that it looks at, and what to do where something is wrong."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from temporalio.client import Client

from everstep.cli.exits import Exit
from everstep.temporal.settings import ConnectionSettings


class Status(StrEnum):
    """How it stands with one thing."""

    OK = "ok"
    WARNING = "warning"
    """It works, or may be meant so; worth a look."""
    FAILED = "failed"
    SKIPPED = "skipped"
    """It is not set up, or cannot be seen."""


@dataclass(frozen=True, slots=True)
class Finding:
    """How it stands with one thing; `remedy` is what to do, `code` how the program ends where it failed."""

    name: str
    status: Status
    text: str
    remedy: str = ""
    data: Mapping[str, Any] = field(default_factory=dict[str, Any])
    code: Exit = Exit.FAILED

    def to_json(self) -> dict[str, Any]:
        """The plain JSON form."""
        told: dict[str, Any] = {"check": self.name, "status": self.status, "text": self.text}
        if self.remedy:
            told["remedy"] = self.remedy
        return told | ({"data": dict(self.data)} if self.data else {})


def ok(name: str, text: str, **data: Any) -> Finding:
    """All is well."""
    return Finding(name, Status.OK, text, data=data)


def warning(name: str, text: str, remedy: str, **data: Any) -> Finding:
    """Worth a look."""
    return Finding(name, Status.WARNING, text, remedy, data)


def failed(name: str, text: str, remedy: str, code: Exit = Exit.FAILED, **data: Any) -> Finding:
    """It does not work."""
    return Finding(name, Status.FAILED, text, remedy, data, code)


def skipped(name: str, text: str) -> Finding:
    """Nothing to look at."""
    return Finding(name, Status.SKIPPED, text)


@dataclass(frozen=True, slots=True)
class Place:
    """What the checks look at: the environment, the server's settings, and a client once there is one.

    `steps_only`: the task queue is for steps alone.
    """

    environment: Mapping[str, str]
    connection: ConnectionSettings
    client: Client
    task_queue: str
    steps_only: bool = False


Check = Callable[[Place], Awaitable[Sequence[Finding]]]
"""Looks at one thing; needs the server."""

LocalCheck = Callable[[Mapping[str, str]], Awaitable[Sequence[Finding]]]
"""Looks at one thing that the environment names; needs no server."""
