"""Who is missed, and when."""

import pytest

from .checker.script import Script
from .lookout import STILL_S, Still

pytestmark = pytest.mark.unit

LATER = 100.0 + STILL_S


def test_a_client_that_waits_and_is_told_nothing_is_missed() -> None:
    run = Script().open().asked("t1").accepted("t1")
    still = Still()
    heard = run.at - 0.1
    assert still.look(run.happenings, heard + STILL_S) == []
    assert still.look(run.happenings, heard + STILL_S + 0.1) == [f"a t1, asked at 0.4 s, nothing since {heard:.1f} s"]
    run.delta("t1", "word")
    assert still.look(run.happenings, run.at + STILL_S - 0.1) == []


def test_one_that_waits_for_nothing_is_not_missed() -> None:
    run = Script().open()
    assert Still().look(run.happenings, LATER) == []
    run.asked("t1").accepted("t1").done("t1", "")
    run.asked("t2").error("overloaded", "t2")
    assert Still().look(run.happenings, LATER) == []
    run.start("t2")
    assert [line.partition(",")[0] for line in Still().look(run.happenings, LATER)] == ["a t2"]
    assert Still().look(run.happenings, LATER, lambda turn: turn == "t2") == []


def test_a_session_is_alive_whichever_of_its_turns_is_told() -> None:
    run = Script().open().asked("t1").asked("t2").accepted("t1")
    while run.at < 30.0:
        run.delta("t1", "word")
    assert Still().look(run.happenings, 31.0) == []
    assert len(Still().look(run.happenings, LATER)) == 2
