"""Whether and under which fence a delivery is run: pure decisions, table-tested.

The table "A delivery" of docs/protocol says why. Counts and flags of the broker answer one question only: is this
certainly the first delivery of a job that was certainly published once?
"""

import enum
from dataclasses import dataclass

from parley_protocol.work import Job, Retrieve
from parley_runtime.store.ports import AlreadyClosed, Claimed, NotMine, OtherSubmission, TurnRow


class Step(enum.Enum):
    """What to ask the store before any work."""

    GO = "go"
    """Nothing: the job's fence is its own."""
    CLAIM_FIRST = "claim_first"
    ASK_THEN_CLAIM_FIRST = "ask_then_claim_first"
    """A run of the row's base may be alive at another worker: ask before claiming."""
    CLAIM_LATER = "claim_later"


@dataclass(frozen=True, slots=True)
class Go:
    """Run with this base and fence."""

    base: int
    fence: int


@dataclass(frozen=True, slots=True)
class Emit:
    """The row is closed: emit the terminal from it and ack."""

    row: TurnRow


@dataclass(frozen=True, slots=True)
class Refuse:
    """The turn id was used for another text: say so and ack; the turn itself is not touched."""


@dataclass(frozen=True, slots=True)
class Drop:
    """Another message answers for the turn: ack."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Another run answers for the turn as long as it lives: look again later."""


Verdict = Go | Emit | Refuse | Drop | Wait


def certainly_first(job: Job, *, redelivered: bool, delivery_count: int | None) -> bool:
    """Nobody else can have begun this job."""
    return not (job.again or job.tries or redelivered or delivery_count)


def expected_fence(job: Job, *, first_stage: bool, redelivered: bool, delivery_count: int | None) -> int | None:
    """The fence that the row must still have when a claim for this delivery lands. None: it has to be read first, and
    then the delivery proven to be ours, so that nobody who was given it after us can have claimed before.
    """
    if not certainly_first(job, redelivered=redelivered, delivery_count=delivery_count):
        return None
    return 0 if first_stage else job.fence


def first_step(
    job: Job, *, first_stage: bool, redelivered: bool, delivery_count: int | None, always: bool = False
) -> Step:
    """The question to the store for this delivery; ``always``: later stages, too, claim every one."""
    certain = certainly_first(job, redelivered=redelivered, delivery_count=delivery_count)
    if not first_stage:
        return Step.GO if certain and not always else Step.CLAIM_LATER
    return Step.CLAIM_FIRST if certain else Step.ASK_THEN_CLAIM_FIRST


Answer = Claimed | AlreadyClosed | OtherSubmission | NotMine
"""An answer of the store to act upon."""


def verdict(job: Job, claim: Answer) -> Verdict:
    """What the store's answer means for ``job``."""
    match claim:
        case Claimed(base, fence):
            return Go(base, fence)
        case AlreadyClosed(row):
            return Refuse() if _other_text(job, row) else Emit(row)
        case OtherSubmission(conflict):
            return Refuse() if conflict else Drop()
        case NotMine():
            return Drop()


def _other_text(job: Job, row: TurnRow) -> bool:
    # A row that a forced record made has no digest: nothing is known of the text it stands for.
    return isinstance(job, Retrieve) and bool(row.digest) and row.digest != job.digest
