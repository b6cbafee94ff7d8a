"""What becomes of a job whose handler failed: a pure decision, table-tested.

The ladder's rungs and delays are :data:`parley_protocol.routes.RETRY_LADDER_S`.
"""

from dataclasses import dataclass

from parley_protocol.events import Fault
from parley_protocol.routes import RETRY_LADDER_S
from parley_runtime.errors import Fatal, ParleyError, StoreAway

INTERNAL = "The turn could not be worked on because of an internal error. Try again; if it persists, tell the operator."


@dataclass(frozen=True, slots=True)
class Retry:
    """Publish the job ``again`` to this rung; it comes back to its stage after ``delay_s``. ``counted``: as a try."""

    rung: int
    delay_s: float
    counted: bool = True


@dataclass(frozen=True, slots=True)
class Park:
    """It kept failing: record ``failed`` and keep the job as a dead letter with its cause."""


@dataclass(frozen=True, slots=True)
class FailNow:
    """Another attempt would fail too, or would come too late: record ``failed``."""


Outcome = Retry | Park | FailNow


def after_failure(error: BaseException, tries: int, remaining_s: float) -> Outcome:
    """``tries``: trips through the ladder so far. An error outside the tree is a defect, which may be met again or
    not: it is retried like a Retryable one.

    While the store is away the first rung is taken as often as it needs.

    An engine's ``retry_after_s`` picks the first rung that waits at least as long. A delay that would outlast the
    turn's deadline is not begun.
    """
    if isinstance(error, Fatal):
        return FailNow()
    if isinstance(error, StoreAway):
        delay = RETRY_LADDER_S[0]
        return Retry(0, delay, counted=False) if delay < remaining_s else FailNow()
    if tries >= len(RETRY_LADDER_S):
        return Park()
    wish = float(getattr(error, "retry_after_s", 0.0))
    rung = tries
    while rung < len(RETRY_LADDER_S) - 1 and RETRY_LADDER_S[rung] < wish:
        rung += 1
    delay = RETRY_LADDER_S[rung]
    if delay >= remaining_s or delay < wish:
        return FailNow()
    return Retry(rung, delay)


def fault_of(error: BaseException) -> Fault:
    """``error`` in words for the turn's user; an error outside the tree shows nothing of itself."""
    if isinstance(error, ParleyError):
        return error.fault()
    return Fault(ParleyError.code.value, INTERNAL, True)
