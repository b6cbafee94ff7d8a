"""Marks: where runs say a turn is, what they say backs its answer, and what clients must see of that (invariant 10)."""

from __future__ import annotations

from typing import Any, NamedTuple

from parley_protocol.client import Done, RetrievalFrame, StatusFrame
from parley_protocol.events import Source, TurnStatus
from parley_runtime.store.ports import TurnRow

RETRIEVING, GENERATING = "retrieving", "generating"


class Seen(NamedTuple):
    """The last mark of each kind that a client was told of a turn."""

    status: str = ""
    sources: tuple[Source, ...] = ()

    @property
    def rank(self) -> int:
        """How far a turn with one run has come: 0 nothing, 1 retrieving, 2 its sources, 3 generating."""
        if self.status == GENERATING:
            return 3
        return 2 if self.sources else int(bool(self.status))


def sources(engine: str, fence: int) -> tuple[Source, ...]:
    """What a first stage's run finds: the same each time, or something of its own."""
    name = f"found by {fence}" if engine == "differs" else "found"
    return (Source(id=name, document="d", title="t", score=1.0, text="x", start=0, end=1),)


def told(seen: Seen, frame: Any, row: TurnRow | None) -> tuple[Seen, str]:
    """What the client has seen after ``frame``, and what is wrong with it.

    A turn of which there was one run is told each mark once and in order. A later run says its own, from the start; and
    an end by force has the marks of whoever forced it, which may be behind what another gateway has told.
    """
    if isinstance(frame, StatusFrame):
        after = seen._replace(status=frame.stage)
    elif isinstance(frame, RetrievalFrame):
        after = seen._replace(sources=frame.sources)
    elif isinstance(frame, Done):
        return seen, _at_the_end(seen, frame, row)
    else:
        return seen, ""
    forced = row is not None and row.status not in (TurnStatus.OPEN, TurnStatus.COMPLETED)
    if (row is None or row.fence == 1) and not forced and after.rank <= seen.rank:
        return after, f"10: a mark came again or too late: {frame}"
    return after, ""


def _at_the_end(seen: Seen, done: Done, row: TurnRow | None) -> str:
    """``done`` names the row's sources. Of a whole answer the client has seen the last marks of its run by then; one by
    force may have marks that are behind what the client has read elsewhere, and is not told of again.
    """
    if row is None or done.sources != row.sources:
        return "10: done names other sources than the row"
    if row.status is not TurnStatus.COMPLETED:
        return ""
    found = row.marks.retrieval
    if found is None or found.sources != seen.sources:
        return f"10: the client has seen the sources {seen.sources}, the row has {found}"
    if row.marks.status != seen.status:
        return f"10: the client has seen the status {seen.status!r}, the row has {row.marks.status!r}"
    return ""


def stored(row: TurnRow, engine: str) -> str:
    """An answer is stored with what the first stage's run that it descends from has found."""
    if row.status is TurnStatus.COMPLETED and row.sources != sources(engine, row.base):
        return f"10: an answer that descends from run {row.base} was stored with {row.sources}"
    return ""
