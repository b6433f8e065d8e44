"""Checks of what a worker with this environment would serve. It imports the flows, as the worker does."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence

from everstep.cli.exits import Exit
from everstep.cli.findings import Finding, failed, ok, skipped
from everstep.cli.flows import Found
from everstep.cli.serve import choose, project_root
from everstep.errors import EverstepError


async def check_flows(environment: Mapping[str, str]) -> Sequence[Finding]:
    """Whether the flows of EVERSTEP_FLOWS can be imported and work."""
    places = [place for place in re.split(r"[,\s]+", environment.get("EVERSTEP_FLOWS", "")) if place]
    if not places:
        return [skipped("flows", "EVERSTEP_FLOWS names none; a worker serves those of workflows/")]
    try:
        found: Sequence[Found] = await asyncio.to_thread(choose, (), places, project_root())
    except EverstepError as error:
        return [failed("flows", str(error), "Mend it, or set EVERSTEP_FLOWS to other places.", Exit.USAGE)]
    return [ok("flows", ", ".join(f"{one.name} ({one.origin})" for one in found))]
