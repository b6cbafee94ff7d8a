"""The checker against histories written by hand: a clean one passes, and each rule has one that breaks it alone."""

import ast
from collections.abc import Callable
from pathlib import Path

import pytest

from .checker import judge
from .script import (
    B4,
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
from .verdict import RULES

pytestmark = pytest.mark.unit


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


def unanswered() -> Script:
    return answered(begun()).done("t1", WHOLE).asked("t2")


def not_stored() -> Script:
    return answered(begun()).done("t1", WHOLE).reread("t1", *WORDS, ended=False)


def after_done() -> Script:
    return answered(begun()).done("t1", WHOLE).done("t1", WHOLE)


def expired_early() -> Script:
    return begun().done("t1", "", status="expired")


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


def seamless() -> Script:
    run = begun().delta("t1", "t1-a.t1 ").fault("kill-inference").restarted("t1")
    return run.delta("t1", "t1-a.t1 t1-a.t2").done("t1", "t1-a.t1 t1-a.t2")


def stalled() -> Script:
    run = begun().delta("t1", WORDS[0]).fault("kill-inference")
    while run.at < 12.0:
        run.told(type="pong")
    return answered(run, "t1", *WORDS[1:]).done("t1", WHOLE)


def uncalled_cancel() -> Script:
    return begun().delta("t1", WORDS[0]).done("t1", WORDS[0], status="cancelled")


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
    ("stalled", stalled),
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
                if node.level == 1 and node.module and node.module not in seen:
                    wanted.append(node.module)
                assert node.level < 2 or node.module == "history", name
    assert {"checker", "told", "turns", "tracks"} <= seen
