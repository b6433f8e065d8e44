"""What both versions of the rolling update's flow share: events, and the journal of what was done outside.

A line of the journal is `run effect key worker`: one is written each time that a step's code comes to it. Its folder is
in ROLLING_FOLDER; the worker's version is in ROLLING_VERSION.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from everstep import Context
from everstep.events import Event, HumanResponseEvent, InputRequiredEvent

HOPS = 3
STEP_SECONDS, TIMER_SECONDS = 100.0, 12.0


class Checked(Event):
    kind: str


class Charged(Event):
    kind: str


class Hop(Event):
    number: int


class Timer(Event):
    pass


class Never(Event):
    pass


class Approve(InputRequiredEvent):
    pass


class Approved(HumanResponseEvent):
    approved: bool


class Done(Event):
    pass


def journal() -> Path:
    """The file of all that was done."""
    return Path(os.environ["ROLLING_FOLDER"]) / "journal"


def go() -> Path:
    """The file that lets the old version's hops go on."""
    return journal().with_name("go")


def do(ctx: Context, effect: str) -> None:
    """Do something outside, under the invocation's idempotency key: a short line, which the system appends whole."""
    line = f"{ctx.run_id} {effect} {ctx.idempotency_key} {os.environ['ROLLING_VERSION']}\n"
    with journal().open("ab", buffering=0) as file:
        file.write(line.encode())


def done() -> Mapping[str, Mapping[str, list[str]]]:
    """What was done: by run and effect the keys, one for each time; under `effect@version` by the worker's version."""
    out: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for line in journal().read_text().splitlines() if journal().exists() else ():
        run, effect, key, version = line.split()
        out[run][effect].append(key)
        out[run][f"{effect}@{version}"].append(key)
    return out
