"""The retry decision, as a table."""

import pytest

from parley_runtime.errors import EngineError, EngineRejected, Expired, Overloaded, StoreAway, Unavailable
from parley_runtime.retry import INTERNAL, FailNow, Outcome, Park, Retry, after_failure, fault_of

pytestmark = pytest.mark.unit

BUSY = EngineError("The engine is busy.")


@pytest.mark.parametrize(
    ("error", "tries", "remaining_s", "outcome"),
    [
        (BUSY, 0, 60.0, Retry(0, 1.0)),
        (BUSY, 1, 60.0, Retry(1, 5.0)),
        (BUSY, 2, 60.0, Retry(2, 30.0)),
        (BUSY, 3, 60.0, Park()),
        (BUSY, 9, 60.0, Park()),
        (RuntimeError("defect"), 0, 60.0, Retry(0, 1.0)),
        (RuntimeError("defect"), 3, 60.0, Park()),
        (EngineRejected("no"), 0, 60.0, FailNow()),
        (EngineRejected("no"), 3, 60.0, FailNow()),
        (Expired("late"), 0, 60.0, FailNow()),
        (Unavailable("down"), 0, 1.0, FailNow()),
        (Unavailable("down"), 0, 1.1, Retry(0, 1.0)),
        (Unavailable("down"), 2, 29.0, FailNow()),
        (StoreAway("locked"), 0, 60.0, Retry(0, 1.0, counted=False)),
        (StoreAway("locked"), 3, 60.0, Retry(0, 1.0, counted=False)),
        (StoreAway("locked"), 0, 1.0, FailNow()),
        (EngineError("later", retry_after_s=4.0), 0, 60.0, Retry(1, 5.0)),
        (EngineError("later", retry_after_s=5.0), 0, 60.0, Retry(1, 5.0)),
        (EngineError("later", retry_after_s=20.0), 0, 60.0, Retry(2, 30.0)),
        (EngineError("later", retry_after_s=20.0), 0, 25.0, FailNow()),
        (EngineError("later", retry_after_s=900.0), 0, 2000.0, FailNow()),
        (Overloaded("full", retry_after_s=2.0), 1, 60.0, Retry(1, 5.0)),
    ],
)
def test_a_failure_is_retried_parked_or_final(
    error: Exception, tries: int, remaining_s: float, outcome: Outcome
) -> None:
    assert after_failure(error, tries, remaining_s) == outcome


def test_a_known_error_speaks_for_itself() -> None:
    fault = fault_of(EngineRejected("Send text, not images."))
    assert (fault.code, fault.message, fault.retryable) == ("engine_failed", "Send text, not images.", False)


def test_a_defect_shows_nothing_of_itself() -> None:
    fault = fault_of(KeyError("secret"))
    assert (fault.code, fault.message, fault.retryable) == ("failed", INTERNAL, True)
