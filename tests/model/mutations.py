"""Mechanisms switched off, one at a time: each must show itself as a violation.

Some are rules of the model's shells and row (named in ``Model.mutations``); others replace a function of the real
machines. ``where`` is a small world in which the loss shows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import msgspec

from parley_gateway.core import flow
from parley_gateway.core.effects import Publish
from parley_gateway.core.entry import Phase
from parley_gateway.core.session import Session
from parley_gateway.core.turn import Turn
from parley_gateway.core.view import View
from parley_protocol.events import Marks, Terminal
from parley_protocol.position import Position
from parley_protocol.work import Job
from parley_runtime.work import admission

from . import handlers
from .world import Size


@dataclass(frozen=True, slots=True)
class Mutation:
    """``sees``: the number of the invariant that is violated. ``rule``: switched off inside the model; ``patch``:
    (object, attribute, replacement) in the real machines.
    """

    name: str
    sees: str
    where: Size
    rule: str = ""
    patch: tuple[Any, str, Any] | None = None

    @contextmanager
    def applied(self) -> Iterator[tuple[str, ...]]:
        """The rules to switch off; what is patched is restored afterwards."""
        if self.patch is None:
            yield (self.rule,)
            return
        owner, attribute, replacement = self.patch
        original = getattr(owner, attribute)
        setattr(owner, attribute, replacement)
        try:
            yield ()
        finally:
            setattr(owner, attribute, original)


def _size(*kinds: str, **more: Any) -> Size:
    return Size(kinds=frozenset(kinds), **more)


def _never_raised(turn: Turn, fence: int) -> bool:
    return not (turn.closed or turn.frozen or fence < turn.fence)


def _trusting(job: Any, *, redelivered: bool, delivery_count: int | None) -> bool:
    """Without ``again``: only the broker's flag is looked at."""
    return not (redelivered or delivery_count)


def _unreconciled(turn: Turn, terminal: Terminal) -> None:
    """The terminal's text is not compared with what was delivered."""
    if not turn.closed:
        turn.known = turn.closed = turn.frozen = True
        turn.held = None
        turn.terminal = terminal


def _impatient(entry: Any, verdict: Any, sender: str) -> list[Any]:
    """A frozen turn stops its runs before the forced record is safe."""
    entry.recorded = True
    return _STALE(entry, verdict, sender)


def _silently(turn: Turn, text: str) -> None:
    """Another text takes the place of the one before, and nobody is told to begin anew."""
    turn.text = text


def _believed(view: View) -> bool:
    """A resumed client's text is taken to be a beginning of the turn's, whatever its hash says."""
    view.checked = None
    view.check.feed(view.turn.text[: view.at])
    return False


def _not_counted(view: View, position: Position) -> None:
    """A resumed client's frames are numbered from 0 once more."""
    _RESUME(view, position)
    view.seq = 0


def _all_again(view: View, position: Position) -> None:
    """A resumed client is told every mark once more."""
    _RESUME(view, position)
    view.floor = (0, 0)


def _not_marked(turn: Turn, marks: Marks, end: int, *, spoken: bool) -> None:
    """The marks of a snapshot, or of a terminal, are not looked at."""


def _unmarked(run: Any, job: Job, now: float) -> Job:
    """The next job knows nothing of what was said before it."""
    return msgspec.structs.replace(_STAMP(run, job, now), marks=Marks())


def _all_at_once(session: Session) -> list[Any]:
    """Every turn of a session is published as it comes."""
    effects: list[Any] = []
    for entry in session.open:
        if entry.phase is Phase.QUEUED and entry.forced is None:
            entry.phase = Phase.PUBLISHING
            effects.append(Publish(entry))
    return effects


_RESUME: Callable[[View, Position], None] = View.resume
_STAMP: Callable[[Any, Job, float], Job] = handlers.stamp
_STALE: Callable[[Any, Any, str], list[Any]] = flow._stale

MUTATIONS = (
    Mutation("fence test in the record", "4", _size("channel rag", "channel engine"), rule="fence test"),
    Mutation("again", "3", _size("unknown"), patch=(admission, "certainly_first", _trusting)),
    Mutation("closed for ever", "2", Size(faults=0, cancels=1), rule="closed is for ever"),
    Mutation("raise in begin", "6", _size("channel rag", "channel engine"), patch=(Turn, "begin", _never_raised)),
    Mutation("row reads", "8", _size("epoch"), rule="row reads"),
    Mutation("reconciliation", "5", _size("epoch"), patch=(Turn, "close", _unreconciled)),
    Mutation("a position's number", "7", _size("drop"), patch=(View, "resume", _not_counted)),
    Mutation("restarts are said", "7", _size("engine", engine="differs"), patch=(Turn, "_replace", _silently)),
    Mutation("a position's item", "10", _size("drop"), patch=(View, "resume", _all_again)),
    Mutation("marks in a snapshot", "10", _size("batch"), patch=(Turn, "_mark_all", _not_marked)),
    Mutation("marks in a job", "10", Size(faults=0), patch=(handlers, "stamp", _unmarked)),
    Mutation("submission test", "1", _size("unknown"), rule="submission test"),
    Mutation("session order", "9", Size(faults=0, turns=2), patch=(Session, "advance", _all_at_once)),
    Mutation("expected fence of a claim", "1", _size("channel rag", "channel engine"), rule="expected fence"),
    Mutation("no adoption while leaving", "1", _size("channel rag", "channel engine"), rule="adopt while leaving"),
    Mutation("stop only after the record", "1", Size(faults=0, cancels=1), patch=(flow, "_stale", _impatient)),
    Mutation("alive is no reason to ack", "1", _size("channel rag", faults=2), rule="alive is acked"),
    Mutation(
        "a twin's end is no reason to ack", "1", _size("channel engine", faults=2), rule="a published twin is enough"
    ),
)

LONG = (
    Mutation(
        "a position's hash",
        "7",
        _size("engine", "drop", faults=2, engine="differs", gates=1, engines=1),
        patch=(View, "_diverged", _believed),
    ),
)
"""Those whose search takes longer than a test should."""
