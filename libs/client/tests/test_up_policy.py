"""The restart rule, walked through in virtual time."""

import pytest

from parley_client.up.policy import GiveUp, History, Restart, RestartPolicy, describe_end

pytestmark = pytest.mark.unit

POLICY = RestartPolicy(first=1.0, factor=2.0, longest=5.0, quick=10.0, patience=4)


def test_the_delay_doubles_up_to_its_limit_and_alarms_once() -> None:
    history = History(POLICY, was_ready=True)
    verdicts = [history.ended(1, ran_for=0.1, draw=1.0) for _ in range(6)]
    assert verdicts == [
        Restart(1.0),
        Restart(2.0),
        Restart(4.0),
        Restart(5.0, alarm=True),
        Restart(5.0),
        Restart(5.0),
    ]


@pytest.mark.parametrize(("draw", "delay"), [(0.0, 0.5), (0.5, 0.75), (1.0, 1.0)])
def test_jitter_spreads_the_delay_over_its_upper_half(draw: float, delay: float) -> None:
    assert History(POLICY).ended(1, 0.1, draw) == Restart(delay)


def test_a_long_run_forgives_the_fast_ends_before_it() -> None:
    history = History(POLICY, was_ready=True)
    for _ in range(3):
        history.ended(1, 0.1, 1.0)
    assert history.ended(1, ran_for=60.0, draw=1.0) == Restart(1.0)


def test_a_process_that_was_never_ready_ends_the_start() -> None:
    history = History(POLICY)
    assert [type(history.ended(1, 0.1, 0.0)) for _ in range(4)] == [Restart, Restart, Restart, GiveUp]


@pytest.mark.parametrize("was_ready", [True, False])
def test_bad_configuration_is_never_tried_again(was_ready: bool) -> None:
    assert History(POLICY, was_ready=was_ready).ended(78, 0.1, 0.0) == GiveUp("its configuration is wrong")


def test_a_clean_end_nobody_asked_for_is_restarted_too() -> None:
    assert History(POLICY).ended(0, 0.1, 1.0) == Restart(1.0)


@pytest.mark.parametrize(
    ("code", "text"), [(1, "with code 1"), (-9, "by signal 9 (SIGKILL)"), (-15, "by signal 15 (SIGTERM)")]
)
def test_an_end_is_described_for_people(code: int, text: str) -> None:
    assert describe_end(code) == text
