"""Whether what a client without a key ring writes goes to those who encrypt: then it is refused before it is sent.

The client's own environment cannot tell. The workers of a task queue do, as they tell what they serve, and so does the
input of a run.
"""

from __future__ import annotations

from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from everstep.errors import SettingsError
from everstep.temporal.pollers import pollers
from everstep.temporal.privacy.codec import ENCRYPTED
from everstep.temporal.privacy.keys import KEYS_SETTING
from everstep.temporal.privacy.settings import hides_contents

_UNTOLD = (RPCStatusCode.PERMISSION_DENIED, RPCStatusCode.UNIMPLEMENTED)
"""The server answers, and will not tell."""


async def refuse_plain_text(client: Client, task_queue: str, run_id: str | None = None) -> None:
    """Refuse to write to a task queue's workers, or to a run on it, what all who read the server could read.

    Args:
        client: connected as whoever sends.
        task_queue: whose workers are to have it.
        run_id: the run that is to have it, where that is there already.

    Raises:
        SettingsError: they encrypt, and this client does not; names the setting.
        RPCError: the server does not answer.
    """
    if hides_contents(client):
        return
    try:
        whose = await _who_encrypts(client, task_queue, run_id)
    except RPCError as error:
        if error.status in _UNTOLD:
            return
        raise
    if whose is not None:
        raise SettingsError(
            f"{whose}, and this would go to the server in plain text, because {KEYS_SETTING} is not set here: nothing "
            "was sent. Set it to the key ring of the workers, and try again."
        )


async def _who_encrypts(client: Client, task_queue: str, run_id: str | None) -> str | None:
    """A run or workers that encrypt, in words; those of servers before 1.29 do not tell."""
    if run_id is not None and await _is_encrypted(client, run_id):
        return f"Run {run_id} is encrypted"
    if any(one.encrypted for one in await pollers(client, task_queue)):
        return f"The workers of task queue {task_queue!r} encrypt"
    return None


async def _is_encrypted(client: Client, run_id: str) -> bool:
    """Whether what a run was started with is; not known where all of it is stored elsewhere."""
    async for event in client.get_workflow_handle(run_id).fetch_history_events(page_size=1):
        begun = event.workflow_execution_started_event_attributes
        payloads = [*begun.input.payloads, *begun.memo.fields.values()]
        return any(payload.metadata.get("encoding") == ENCRYPTED for payload in payloads)
    return False
