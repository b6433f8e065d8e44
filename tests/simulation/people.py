"""Messages from outside and the requests that they answer: each sender is told once, each request is answered once."""

from __future__ import annotations

from collections.abc import Sequence

from everstep.engine.commands import Command, ForwardAnswer, ReplyToMessage
from everstep.engine.inputs import Input, MessageReceived, MessagesJudged
from everstep.engine.messages import Envelope
from everstep.engine.requests import Message
from everstep.engine.run import Run
from tests.simulation.broken import hold
from tests.simulation.owed import Effective


class People:
    """What the senders of one run's messages were told, and what became of its requests."""

    def __init__(self) -> None:
        self.keys: dict[int, str | None] = {}
        self.untold: set[int] = set()
        self.answered: dict[str, int] = {}
        self.status: dict[str, str] = {}
        self.answers: dict[str, object] = {}
        self._taken_keys: set[str] = set()
        self._judged: dict[int, tuple[Message, bool]] = {}

    def before(self, what: Input, run: Run) -> None:
        """Note what the engine is about to be given."""
        if isinstance(what, MessageReceived):
            self.keys[run.next_message] = what.key if isinstance(what.key, str) else None
            self.untold.add(run.next_message)
        elif isinstance(what, MessagesJudged):
            found = [run.messages.get(verdict.message) for verdict in what.verdicts]
            self._judged = {one.id: (one, self._waits(one, run)) for one in found if one is not None}

    def told(self, reply: ReplyToMessage | ForwardAnswer) -> None:
        """A sender is told what became of a message, or will be by the child that it is for."""
        number = reply.message
        hold(number in self.untold, f"a sender is told once: message {number} was answered twice, or never came")
        self.untold.discard(number)
        if isinstance(reply, ForwardAnswer):
            return
        request = reply.request
        hold(reply.accepted or reply.reason, f"a refusal says why: message {number} was refused without a reason")
        if reply.accepted and request is not None:
            first = self.answered.setdefault(request, number)
            same = first == number or (self.keys[first] is not None and self.keys[first] == self.keys[number])
            hold(same, f"a request is answered once: {request} took messages {first} and {number}")
            late = self.status.get(request) != "open" and first == number
            hold(not late, f"a request that is closed takes no answer: {request} took message {number}")

    def effective(self, what: MessagesJudged | MessageReceived, commands: Sequence[Command]) -> list[Effective]:
        """The events that these verdicts made effective, or that were taken as they came."""
        if isinstance(what, MessageReceived):
            return self._handed_over(what, commands)
        accepted = {one.message for one in commands if isinstance(one, ReplyToMessage) and one.accepted}
        out: list[Effective] = []
        for verdict in what.verdicts:
            message, waits = self._judged.get(verdict.message, (None, False))
            if message is not None and verdict.event is not None and (message.expiry or message.id in accepted):
                hold(message.key not in self._taken_keys, f"a message is taken once: {message.id} was sent again")
                self._taken_keys |= {message.key} if message.key is not None else set()
                out.append(Effective(verdict.event, message.step, waits))
        return out

    def _handed_over(self, what: MessageReceived, commands: Sequence[Command]) -> list[Effective]:
        """The event that is taken at once, where its sender does not wait and its step is the one to judge it."""
        taken = any(isinstance(one, ReplyToMessage) and one.accepted for one in commands)
        if not (what.unattended and taken):
            return []
        hold(what.type is not None and what.key is None, "only an event that has a type, and no key, is taken unseen")
        return [Effective(Envelope(what.type or "", what.data), what.step)]

    def check(self, run: Run) -> None:
        """Assert what must hold after any input."""
        waiting = {number for one in run.messages.values() for number in (one.id, *one.again)} | run.early.keys()
        hold(self.untold <= waiting, f"every sender is told: nobody will answer messages {self.untold - waiting}")
        for name, request in run.requests.items():
            before = self.status.get(name, "open")
            hold(before in ("open", request.status), f"what is closed stays closed: {name} was {before}")
            if request.status != before or name not in self.status:
                self.status[name] = request.status
                self.answers[name] = request.answer
            hold(self.answers[name] == request.answer, f"an answer is for good: that of {name} has changed")
            hold(
                (request.status == "answered") == (request.answer is not None), f"{name} has no answer, or one too many"
            )
        hold(self.status.keys() == run.requests.keys(), "no request is forgotten")

    def _waits(self, message: Message, run: Run) -> bool:
        """Whether a message answers a request that a wait has opened: nobody else gets it then."""
        request = run.requests.get(message.request or "")
        return request is not None and request.waiter is not None
