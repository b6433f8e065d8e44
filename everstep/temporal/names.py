"""The names by which everstep's parts find each other on a Temporal server.

They stand in histories: never change one.
"""

BEGIN = "everstep.begin"
"""Local activity at the start of a run: pins the definition, judges the start event."""
JUDGE = "everstep.judge"
"""Activity: judges messages from outside by the user's types."""
PUBLISH = "everstep.publish"
"""Signal by which a long step shows events before it ends."""
LOCK, UNLOCK = "everstep.lock", "everstep.unlock"
"""Update and signal by which an `edit_state` block gets the run's lock and gives it back."""
CHILD, PARENT = "everstep.child", "everstep.parent"
"""Signals of a child run to the one above it, and back."""
WATCH = "everstep.watch"
"""Activity: looks whether a child has ended, for a run that the server does not tell."""
ELSEWHERE = "AnsweredElsewhere"
"""The type of the refusal of an update whose answer is for another run, which its details name."""
RESPOND = "respond"
"""Signal and update: a person's answer."""
SEND_EVENT = "send_event"
"""Signal and update: an event for the run."""
WAITING = "EverstepWaiting"
"""Search attribute: whether the run waits for a person."""
MEMO = "everstep"
"""Memo key of what the starter sets for a run: timeout, state, and the parent of a child."""
TYPE_METADATA = "everstep-type"
"""Payload metadata of a run's result: the type of the stop event."""
FREE_KEYS_METADATA = "everstep-keys"
"""Payload metadata of a run's result: the stop event's further keys, as JSON."""
STATE, REQUESTS, PROGRESS = "state", "requests", "progress"
"""Queries."""


def step_activity(flow: str, step: str) -> str:
    """The activity type of a step."""
    return f"{flow}.{step}"
