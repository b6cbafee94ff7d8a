"""The checker against histories written by hand: a clean one passes, and each rule has one that breaks it alone."""

import ast
from collections.abc import Callable
from pathlib import Path

import pytest

from .checker import judge
from .history import Happening, Healed, Injected, Received
from .script import Script
from .verdict import RULES

pytestmark = pytest.mark.unit

WORDS = ("t1-a.aa.t1 ", "t1-a.aa.t2 ", "t1-a.aa.t3")
B4 = tuple(f"t1-a.bbbbbb.t{number}" for number in range(1, 5))
WHOLE = "t1-a.aa.t1 t1-a.aa.t2 t1-a.aa.t3"


def begun() -> Script:
    """One turn asked and accepted."""
    return Script().open().asked("t1").accepted("t1")


def answered(script: Script, turn: str = "t1", *words: str) -> Script:
    for word in words or WORDS:
        script.delta(turn, word)
    return script


def clean() -> Script:
    """Everything that a client may see without a promise being broken."""
    run = answered(begun()).done("t1", WHOLE)
    run.asked("t2").accepted("t2").turn("t2", "turn.status", stage="retrieving")
    run.turn("t2", "retrieval", intent="question", route="kb", sources=[{"id": "s"}]).delta("t2", "t2-a.t1 ")
    run.closed().resume("t2", "t2").delta("t2", "t2-a.t2").done("t2", "t2-a.t1 t2-a.t2", sources=[{"id": "s"}])
    run.asked("t3", text="tokens=2").accepted("t3").delta("t3", "t3-a.01.t1 ").fault()
    run.restarted("t3").delta("t3", "t3-a.02.t1 t3-a.02.t2").done("t3", "t3-a.02.t1 t3-a.02.t2")
    run.asked("t4").accepted("t4").delta("t4", "t4-a.t1 ").send(type="turn.cancel", turn="t4")
    run.delta("t4", "t4-a.t2 ").done("t4", "t4-a.t1 t4-a.t2 ", status="cancelled")
    run.asked("t5").error("overloaded", "t5", retry_after_ms=200).start("t5").accepted("t5")
    run.told(type="degraded", reason="broker").told(type="restored")
    run.done("t5", "", status="failed", fault={"code": "failed", "message": "the engine failed"})
    run.asked("t6", budget_s=0.3).accepted("t6").done("t6", "", status="expired", fault={"message": "too late"})
    run.asked("t7").error("conflict", "t7")
    twin = run.other("a+1", "session-a").open(hello={"session": "session-a"}).start("t1", text="t1?").accepted("t1")
    answered(twin).done("t1", WHOLE).closed(1000, own=True)
    run.told(type="draining", reconnect_in_ms=10).closed(4001).resume("t6")
    other = run.other("b", "session-b").open().asked("t1").accepted("t1")
    answered(other, "t1", "t1-b.t1 ", "t1-b.t2").done("t1", "t1-b.t1 t1-b.t2")
    return run.reread("t1", *WORDS).reread("t3", "t3-a.02.t1 ", "t3-a.02.t2")


def test_a_clean_history_passes_and_everything_in_it_is_counted() -> None:
    verdict = judge(clean().finished())
    assert [str(violation) for violation in verdict.violations] == []
    assert verdict.ok
    assert verdict.headline == "0 / 0 / 0 / 0"
    counted = {name: verdict.counts[name] for name in ("accepted", "judged", "completed", "cancelled", "failed")}
    assert counted == {"accepted": 8, "judged": 8, "completed": 5, "cancelled": 1, "failed": 1}
    counted = {name: verdict.counts[name] for name in ("expired", "refused", "restarts", "read again", "faults")}
    assert counted == {"expired": 1, "refused": 1, "restarts": 1, "read again": 2, "faults": 1}
    assert verdict.counts["refused overloaded"] == 1
    assert verdict.faults == {("kill", "mid-answer"): 1}
    assert {(told.client, told.turn): told.status for told in verdict.turns} == {
        ("a", "t1"): "completed",
        ("a", "t2"): "completed",
        ("a", "t3"): "completed",
        ("a", "t4"): "cancelled",
        ("a", "t5"): "failed",
        ("a", "t6"): "expired",
        ("a", "t7"): "refused",
        ("a+1", "t1"): "completed",
        ("b", "t1"): "completed",
    }


# Each of these breaks the rule of its name, and no other.


def lost() -> Script:
    return answered(begun())


def unanswered() -> Script:
    return answered(begun()).done("t1", WHOLE).asked("t2")


def not_stored() -> Script:
    return answered(begun()).done("t1", WHOLE).reread("t1", *WORDS, ended=False)


def after_done() -> Script:
    return answered(begun()).done("t1", WHOLE).done("t1", WHOLE)


def failed() -> Script:
    return begun().done("t1", "", status="failed", fault={"code": "failed", "message": "the engine failed"})


def expired_early() -> Script:
    return begun().done("t1", "", status="expired")


def missing() -> Script:
    return begun().delta("t1", WORDS[0]).delta("t1", WORDS[2], seq=2).done("t1", WHOLE)


def repeated() -> Script:
    return (
        begun()
        .delta("t1", WORDS[0])
        .delta("t1", WORDS[0], seq=0)
        .delta("t1", "t1-a.aa.t2")
        .done("t1", "t1-a.aa.t1 t1-a.aa.t2")
    )


def reordered() -> Script:
    run = begun().delta("t1", WORDS[0]).delta("t1", WORDS[2], seq=2).delta("t1", WORDS[1], seq=1)
    return run.done("t1", WHOLE)


def text() -> Script:
    return begun().delta("t1", WORDS[0]).delta("t1", WORDS[1]).done("t1", WHOLE)


def record() -> Script:
    return answered(begun()).done("t1", WHOLE).reread("t1", *WORDS[:2], "t1-a.aa.t3 t1-a.aa.t4")


def sources() -> Script:
    run = begun().turn("t1", "retrieval", intent="question", route="kb", sources=[{"id": "s"}])
    return answered(run).done("t1", WHOLE, sources=[{"id": "other"}])


def torn_lost() -> Script:
    return begun().delta("t1", "t1-a.aa.t1 t1-a.aa.t3").done("t1", "t1-a.aa.t1 t1-a.aa.t3")


def torn_lost_at_the_end() -> Script:
    return answered(Script().open().asked("t1", text="say it tokens=4").accepted("t1")).done("t1", WHOLE)


def torn_repeated() -> Script:
    return (
        begun()
        .delta("t1", "t1-a.aa.t1 t1-a.aa.t1 ")
        .delta("t1", "t1-a.aa.t2")
        .done("t1", "t1-a.aa.t1 t1-a.aa.t1 t1-a.aa.t2")
    )


def torn_reordered() -> Script:
    told = "t1-a.t1 t1-a.t2 t1-a.t4 t1-a.t3"
    return begun().delta("t1", told).done("t1", told)


def overlap() -> Script:
    run = begun().asked("t2").accepted("t2").delta("t1", WORDS[0]).delta("t2", "t2-a.t1").done("t2", "t2-a.t1")
    return run.delta("t1", "t1-a.aa.t2").done("t1", "t1-a.aa.t1 t1-a.aa.t2")


def unsaid_gap() -> Script:
    run = begun().delta("t1", WORDS[0]).closed().resume("t1", "t1")
    return run.delta("t1", WORDS[2], seq=2).done("t1", WHOLE)


def replayed() -> Script:
    run = begun().delta("t1", WORDS[0]).closed().resume("t1", "t1").delta("t1", WORDS[0], seq=0)
    return run.delta("t1", WORDS[1]).delta("t1", WORDS[2]).done("t1", WHOLE)


def early_gap() -> Script:
    run = begun().delta("t1", WORDS[0]).closed().resume("t1", "t1", gap=True)
    return answered(run, "t1", *WORDS[1:]).done("t1", WHOLE)


def session_lost() -> Script:
    run = answered(begun()).done("t1", WHOLE).closed()
    return run.open(hello={"session": "session-a", "position": "a/t1/3"}, session="session-new")


def two_answers() -> Script:
    run = answered(begun()).done("t1", WHOLE)
    twin = run.other("a+1", "session-a").open(hello={"session": "session-a"}).start("t1").accepted("t1")
    twin.delta("t1", "t1-a.aa.t1").done("t1", "t1-a.aa.t1")
    return run


def accepted_twice() -> Script:
    return answered(begun().accepted("t1")).done("t1", WHOLE)


def conflict() -> Script:
    run = answered(begun()).done("t1", WHOLE)
    run.other("a+1", "session-a").open(hello={"session": "session-a"}).start("t1", text="something else").delta(
        "t1", "x"
    ).error("conflict", "t1")
    return run


def fenced() -> Script:
    told = "t1-a.aa.t1 t1-a.bb.t2"
    return begun().delta("t1", "t1-a.aa.t1 ").delta("t1", "t1-a.bb.t2").done("t1", told)


def fenced_by_a_run_that_comes_back() -> Script:
    run = begun().fault().delta("t1", "t1-a.aa.t1 ").restarted("t1").delta("t1", "t1-a.bb.t1 ")
    return run.restarted("t1").delta("t1", "t1-a.aa.t1 t1-a.aa.t2").done("t1", "t1-a.aa.t1 t1-a.aa.t2")


def fenced_at_another_reader() -> Script:
    run = begun().delta("t1", "t1-a.aaaaaa.t1 ")
    twin = run.other("a+1", "session-a").open(hello={"session": "session-a"}).start("t1").accepted("t1")
    twin.delta("t1", "t1-a.aaaaaa.t1 ")
    run.fault("stop-inference").restarted("t1").delta("t1", "t1-a.bbbbbb.t1 ").delta("t1", "t1-a.bbbbbb.t2 ")
    run.delta("t1", "t1-a.bbbbbb.t3 ").delta("t1", "t1-a.bbbbbb.t4 ").done("t1", " ".join(B4) + " ")
    twin.delta("t1", "t1-a.aaaaaa.t2 ").restarted("t1")
    return answered(twin, "t1", *(f"{word} " for word in B4)).done("t1", " ".join(B4) + " ")


def restart() -> Script:
    return answered(begun().delta("t1", WORDS[0]).restarted("t1")).done("t1", WHOLE)


def seamless() -> Script:
    run = begun().delta("t1", "t1-a.t1 ").fault("kill-inference").restarted("t1")
    return run.delta("t1", "t1-a.t1 t1-a.t2").done("t1", "t1-a.t1 t1-a.t2")


def uncalled_cancel() -> Script:
    return begun().delta("t1", WORDS[0]).done("t1", WORDS[0], status="cancelled")


def cancel_text() -> Script:
    run = begun().delta("t1", WORDS[0]).delta("t1", WORDS[1]).send(type="turn.cancel", turn="t1")
    return run.restarted("t1").delta("t1", WORDS[0]).done("t1", WORDS[0], status="cancelled")


def cancel_ignored() -> Script:
    run = begun().delta("t1", WORDS[0]).send(type="turn.cancel", turn="t1")
    for _ in range(25):
        run.told(type="pong")
    return run.delta("t1", WORDS[1]).done("t1", WORDS[0] + WORDS[1], status="cancelled")


def close_code() -> Script:
    return answered(begun()).done("t1", WHOLE).closed(1012)


def retry_time() -> Script:
    return answered(begun()).done("t1", WHOLE).asked("t2").error("overloaded", "t2")


def outage_pair() -> Script:
    return answered(begun()).done("t1", WHOLE).told(type="degraded", reason="broker")


def outage_restored_alone() -> Script:
    return answered(begun()).done("t1", WHOLE).told(type="restored")


def outage_said_twice() -> Script:
    run = answered(begun()).done("t1", WHOLE).told(type="degraded", reason="broker")
    return run.told(type="degraded", reason="broker").told(type="restored")


def foreign_turn() -> Script:
    return answered(begun()).done("t1", WHOLE).delta("t9", "x")


def foreign_accepted() -> Script:
    return answered(begun()).done("t1", WHOLE).accepted("t9")


def foreign_text() -> Script:
    return begun().delta("t1", "t1-b.t1").done("t1", "t1-b.t1")


def malformed() -> Script:
    return answered(begun()).done("t1", WHOLE).told(type="turn.status", turn="t1", stage="routing")


def malformed_type() -> Script:
    return answered(begun()).done("t1", WHOLE).told(type="surprise")


def error() -> Script:
    return answered(begun()).done("t1", WHOLE).error("failed", "t1")


BREACHES: list[tuple[str, Callable[[], Script]]] = [
    ("lost", lost),
    ("unanswered", unanswered),
    ("not-stored", not_stored),
    ("after-done", after_done),
    ("failed", failed),
    ("expired-early", expired_early),
    ("missing", missing),
    ("repeated", repeated),
    ("reordered", reordered),
    ("text", text),
    ("record", record),
    ("sources", sources),
    ("torn-lost", torn_lost),
    ("torn-lost", torn_lost_at_the_end),
    ("torn-repeated", torn_repeated),
    ("torn-reordered", torn_reordered),
    ("overlap", overlap),
    ("unsaid-gap", unsaid_gap),
    ("replayed", replayed),
    ("early-gap", early_gap),
    ("session-lost", session_lost),
    ("two-answers", two_answers),
    ("accepted-twice", accepted_twice),
    ("conflict", conflict),
    ("fenced", fenced),
    ("fenced", fenced_by_a_run_that_comes_back),
    ("fenced", fenced_at_another_reader),
    ("restart", restart),
    ("seamless", seamless),
    ("uncalled-cancel", uncalled_cancel),
    ("cancel-text", cancel_text),
    ("cancel-ignored", cancel_ignored),
    ("close-code", close_code),
    ("retry-time", retry_time),
    ("outage-pair", outage_pair),
    ("outage-pair", outage_restored_alone),
    ("outage-pair", outage_said_twice),
    ("foreign-turn", foreign_turn),
    ("foreign-turn", foreign_accepted),
    ("foreign-text", foreign_text),
    ("malformed", malformed),
    ("malformed", malformed_type),
    ("error", error),
]


@pytest.mark.parametrize(("rule", "write"), BREACHES, ids=[write.__name__ for _, write in BREACHES])
def test_each_breach_is_found_by_its_rule_and_no_other(rule: str, write: Callable[[], Script]) -> None:
    verdict = judge(write().finished())
    assert [violation.rule for violation in verdict.violations] == [rule]
    assert verdict.broken == {rule: 1}
    assert not verdict.ok
    (violation,) = verdict.violations
    assert violation.guarantee == RULES[rule].guarantee
    assert violation.evidence


def test_every_rule_has_its_breach() -> None:
    assert {rule for rule, _ in BREACHES} == set(RULES)


# The same, where something explains it.


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
    while run.at < 32.0:
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


def test_what_a_fault_explains_ends_half_a_minute_after_it() -> None:
    run = Script().open().fault()
    while run.at < 31.0:
        run.told(type="pong")
    run.asked("t1").accepted("t1").delta("t1", WORDS[0]).restarted("t1")
    assert [each.rule for each in judge(answered(run).done("t1", WHOLE).finished()).violations] == ["restart"]


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


def test_the_checker_imports_nothing_of_what_it_judges() -> None:
    seen, wanted = set[str](), ["checker"]
    while wanted:
        name = wanted.pop()
        seen.add(name)
        tree = ast.parse((Path(__file__).parent / f"{name}.py").read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                assert not any(each.name.startswith("parley") for each in node.names), name
            elif isinstance(node, ast.ImportFrom):
                assert not (node.module or "").startswith("parley"), name
                if node.level and node.module and node.module not in seen:
                    wanted.append(node.module)
    assert {"checker", "told", "turns", "tracks", "history"} <= seen
