"""The in-process driver: the same engine on asyncio, for development and tests. Nothing survives the process."""

from everstep.local.runtime import LocalRuntime

__all__ = ["LocalRuntime"]
