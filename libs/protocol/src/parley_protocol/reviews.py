"""Contract reviews: jobs of the two review stages, what is found, and how far a task has come.

A task's row in the store is the truth; a job only says that there may be work, and carries no text.
"""

import enum

import msgspec


class ReviewStatus(enum.StrEnum):
    """Where a task stands. The last two are final."""

    PENDING = "PENDING"
    PROCESSING = "PROCESSING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"

    @property
    def ended(self) -> bool:
        return self in (ReviewStatus.COMPLETED, ReviewStatus.FAILED)


class ReviewStage(enum.StrEnum):
    """The step that a task is at."""

    PENDING = "pending"
    READING = "reading"
    ANALYZING = "analyzing"
    COMPLETE = "complete"
    FAILED = "failed"


class Risk(enum.StrEnum):
    """Of a finding, for the role that the review is made for. ``UNKNOWN``: the clause could not be assessed."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"
    UNKNOWN = "unknown"


class ReadReview(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="review.read", tag_field="kind"):
    """First stage: read the document, cut it into clauses, send them to be assessed."""

    tenant: str
    task: int
    tries: int = 0
    """Trips through the retry ladder so far."""


class AssessClauses(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="review.assess", tag_field="kind"
):
    """Second stage: assess those of ``count`` clauses from number ``first`` on that have no result yet."""

    tenant: str
    task: int
    first: int
    count: int
    tries: int = 0


ReviewJob = ReadReview | AssessClauses


class RuleCited(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A passage of the playbook: where its rule stands."""

    id: str
    title: str
    document: str
    kb: str = ""


class Verdict(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One risk in one clause."""

    risk: Risk
    reason: str
    rule: RuleCited | None = None
    """None where the clause could not be assessed."""


class ClauseResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The outcome of one clause, stored once. No verdicts: nothing in it is risky for the role."""

    assessor: str
    verdicts: tuple[Verdict, ...] = ()
    note: str = ""
    """Why another assessor than the chosen one was used, or why none could."""


class Finding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A verdict with its clause. ``start`` and ``end`` are code points of the contract's text."""

    number: int
    """Of the clause, from 0."""
    clause: str
    start: int
    end: int
    risk: Risk
    reason: str
    rule: RuleCited | None = None
    assessor: str = ""


class ReviewSummary(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is said of a whole review, made once, by the result that completed it."""

    clauses: int = 0
    risks: dict[str, int] = {}
    """Findings by risk; every risk is named."""
    assessors: dict[str, int] = {}
    """Clauses by the assessor that judged them."""
    notes: tuple[str, ...] = ()


READ, SPLIT = 5, 10
"""Percent of a task whose document is being read, and of one whose clauses are known."""


def percent(status: ReviewStatus, clauses: int, done: int) -> int:
    """How far a task is: 0 waiting, 5 read, 10 to 99 by clauses done, 100 complete. It never falls as a task goes on;
    of a failed task it is where it stood.
    """
    if status is ReviewStatus.COMPLETED:
        return 100
    if status is ReviewStatus.PENDING:
        return 0
    if not clauses:
        return READ
    return SPLIT + (99 - SPLIT) * min(done, clauses) // clauses
