"""Making a failing case smaller, while a promise stays broken: fewer actions, fewer steps, smaller outcomes.

Which promise may change on the way: one fault breaks several, and often the smallest case shows it best.
"""

from __future__ import annotations

from dataclasses import replace

from tests.simulation.cases import Case, Life, live

TRIES = 4000
"""How many smaller cases are tried; each takes a millisecond or two."""


def shrunk(life: Life, tries: int = TRIES) -> Life:
    """The life of the smallest case that was found to break a promise."""
    search = _Search(life, tries)
    while True:
        before = search.best.case
        search.drop_actions()
        search.drop_steps()
        search.lessen()
        if search.best.case == before or search.tries <= 0:
            return search.best


class _Search:
    """The best case so far, and how many more may be tried."""

    def __init__(self, life: Life, tries: int) -> None:
        self.best = life
        self.tries = tries

    def works(self, case: Case) -> bool:
        """Whether a case breaks a promise; if so it is the best."""
        self.tries -= 1
        if self.tries < 0:
            return False
        tried = live(case)
        if tried.broken is None:
            return False
        self.best = tried
        return True

    def drop_actions(self) -> None:
        """Leave out actions: halves first, at last one by one."""
        length = len(self.best.case.actions)
        while length:
            start = 0
            while start < len(actions := self.best.case.actions):
                if not self.works(replace(self.best.case, actions=actions[:start] + actions[start + length :])):
                    start += length
            length //= 2

    def drop_steps(self) -> None:
        """Leave out steps of the flow: those that never ran at once, then each."""
        names = [name for name in self.best.world.made.definition.steps if name != "begin"]
        self._leave_out([name for name in names if name not in self.best.steps_run])
        for name in names:
            if name not in self.best.case.without:
                self._leave_out([name])

    def lessen(self) -> None:
        """Let steps give out less."""
        for place, action in enumerate(self.best.case.actions):
            for less in range(2, action.less, -1):
                actions = self.best.case.actions
                lessened = (*actions[:place], replace(action, less=less), *actions[place + 1 :])
                if action.kind == "end" and self.works(replace(self.best.case, actions=lessened)):
                    break

    def _leave_out(self, names: list[str]) -> None:
        if names:
            self.works(replace(self.best.case, without=(*self.best.case.without, *names)))
