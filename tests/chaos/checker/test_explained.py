"""The checker where something explains what would be a breach, and how far; and histories that are cut short."""

import pytest

from ..history import Happening, Healed, Injected, Received
from .checker import judge
from .script import (
    WHOLE,
    WORDS,
    Script,
    answered,
    begun,
    cancel_ignored,
    cancel_text,
    clean,
    failed,
    lost,
    missing,
    restart,
)

pytestmark = pytest.mark.unit


def test_a_fault_explains_a_restart_a_failure_and_a_long_cancel() -> None:
    for write in (restart, failed, cancel_text, cancel_ignored):
        run = Script().fault()
        run.happenings += write().happenings
        assert judge(run.finished()).violations == [], write.__name__


def test_a_cancel_keeps_the_text_of_who_cancelled_whatever_other_readers_have() -> None:
    run = begun().delta("t1", WORDS[0])
    twin = run.other("a+1", "session-a").open(hello={"session": "session-a"}).start("t1").accepted("t1")
    twin.delta("t1", WORDS[0]).send(type="turn.cancel", turn="t1")
    run.delta("t1", WORDS[1])
    twin.done("t1", WORDS[0], status="cancelled")
    run.restarted("t1").delta("t1", WORDS[0]).done("t1", WORDS[0], status="cancelled")
    assert judge(run.finished()).violations == []


def test_a_salted_answer_and_one_whose_gateway_died_may_start_anew() -> None:
    run = Script().open().asked("t1", text="why? salt").accepted("t1").delta("t1", WORDS[0]).fault("kill-inference")
    assert judge(answered(run.restarted("t1")).done("t1", WHOLE).finished()).violations == []
    run = begun().delta("t1", WORDS[0]).fault("kill-inference").fault("kill-gateway").restarted("t1")
    assert judge(answered(run).done("t1", WHOLE).finished()).violations == []


def test_a_turn_asked_again_after_its_end_is_told_anew_and_whole() -> None:
    run = answered(begun()).done("t1", WHOLE).start("t1").accepted("t1")
    run.seqs.clear()
    assert judge(answered(run).done("t1", WHOLE).finished()).violations == []
    run = answered(begun()).done("t1", WHOLE).start("t1").accepted("t1")
    run.seqs.clear()
    verdict = judge(run.delta("t1", WORDS[0]).done("t1", WORDS[0]).finished())
    assert [violation.rule for violation in verdict.violations] == ["two-answers"]


def test_a_question_that_crosses_its_own_end_may_be_told_once_more() -> None:
    """Sent once more before its end is read, and accepted after it."""

    def crossed() -> Script:
        return answered(begun().start("t1")).done("t1", WHOLE)

    told_again = crossed().accepted("t1")
    told_again.seqs.clear()
    assert judge(answered(told_again).done("t1", WHOLE).finished()).violations == []
    unasked = crossed()
    unasked.seqs.clear()
    verdict = judge(answered(unasked).done("t1", WHOLE).finished())
    assert {violation.rule for violation in verdict.violations} == {"after-done"}


def test_one_injection_aimed_at_several_turns_is_one_fault() -> None:
    run = Script().open()
    at = run.at
    for turn in ("t1", "t2"):
        run.add(Injected(at, "kill", "rag-1", "queued", turn))
    run.add(Healed(run.at, "kill", "rag-1"))
    while run.at < 7.0:
        run.told(type="pong")
    run.asked("t3").accepted("t3").done("t3", "", status="failed", fault={"message": "no"})
    verdict = judge(run.finished())
    assert verdict.counts["faults"] == 1
    assert verdict.faults == {("kill", "queued"): 2}
    assert [violation.rule for violation in verdict.violations] == ["failed"]


def test_one_fault_does_not_explain_three_restarts() -> None:
    run = begun().fault()
    for number in range(3):
        run.delta("t1", f"t1-a.{number}{number}.t1 ").restarted("t1")
    verdict = judge(answered(run).done("t1", WHOLE).finished())
    assert [violation.rule for violation in verdict.violations] == ["restart"]
    assert verdict.counts["restarts"] == 3


def test_what_a_fault_explains_ends_five_seconds_after_it() -> None:
    run = Script().open().fault()
    while run.at < 6.0:
        run.told(type="pong")
    run.asked("t1").accepted("t1").delta("t1", WORDS[0]).restarted("t1")
    assert [each.rule for each in judge(answered(run).done("t1", WHOLE).finished()).violations] == ["restart"]


def test_a_turn_that_was_aimed_at_is_explained_by_its_own_faults_and_those_of_the_world() -> None:
    def ended(target: str, own: bool) -> list[str]:
        run = begun()
        run.add(Injected(run.at, "some", target, "queued", "t1" if own else "t2"))
        run.add(Injected(run.at, "other", "rag-1", "queued", "t1"))
        run.add(Healed(run.at, "some", target)).add(Healed(run.at, "other", "rag-1"))
        for number in range(3):
            run.delta("t1", f"t1-a.{number}{number}.t1 ").restarted("t1")
        return [violation.rule for violation in judge(answered(run).done("t1", WHOLE).finished()).violations]

    assert ended("gateway-1", own=False) == ["restart"]
    assert ended("gateway-1", own=True) == []
    assert ended("broker", own=False) == []


def test_an_answer_may_stand_still_where_more_than_a_worker_was_killed() -> None:
    run = begun().delta("t1", WORDS[0]).fault("kill-inference").fault("broker-kill")
    while run.at < 12.0:
        run.told(type="pong")
    assert judge(answered(run, "t1", *WORDS[1:]).done("t1", WHOLE).finished()).violations == []


def test_a_turn_that_is_held_until_a_fault_waits_from_there() -> None:
    run = begun().delta("t1", WORDS[0])
    while run.at < 12.0:
        run.told(type="pong")
    run.add(Injected(run.at, "kill-rag", "rag-1", "answer", "t1")).add(Healed(run.at, "kill-rag", "rag-1"))
    assert judge(answered(run, "t1", *WORDS[1:]).done("t1", WHOLE).finished()).violations == []


def test_without_its_end_a_history_has_lost_nothing_and_is_no_success() -> None:
    verdict = judge(lost())
    assert (verdict.violations, verdict.ok, verdict.finished) == ([], False, False)


def test_a_history_that_begins_late_is_not_held_against_anyone() -> None:
    whole = clean().finished()
    for first in range(len(whole)):
        verdict = judge(whole[first:])
        assert [str(violation) for violation in verdict.violations] == [], first


def test_a_history_that_breaks_off_anywhere_is_judged_without_complaint() -> None:
    whole = clean().finished()
    for last in range(len(whole)):
        assert judge(whole[:last]).violations == [], last


def test_a_client_that_left_for_good_before_the_deadline_was_not_waiting() -> None:
    left = answered(begun()).closed(1000, own=True)
    assert judge(left.finished()).violations == []
    impatient = answered(Script().open().asked("t1", budget_s=0.2).accepted("t1")).closed(1000, own=True)
    assert [each.rule for each in judge(impatient.finished()).violations] == ["lost"]
    dropped = answered(begun()).closed(1006, own=True)
    assert [each.rule for each in judge(dropped.finished()).violations] == ["lost"]


def test_a_turn_that_was_stored_but_never_told_is_lost_all_the_same() -> None:
    (violation,) = judge(lost().reread("t1", *WORDS).finished()).violations
    assert violation.rule == "lost"
    assert "stored as completed" in violation.what


def test_after_a_gap_that_was_said_the_server_may_number_anew() -> None:
    run = begun().delta("t1", WORDS[0])
    idle = run.other("idle", "session-idle").open()
    while run.at < 700.0:
        idle.told(type="pong")
    run.closed().resume("t1", "t1", gap=True)
    verdict = judge(run.delta("t1", WHOLE, seq=5).done("t1", WHOLE).finished())
    assert verdict.violations == []
    assert verdict.counts["gaps said"] == 1


def test_the_evidence_is_what_its_client_saw_around_the_breach() -> None:
    run = missing().told(type="pong").told(type="pong")
    (violation,) = judge(run.finished()).violations
    kinds = [each.frame["type"] for each in violation.evidence if isinstance(each, Received)]
    assert kinds == ["welcome", "turn.accepted", "answer.delta", "answer.delta", "turn.done", "pong", "pong"]


def test_many_breaches_of_a_rule_are_all_counted() -> None:
    run = Script().open()
    for number in range(150):
        run.asked(f"t{number}").accepted(f"t{number}").done(f"t{number}", "", status="cancelled")
    verdict = judge(run.finished())
    assert verdict.broken == {"uncalled-cancel": 150}
    assert len(verdict.violations) == 100


def test_headline_numbers_are_sums_of_rules() -> None:
    run = missing()
    happenings: list[Happening] = list(run.finished()[:-1])
    other = Script("b", "session-b", happenings).open().asked("t1").accepted("t1").delta("t1", "t1-a.t1")
    verdict = judge(other.done("t1", "t1-a.t1").done("t1", "t1-a.t1").finished())
    assert verdict.broken == {"missing": 1, "foreign-text": 1, "after-done": 1}
    assert verdict.headline == "1 / 1 / 0 / 1"
