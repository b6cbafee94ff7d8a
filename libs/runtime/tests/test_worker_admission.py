"""The table "A delivery": which deliveries are run, and under which fence."""

import pytest

from parley_protocol.events import TurnStatus
from parley_protocol.work import Job
from parley_runtime.store.ports import (
    AlreadyClosed,
    Claimed,
    NotMine,
    OtherSubmission,
    TurnRow,
)
from parley_runtime.work.admission import (
    Answer,
    Drop,
    Emit,
    Go,
    Refuse,
    Step,
    Verdict,
    certainly_first,
    expected_fence,
    first_step,
    verdict,
)
from parley_testkit.house import KEY, prompt, question

pytestmark = pytest.mark.unit


def closed(digest: str) -> AlreadyClosed:
    row = TurnRow(
        key=KEY, submission="x", digest=digest, base=1, fence=1, status=TurnStatus.COMPLETED, text="Done.", n=3
    )
    return AlreadyClosed(row)


@pytest.mark.parametrize(
    ("job", "redelivered", "count", "certain"),
    [
        (prompt(), False, None, True),
        (prompt(), False, 0, True),
        (prompt(), True, None, False),
        (prompt(), False, 1, False),
        (prompt(again=True), False, None, False),
        (prompt(tries=1), False, None, False),
    ],
)
def test_only_an_untouched_delivery_is_certainly_first(
    job: Job, redelivered: bool, count: int | None, certain: bool
) -> None:
    assert certainly_first(job, redelivered=redelivered, delivery_count=count) is certain


@pytest.mark.parametrize(
    ("job", "first", "redelivered", "count", "step"),
    [
        (question(), True, False, None, Step.CLAIM_FIRST),
        (question(again=True), True, False, None, Step.ASK_THEN_CLAIM_FIRST),
        (question(tries=2), True, False, None, Step.ASK_THEN_CLAIM_FIRST),
        (question(), True, True, None, Step.ASK_THEN_CLAIM_FIRST),
        (question(), True, False, 2, Step.ASK_THEN_CLAIM_FIRST),
        (prompt(), False, False, None, Step.GO),
        (prompt(), False, True, None, Step.CLAIM_LATER),
        (prompt(again=True), False, False, None, Step.CLAIM_LATER),
    ],
)
def test_what_the_store_is_asked(job: Job, first: bool, redelivered: bool, count: int | None, step: Step) -> None:
    assert first_step(job, first_stage=first, redelivered=redelivered, delivery_count=count) is step


@pytest.mark.parametrize(
    ("job", "first", "redelivered", "count", "step"),
    [
        (question(), True, False, None, Step.CLAIM_FIRST),
        (question(), True, True, None, Step.ASK_THEN_CLAIM_FIRST),
        (prompt(), False, False, None, Step.CLAIM_LATER),
        (prompt(), False, True, None, Step.CLAIM_LATER),
        (prompt(again=True), False, False, None, Step.CLAIM_LATER),
    ],
)
def test_always_leaves_no_delivery_without_a_claim(
    job: Job, first: bool, redelivered: bool, count: int | None, step: Step
) -> None:
    asked = first_step(job, first_stage=first, redelivered=redelivered, delivery_count=count, always=True)
    assert asked is step


@pytest.mark.parametrize(
    ("job", "first", "redelivered", "count", "fence"),
    [
        (question(), True, False, None, 0),
        (question(), True, True, None, None),
        (question(), True, False, 1, None),
        (question(again=True), True, False, None, None),
        (prompt(fence=4), False, False, None, 4),
        (prompt(fence=4), False, True, None, None),
        (prompt(fence=4, tries=1), False, False, None, None),
    ],
)
def test_only_a_first_delivery_knows_the_fence_it_claims_above(
    job: Job, first: bool, redelivered: bool, count: int | None, fence: int | None
) -> None:
    assert expected_fence(job, first_stage=first, redelivered=redelivered, delivery_count=count) == fence


@pytest.mark.parametrize(
    ("job", "claim", "expected"),
    [
        (question(), Claimed(4, 4), Go(4, 4)),
        (question(), OtherSubmission(False), Drop()),
        (question(), OtherSubmission(True), Refuse()),
        (question(), closed("d1"), Emit(closed("d1").row)),
        (question(), closed(""), Emit(closed("").row)),
        (question(), closed("other"), Refuse()),
        (prompt(), Claimed(1, 3), Go(1, 3)),
        (prompt(), NotMine(), Drop()),
        (prompt(), closed("other"), Emit(closed("other").row)),
    ],
)
def test_what_the_answer_means(job: Job, claim: Answer, expected: Verdict) -> None:
    assert verdict(job, claim) == expected
