"""The command line: `everstep`, and what the programs `worker.py` and `starter.py` do. Needs the extra `cli`."""

from __future__ import annotations

import sys
from typing import Any

from everstep.errors import MissingExtraError

__all__ = ["main", "starter", "worker"]


def main() -> None:
    """The console script `everstep`."""
    program = _program()
    program.run(program.everstep_commands())


def starter() -> None:
    """The program `starter.py`: start runs, see them, answer them."""
    program = _program()
    program.run(program.starter_commands())


def worker() -> None:
    """The program `worker.py`: serve flows."""
    program = _program()
    program.run(program.worker_command())


def _program() -> Any:
    try:
        from everstep.cli import program
    except ModuleNotFoundError as absent:
        if absent.name not in ("typer", "rich"):
            raise
        sys.stderr.write(f"error: {MissingExtraError('cli', absent.name)}\n")
        sys.exit(2)
    return program
