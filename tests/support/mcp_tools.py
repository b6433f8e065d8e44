"""A server of tools for tests: `python -m tests.support.mcp_tools LOG [PORT]`, by stdio or, with a port, by HTTP.

LOG is a file that gets a line for each call: the tool and its idempotency key.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from mcp.server.mcpserver import Context, MCPServer

server = MCPServer("test tools")
log = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(os.devnull)


def note(name: str, ctx: Context[Any]) -> None:
    """Write down a call."""
    meta: Any = ctx.request_context.meta or {}
    with log.open("a") as file:
        file.write(f"{name} {dict(meta).get('everstep/idempotency-key')} {os.getpid()}\n")


@server.tool()
def add(a: int, b: int, ctx: Context[Any]) -> int:
    """Add two numbers."""
    note("add", ctx)
    return a + b


@server.tool()
def wipe(disk: str, ctx: Context[Any]) -> str:
    """Wipe a disk."""
    note("wipe", ctx)
    return f"{disk} is empty"


@server.tool()
def fail(ctx: Context[Any]) -> str:
    """Fail."""
    note("fail", ctx)
    raise ValueError("out of paper")


@server.tool()
def who(ctx: Context[Any]) -> str:
    """Tell how the caller has said who it is."""
    return (ctx.headers or {}).get("authorization", "nobody")


@server.tool()
def die(ctx: Context[Any]) -> str:
    """End the server."""
    note("die", ctx)
    os._exit(1)


if __name__ == "__main__":
    if len(sys.argv) > 2:
        server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[2]))
    else:
        server.run("stdio")
