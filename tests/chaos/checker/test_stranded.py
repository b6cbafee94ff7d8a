"""Which ends by deadline a fault that takes jobs away explains, and which nothing does."""

import pytest

from ..history import Asked, Happening, Healed, Injected, Received
from .script import end, numbered
from .stranded import stranded
from .verdict import Told, Verdict

pytestmark = pytest.mark.unit

TAKEN = ("delete", 100.0, 102.0)
KEPT = ("away", 80.0, 103.0)
KILLED = ("kill", 100.0, 102.0)


def _found(
    asked: float,
    *faults: tuple[str, float, float],
    told: tuple[float, ...] = (),
    aimed: str = "",
    budget_s: float = 60.0,
    status: str = "expired",
    client: str = "a",
) -> list[str]:
    """``t1`` is asked at ``asked`` and ends at its deadline; the client is ``told`` of ``t0`` before."""
    done = asked + budget_s
    happenings: list[Happening] = [Asked(asked, "a", "t1", "t1-a", budget_s)]
    happenings += [Received(at, "a", 1, numbered("a", "t0", "answer.delta", 0, text="word")) for at in told]
    happenings.append(Received(asked, "a", 1, {"type": "turn.accepted", "turn": "t1"}))
    for name, began, ended in faults:
        happenings += [Injected(began, name, "broker", turn=aimed), Healed(ended, name, "broker")]
    happenings.append(Received(done, client, 1, numbered("a", "t1", "turn.done", 0, **end(status, ""))))
    happenings.sort(key=lambda one: one.at)
    verdict = Verdict(turns=[Told(client, "t1", asked, asked, None, done, status, (), None)])
    return stranded(happenings, verdict, lambda fault: fault == "delete", "away")


@pytest.mark.parametrize("asked", [100.1, 101.9, 99.9, 96.0])
def test_a_job_may_have_been_where_the_fault_struck(asked: float) -> None:
    assert _found(asked, TAKEN) == []


def test_a_turn_that_nobody_works_on_is_found_although_its_deadline_passed() -> None:
    assert _found(102.1, TAKEN) == ["a t1 asked at 102.1 s"]
    assert _found(110.0, TAKEN, KILLED) == ["a t1 asked at 110.0 s"]
    assert _found(100.0, KILLED) == ["a t1 asked at 100.0 s"]


def test_one_that_stood_still_long_before_the_fault_is_found() -> None:
    assert _found(70.0, TAKEN) == ["a t1 asked at 70.0 s"]
    assert _found(41.0, TAKEN) == ["a t1 asked at 41.0 s"]  # the end is told while the fault lasts


def test_one_that_waited_for_others_of_its_session_may_have_been_hit() -> None:
    assert _found(70.0, TAKEN, told=(80.0, 99.0)) == []
    assert _found(70.0, TAKEN, told=(80.0, 92.0)) == ["a t1 asked at 70.0 s"]


def test_one_whose_job_was_kept_waiting_may_have_been_hit() -> None:
    assert _found(81.0, KEPT, TAKEN) == []
    assert _found(76.0, KEPT, TAKEN) == []
    assert _found(70.0, KEPT, TAKEN) == ["a t1 asked at 70.0 s"]
    assert _found(81.0, ("away", 80.0, 90.0), TAKEN) == ["a t1 asked at 81.0 s"]


def test_one_that_was_held_for_the_fault_was_hit() -> None:
    assert _found(70.0, TAKEN, aimed="t1") == []
    assert _found(70.0, TAKEN, aimed="t2") == ["a t1 asked at 70.0 s"]


def test_only_a_long_deadline_that_passed_is_told() -> None:
    assert _found(110.0, TAKEN, budget_s=0.5) == []
    assert _found(110.0, TAKEN, status="completed") == []
    assert _found(110.0, TAKEN, client="a+1") == ["a+1 t1 asked at 110.0 s"]
