"""Turns that ended because nobody worked on them any more, although no fault had taken their jobs away.

``expired`` is an end that the protocol allows at any deadline, so the checker breaks no rule over it. But a deadline of
many seconds passes only where a turn's job has been lost, or lies where nobody looks.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from ..history import Asked, Happening, Healed, Injected, Received
from .verdict import Verdict

LONG_S: Final = 10.0
"""A deadline that is not meant to pass."""
LIVELY_S: Final = 5.0
"""A client that waits is told something of its session at least so often, or is told nothing any more."""


@dataclass(frozen=True, slots=True)
class Loss:
    """A fault that takes jobs away, at some moment between ``began`` and ``ended``: of the turns that it is ``aimed``
    at, and of those that came to where it strikes after ``since``.
    """

    aimed: frozenset[str]
    since: float
    began: float
    ended: float

    def may_have_hit(self, turn: str, asked_at: float, done_at: float, told_at: Iterable[float]) -> bool:
        """``told_at``: when the client was told anything, of this turn or of others of its session."""
        if turn in self.aimed:
            return True
        if asked_at > self.ended or done_at < self.began:
            return False
        return any(self.since - LIVELY_S <= at <= self.ended and at < done_at for at in (asked_at, *told_at))


def stranded(
    happenings: Iterable[Happening], verdict: Verdict, loses: Callable[[str], bool], away: str = ""
) -> list[str]:
    """Turns with a long deadline that ended ``expired`` and were not hit by a fault that ``loses`` jobs: each of those
    was over before they were asked, or began when their clients had been told nothing for long. ``away``: the fault
    that keeps jobs waiting where they are.
    """
    happenings = list(happenings)
    losses = _losses(happenings, loses, away)
    asked: dict[tuple[str, str], Asked] = {}
    told: dict[str, list[float]] = {}
    for one in happenings:
        if isinstance(one, Asked):
            asked.setdefault((_patron(one.client), one.turn), one)
        elif isinstance(one, Received) and "turn" in one.frame:
            told.setdefault(_patron(one.client), []).append(one.at)
    found = []
    for end in verdict.turns:
        patron = _patron(end.client)
        first = asked.get((patron, end.turn))
        if first is None or end.status != "expired" or end.done is None or first.budget_s < LONG_S:
            continue
        if not any(loss.may_have_hit(end.turn, first.at, end.done, told[patron]) for loss in losses):
            found.append(f"{end.client} {end.turn} asked at {first.at:.1f} s")
    return found


def _patron(client: str) -> str:
    """Whose session it is: a second socket has a name of its own."""
    return client.partition("+")[0]


def _losses(happenings: list[Happening], loses: Callable[[str], bool], away: str) -> list[Loss]:
    """One for each turn that a fault is aimed at."""
    found: list[Loss] = []
    away_since: dict[str, float] = {}
    for number, one in enumerate(happenings):
        if isinstance(one, Injected) and one.fault == away:
            away_since.setdefault(one.target, one.at)
        elif isinstance(one, Healed) and one.fault == away:
            away_since.pop(one.target, None)
        elif isinstance(one, Injected) and loses(one.fault):
            since = min((one.at, *away_since.values()))
            found.append(Loss(frozenset({one.turn} - {""}), since, one.at, _ended(happenings[number:], one)))
    return found


def _ended(after: list[Happening], fault: Injected) -> float:
    """When it was taken back; the end of the run where it was not."""
    for one in after:
        if isinstance(one, Healed) and (one.fault, one.target) == (fault.fault, fault.target):
            return one.at
    return after[-1].at
