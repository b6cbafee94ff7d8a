"""What contract reviews ask of the store. Isolation: every read and write names its tenant, but those of the sweeps."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from parley_protocol.reviews import ClauseResult, Finding, ReviewStatus, ReviewSummary

RESERVED_IDS = 1000
"""Ids up to this one are never given out; a task gets one of them only by asking for it."""


class NewReview(msgspec.Struct, frozen=True, kw_only=True):
    """A task as it is handed in. ``name`` empty: ``data`` is the text itself, as UTF-8, and is kept as it is."""

    tenant: str
    contract_type: str
    role: str
    name: str
    media_type: str
    data: bytes
    digest: str
    """Of all the above: the same id with another digest is a conflict."""


class ReviewRow(msgspec.Struct, frozen=True, kw_only=True):
    """A task as stored, without its document. Times are seconds since 1970 by the store's clock."""

    tenant: str
    task: int
    status: ReviewStatus
    contract_type: str = ""
    role: str = ""
    name: str = ""
    digest: str = ""
    error: str = ""
    """Of a failed task: what to tell its owner."""
    clauses: int = 0
    """0 until the document has been cut."""
    done: int = 0
    summary: ReviewSummary | None = None
    created_at: float = 0.0
    updated_at: float = 0.0
    age_s: float = 0.0
    """Since it was made, when it was read."""


class ReviewDocument(msgspec.Struct, frozen=True, kw_only=True):
    """What a task is to read."""

    name: str
    media_type: str
    data: bytes


class NewClause(msgspec.Struct, frozen=True):
    """A clause: code points ``start`` to ``end`` of the text."""

    start: int
    end: int
    text: str


class StoredClause(msgspec.Struct, frozen=True, kw_only=True):
    """A clause that waits for its result."""

    number: int
    text: str


class Assessing(msgspec.Struct, frozen=True, kw_only=True):
    """``stored``: results taken by this call; ``completed``: it was the one that completed the task."""

    row: ReviewRow
    stored: int
    completed: bool


class ReviewStore(Protocol):
    """Tasks of contract reviews. Every method raises Unavailable when the store cannot be reached or its disk is full.

    A task only moves on: PENDING, PROCESSING, then COMPLETED or FAILED for ever. A clause gets one result, the first.
    """

    async def create(self, review: NewReview, *, limit: int, task: int | None = None) -> tuple[ReviewRow, bool]:
        """The new task and True; with ``task``, an id up to :data:`RESERVED_IDS`, the task of that id and False where
        it is there already with the same digest.

        Raises:
            Overloaded: ``limit`` tasks of all tenants have not ended yet.
            Conflict: the id is another task's.
        """
        ...

    async def row(self, tenant: str, task: int) -> ReviewRow | None: ...

    async def withdraw(self, tenant: str, task: int) -> bool:
        """Remove a task that is PENDING still, as if it had never been; False where it is not."""
        ...

    async def begin(self, tenant: str, task: int) -> ReviewRow | None:
        """PENDING becomes PROCESSING; any other task stays as it is. None where there is none."""
        ...

    async def document(self, tenant: str, task: int) -> ReviewDocument | None:
        """What is to be read; None once it has been cut."""
        ...

    async def text(self, tenant: str, task: int) -> str | None:
        """The contract's text; None until it has been cut."""
        ...

    async def cut(self, tenant: str, task: int, text: str, facts: str, clauses: Sequence[NewClause]) -> bool:
        """Keep text and clauses (at least one) in place of the document. False where the task has clauses already or
        is not PROCESSING: nothing is changed.
        """
        ...

    async def facts(self, tenant: str, task: int) -> str:
        """What :meth:`cut` was told of the whole contract; "" before."""
        ...

    async def waiting(self, tenant: str, task: int, first: int, count: int) -> list[StoredClause]:
        """Clauses from number ``first`` on, ``count`` at most, that have no result, in order; none of an ended task."""
        ...

    async def assess(self, tenant: str, task: int, results: Sequence[tuple[int, ClauseResult]]) -> Assessing | None:
        """Keep the results of clauses that have none, in one transaction. The call that leaves no clause without one
        makes the summary and completes the task; among any number of calls exactly one does. None: no such task.
        """
        ...

    async def fail(self, tenant: str, task: int, error: str) -> bool:
        """End a task that has not ended; False where it has."""
        ...

    async def findings(self, tenant: str, task: int) -> list[Finding]:
        """In the order of the contract."""
        ...

    async def stalled(self, still_s: float, *, limit: int) -> list[ReviewRow]:
        """Tasks that have not ended and of which nothing was heard for ``still_s``, the stillest first. Each is given
        to one caller: it counts as heard of from then on.
        """
        ...

    async def forget(self, older_than_s: float, *, limit: int) -> int:
        """Remove tasks that ended more than ``older_than_s`` ago, ``limit`` at most; returns how many."""
        ...
