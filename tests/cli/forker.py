"""A process that has imported the programs once and forks for each call: a second of imports is not paid sixty times.

It reads one JSON line per call (program, arguments, cwd, env, out and err files) and answers with the exit code.
"""

import json
import os
import sys
import traceback
from typing import Any

from everstep import cli
from everstep.cli import dev, graph, listing, program, serve, show, start, stream, talk  # noqa: F401  what calls need


def child(call: dict[str, Any]) -> None:
    """Become the program that is called."""
    os.chdir(call["cwd"])
    os.environ.clear()
    os.environ.update(call["env"])
    for number, name in ((0, os.devnull), (1, call["out"]), (2, call["err"])):
        opened = os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        os.dup2(opened, number)
    sys.argv = [call["program"], *call["arguments"]]
    sys.path.insert(0, os.path.dirname(call["program"]))  # noqa: PTH120  as Python does it for a program
    name = os.path.basename(call["program"]).removesuffix(".py")  # noqa: PTH119
    {"starter": cli.starter, "worker": cli.worker, "everstep": cli.main}[name]()


def serve_calls() -> None:
    """Fork for each line, and tell how the child ended."""
    for line in sys.stdin:
        call = json.loads(line)
        pid = os.fork()
        if pid == 0:
            try:
                child(call)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(70)  # the programs end by themselves
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    serve_calls()
