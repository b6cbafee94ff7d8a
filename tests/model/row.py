"""A turn's row as pure functions: what ``store/turns.py`` does with SQL. ``test_row.py`` proves them equal."""

from __future__ import annotations

import msgspec

from parley_protocol.events import TurnStatus
from parley_protocol.ids import TurnKey
from parley_protocol.work import Record
from parley_runtime.store.ports import (
    AlreadyClosed,
    Claimed,
    Closing,
    Crossed,
    FirstClaim,
    LaterClaim,
    NotMine,
    OtherSubmission,
    Stored,
    Superseded,
    TurnRow,
)


def claim_first(
    row: TurnRow | None, key: TurnKey, submission: str, digest: str, expected: int | None = None
) -> tuple[TurnRow | None, FirstClaim]:
    """The row afterwards, and the claim's answer."""
    if row is None:
        row = TurnRow(key=key, submission=submission, digest=digest, base=1, fence=1, status=TurnStatus.OPEN)
        return row, Claimed(1, 1)
    if row.closed:
        return row, AlreadyClosed(row)
    if row.submission != submission:
        return row, OtherSubmission(conflict=row.digest != digest)
    if expected is not None and row.fence != expected:
        return row, Crossed()
    fence = row.fence + 1
    return msgspec.structs.replace(row, base=fence, fence=fence), Claimed(fence, fence)


def claim_later(row: TurnRow | None, base: int, expected: int | None = None) -> tuple[TurnRow | None, LaterClaim]:
    """The row afterwards, and the claim's answer."""
    if row is not None and row.closed:
        return row, AlreadyClosed(row)
    if row is None or row.base != base:
        return row, NotMine()
    if expected is not None and row.fence != expected:
        return row, Crossed()
    return msgspec.structs.replace(row, fence=row.fence + 1), Claimed(base, row.fence + 1)


def close(
    row: TurnRow | None, record: Record, *, fenced: bool = True, once: bool = True
) -> tuple[TurnRow | None, Closing]:
    """The row afterwards, and what became of the record. ``fenced`` False: the mutation without the fence test;
    ``once`` False: the one without the test that the row is open.
    """
    if row is not None and row.closed and once:
        return row, AlreadyClosed(row)
    if row is None:
        if not record.forced:
            return None, Superseded()
        row = TurnRow(
            key=record.key,
            submission=record.submission,
            digest="",
            base=record.base,
            fence=record.fence,
            status=TurnStatus.OPEN,
        )
    elif _beside(row, record) if record.forced else (fenced and record.fence != row.fence):
        return row, Superseded()
    ending = {"text": record.text, "sources": record.sources, "marks": record.marks}
    row = msgspec.structs.replace(row, status=record.status, n=record.n, **ending)
    return row, Stored(row)


def _beside(row: TurnRow, record: Record) -> bool:
    """Whether a forced record is for another submission than the one at work."""
    return record.own and record.submission != row.submission
