"""Retry times of refused clients: how the rate is measured, how its slots are given out, and what bounds them."""

import pytest

from parley_gateway.admission import JITTER, MEASURED, TAU_S, Admission, ServiceRate

pytestmark = pytest.mark.unit


def rate_of(*times: float) -> ServiceRate:
    rate = ServiceRate()
    for time in times:
        rate.add(time)
    return rate


def steady(per_second: float, seconds: float, start: float = 100.0) -> list[float]:
    return [start + number / per_second for number in range(int(per_second * seconds))]


def admission(*ended: float, turn_s: float = 1.0, chance: float = 0.0, **bounds: float) -> Admission:
    settings = {"unknown_s": 2.0, "low_s": 0.2, "high_s": 30.0} | bounds
    made = Admission(**settings, chance=lambda: chance)
    for time in ended:
        made.ended(time, turn_s)
    return made


@pytest.mark.parametrize("count", range(MEASURED))
def test_nothing_is_told_before_enough_turns_have_ended(count):
    assert rate_of(*range(count)).per_second(5.0) is None


@pytest.mark.parametrize("per_second", [0.5, 3.0, 40.0, 900.0])
@pytest.mark.parametrize("seconds", [10, 60])
def test_a_steady_rate_is_found(per_second, seconds):
    times = steady(per_second, seconds)
    assert rate_of(*times).per_second(times[-1]) == pytest.approx(per_second, rel=0.25)


def test_a_burst_is_not_taken_for_a_rate():
    assert rate_of(7.0, 7.0, 7.0, 7.0).per_second(7.0) == pytest.approx(3.0)


def test_the_rate_falls_while_nothing_ends():
    times = steady(10.0, 60.0)
    rate = rate_of(*times)
    assert rate.per_second(times[-1] + TAU_S) == pytest.approx(10.0 / 2.718, rel=0.1)
    assert rate.per_second(times[-1] + 20 * TAU_S) < 0.001


def test_time_that_seems_to_go_back_breaks_nothing():
    rate = rate_of(10.0, 11.0, 12.0)
    assert rate.per_second(9.0) > 0


def test_refused_clients_stand_in_line():
    """Four turns end each second, so one more can be taken every quarter of a second."""
    made = admission(*steady(4.0, 60.0))
    now = 160.0
    assert [made.next_slot_s(now) for _ in range(4)] == pytest.approx([0.25, 0.5, 0.75, 1.0], rel=0.1)


def test_slots_that_have_passed_are_free_again():
    made = admission(*steady(4.0, 60.0))
    for _ in range(4):
        made.next_slot_s(160.0)
    assert made.next_slot_s(170.0) < 0.6


@pytest.mark.parametrize(
    ("ended", "asked", "wait_s"),
    [
        ((), 1, 2.0),  # nothing is known yet
        (tuple(steady(1000.0, 5.0)), 1, 0.2),  # never sooner than low_s
        (tuple(steady(1.0, 60.0)), 500, 24.0),  # never later than high_s, chance included, however long the line
        ((0.0, 0.1, 0.2), 1, 24.0),  # everything has stopped
    ],
)
def test_waits_are_bounded(ended, asked, wait_s):
    made = admission(*ended)
    now = 200.0 if ended and ended[0] == 0.0 else 160.0 if len(ended) == 60 else 105.0
    waits = [made.next_slot_s(now) for _ in range(asked)]
    assert waits[-1] == pytest.approx(wait_s)


@pytest.mark.parametrize(("chance", "wait_s"), [(0.0, 2.0), (0.5, 2.0 * (1 + JITTER / 2)), (1.0, 2.0 * (1 + JITTER))])
def test_waits_are_spread(chance, wait_s):
    assert admission(chance=chance).next_slot_s(0.0) == pytest.approx(wait_s)


def test_jitter_does_not_pass_the_bound():
    assert admission(chance=1.0, unknown_s=30.0).unknown_s() == pytest.approx(30.0)


def test_those_beyond_the_longest_wait_do_not_come_back_at_once():
    chances = iter([0.0, 0.5, 1.0])
    made = Admission(unknown_s=2.0, low_s=0.2, high_s=30.0, chance=lambda: next(chances))
    for time in (0.0, 0.1, 0.2):
        made.ended(time, 1.0)
    assert [made.next_slot_s(200.0) for _ in range(3)] == pytest.approx([24.0, 27.0, 30.0])


def test_a_session_waits_for_one_turn():
    assert admission().turn_s() == 2.0
    made = admission(0.0, turn_s=4.0)
    assert made.turn_s() == 4.0
    made.ended(1.0, 9.0)
    assert made.turn_s() == pytest.approx(5.0)


def test_bounds_that_cross_are_mended():
    assert admission(low_s=5.0, high_s=1.0).unknown_s() == 5.0
