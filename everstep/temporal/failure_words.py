"""What a failure on the server says, in words: decoded, where payloads are encrypted."""

from __future__ import annotations

from collections.abc import Sequence

from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure as FailureProto
from temporalio.client import Client
from temporalio.exceptions import FailureError

from everstep.errors import EverstepError
from everstep.temporal.tally import Tally

_MOVED, _CUT = "Encoded failure", "Failure exceeds size limit."
"""What stands in the place of a message that is encrypted; of one that was too long for the server to keep."""
_TELLS_NOTHING = ("Failed decoding arguments", "Failed decoding heartbeat details")


async def failure_message(client: Client, failure: FailureProto) -> str:
    """The message of a failure; where it cannot be read here, why."""
    copy = FailureProto()
    copy.CopyFrom(failure)  # decoding changes it
    try:
        error = await client.data_converter.decode_failure(copy)
    except EverstepError as unreadable:
        return f"its message cannot be read: {unreadable}"
    message = _message(error)
    if message in _TELLS_NOTHING and error.__cause__ is not None:
        message = _message(error.__cause__)
    return "its message is encrypted, and was too long for the server to keep" if message == _MOVED else message


async def attempt_failure(client: Client, failure: FailureProto, heartbeat: Sequence[Payload]) -> str:
    """Why the last attempt of a step failed, as ``type: message``; empty where nobody said.

    Args:
        client: its data converter decodes it.
        failure: as the server keeps it: cut, where it was long.
        heartbeat: the details of the last heartbeat, which tell what the step itself raised.
    """
    if not failure.message:
        return ""
    kind = failure.application_failure_info.type
    message = await failure_message(client, failure)
    if failure.message in (_MOVED, _CUT) and not failure.HasField("encoded_attributes"):
        told = (await _tally(client, heartbeat)).error or {}
        kind, message = str(told.get("type", kind)), str(told.get("message", message))
    return f"{kind}: {message}" if kind and kind not in message else message


async def _tally(client: Client, heartbeat: Sequence[Payload]) -> Tally:
    try:
        return Tally.read(await client.data_converter.decode(heartbeat))
    except EverstepError:
        return Tally()


def _message(error: BaseException) -> str:
    return error.message if isinstance(error, FailureError) else str(error)
