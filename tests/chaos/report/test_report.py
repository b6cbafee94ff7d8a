"""The report of runs written by hand: its figures, its files, and that no text of a run becomes markup."""

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from ..checker.checker import judge
from ..checker.script import Script
from ..checker.verdict import Told, Verdict
from ..history import Happening, Healed, Injected
from .page import MOST_TURNS, page
from .report import write
from .summary import Recovery, Summary, summarize

pytestmark = pytest.mark.unit

HOSTILE = "</script><img src=x onerror=alert(1)>&\"'"


def reported(happenings: list[Happening], out: Path) -> tuple[str, dict[str, Any], str]:
    """What was printed, ``summary.json``, and the page."""
    told = io.StringIO()
    path = write(happenings, judge(happenings), out, Console(file=told, width=140, color_system=None))
    figures = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    return told.getvalue(), figures, path.read_text(encoding="utf-8")


def data_of(html: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)
    assert found is not None
    data: dict[str, Any] = json.loads(found[1])
    return data


def run_with_a_fault() -> list[Happening]:
    """``t1`` is accepted at 0.5 s; faults at 0.7 and 1.0 s; its next words come at 0.9 and 1.3 s."""
    run = Script().open().asked("t1").accepted("t1").delta("t1", "t1-a.t1 ")
    run.add(Injected(0.7, "kill-rag", "rag-1", "queued")).add(Healed(0.8, "kill-rag", "rag-1"))
    run.delta("t1", "t1-a.t2 ")
    run.add(Injected(1.0, "cut-all", "links")).told(type="pong").told(type="pong")
    return run.done("t1", "t1-a.t1 t1-a.t2 ", status="expired").finished()


def test_recovery_is_the_time_from_a_fault_to_the_next_words_of_turns_under_way() -> None:
    happenings = run_with_a_fault()
    summary = summarize(happenings, judge(happenings))
    assert summary.recoveries == [
        Recovery("cut-all", 1, 0.3, 0.3, 0.3, 0),
        Recovery("kill-rag", 1, 0.2, 0.2, 0.2, 0),
    ]
    assert [(span.name, span.begin, span.end) for span in summary.faults[:1]] == [("kill-rag", 0.7, 0.8)]


def test_a_fault_aimed_at_a_turn_counts_for_that_turn_only_and_one_without_words_is_said() -> None:
    run = Script().open().asked("t1").accepted("t1")
    other = run.other("b", "session-b").open().asked("t2").accepted("t2")
    at = run.at
    for phase in ("queued", "first"):
        run.add(Injected(at, "stop-rag", "rag-1", phase, "t1"))
    other.delta("t2", "t2-b.t1").done("t2", "t2-b.t1")
    happenings = run.finished()
    summary = summarize(happenings, judge(happenings))
    assert summary.recoveries == [Recovery("stop-rag", 1, 0.0, 0.0, 0.0, 1)]
    assert [(span.name, span.note) for span in summary.faults] == [("stop-rag", "queued, first")]


def test_quantiles_are_by_nearest_rank() -> None:
    run = Script().open()
    for number in range(20):
        run.other(f"c{number}", f"session-{number}").open().asked("t").accepted("t")
    at = run.at
    run.add(Injected(at, "alarm", "broker"))
    for number in range(20):
        Script(f"c{number}", "", run.happenings, 1).delta("t", f"t-c{number}.t1 ")
    (alarm,) = summarize(run.happenings, Verdict()).recoveries
    assert (alarm.turns, alarm.p50, alarm.p95, alarm.most) == (20, 1.0, 1.9, 2.0)


def test_what_is_printed_begins_with_the_headline(tmp_path: Path) -> None:
    told, figures, _ = reported(run_with_a_fault(), tmp_path / "new" / "folder")
    lines = [re.sub(r"[^\w -]+", " ", line).split() for line in told.splitlines()]
    assert lines[2] == ["lost", "duplicated", "reordered", "foreign", "other", "verdict"]
    assert lines[4][:8] == ["0", "0", "0", "0", "1", "broken", "G1", "expired-early"]
    assert figures["headline"] == {"lost": 0, "duplicated": 0, "reordered": 0, "foreign": 0, "other": 1}
    assert figures["ok"] is False
    assert figures["broken"] == {"expired-early": 1}
    assert figures["faults"] == [
        {"fault": "cut-all", "phase": "", "count": 1},
        {"fault": "kill-rag", "phase": "queued", "count": 1},
    ]
    assert figures["violations"][0]["turn"] == "t1"


def test_the_page_needs_nothing_else_and_holds_every_turn(tmp_path: Path) -> None:
    _, _, html = reported(run_with_a_fault(), tmp_path)
    assert not re.search(r'(?:src|href)="(?!#)', html)
    assert "http" not in html.replace("http://www.w3.org/2000/svg", "")
    data = data_of(html)
    assert data["lanes"] == [["a", 1]]
    assert data["turns"] == [[0, 0, "a", "t1", "expired", 0.3, 0.5, 0.6, 1.3, None, [], [0]]]
    assert data["faults"][0] == ["kill-rag", "rag-1", 0.7, 0.8, "queued"]
    assert data["violations"] == [["expired-early", 0, "a", "t1", 1.3]]


def test_no_text_of_a_run_becomes_markup(tmp_path: Path) -> None:
    run = Script(HOSTILE, "session-a").open().asked(HOSTILE).accepted(HOSTILE)
    run.add(Injected(run.at, HOSTILE, HOSTILE, HOSTILE)).delta(HOSTILE, HOSTILE).done(HOSTILE, "other text")
    _, _, html = reported(run.finished(), tmp_path)
    assert "<img" not in html
    assert html.count("</script>") == 2
    assert data_of(html)["turns"][0][2:4] == [HOSTILE, HOSTILE]


def test_turns_that_lie_over_each_other_get_rows_and_second_sockets_their_session_s_lane() -> None:
    def told(client: str, turn: str, asked: float, done: float) -> Told:
        return Told(client, turn, asked, asked, asked, done, "completed", (), None)

    verdict = Verdict(
        turns=[told("p10", "t1", 0.0, 5.0), told("p2", "t1", 0.0, 5.0), told("p2+1", "t1", 3.0, 6.0)],
    )
    verdict.turns.append(told("p2", "t2", 5.5, 7.0))
    data = data_of(page(Summary(lasted_s=10.0), verdict))
    assert data["lanes"] == [["p2", 2], ["p10", 1]]
    assert [(turn[0], turn[1], turn[2], turn[3]) for turn in data["turns"]] == [
        (1, 0, "p10", "t1"),
        (0, 0, "p2", "t1"),
        (0, 1, "p2+1", "t1"),
        (0, 0, "p2", "t2"),
    ]


def test_of_more_turns_than_a_page_can_hold_the_unusual_ones_are_kept_and_the_rest_is_said() -> None:
    turns = [
        Told("p1", f"t{number}", number, number, None, number + 0.5, "completed", (), None)
        for number in range(MOST_TURNS)
    ]
    turns += [Told("p1", f"f{number}", number, number, None, number + 0.5, "failed", (), None) for number in range(10)]
    data = data_of(page(Summary(lasted_s=30_000.0), Verdict(turns=turns)))
    assert (len(data["turns"]), data["leftOut"]) == (MOST_TURNS, 10)
    assert sum(turn[4] == "failed" for turn in data["turns"]) == 10
