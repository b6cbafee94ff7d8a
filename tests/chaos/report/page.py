"""The report as one HTML file that needs nothing else: style, script and data are inside it.

Every text is escaped: the document's own by ``html.escape``, the data as JSON without ``<``, which the script only ever
sets as text.
"""

import json
import math
from collections.abc import Iterable, Iterator
from html import escape
from pathlib import Path
from typing import Any, Final

from ..checker.verdict import KINDS, RULES, Told, Verdict, Violation
from ..history import Closed, Happening, Opened, Received, Sent
from .summary import Summary

MOST_TURNS: Final = 20_000
"""Turns in the timeline. Where there are more, some that were completed and break nothing are left out, all over it."""
MOST_SOCKETS: Final = 20_000
MOST_FRAME: Final = 400
"""Characters of a frame in the evidence."""
STATUSES: Final = ("completed", "cancelled", "failed", "expired", "refused", "open")
_HERE: Final = Path(__file__).parent


def page(summary: Summary, verdict: Verdict) -> str:
    """The whole document."""
    good = "ok" if verdict.ok else "bad"
    return "".join(
        (
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n',
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n',
            f"<title>Chaos run: {escape(verdict.headline)}</title>\n",
            f"<style>\n{(_HERE / 'report.css').read_text(encoding='utf-8')}</style>\n</head>\n",
            f'<body class="{good}">\n<main>\n',
            *_head(summary, verdict),
            *_timeline(verdict),
            *_violations(verdict),
            *_tables(summary, verdict),
            "</main>\n",
            f'<script type="application/json" id="data">{_json(_data(summary, verdict))}</script>\n',
            f"<script>\n{(_HERE / 'report.js').read_text(encoding='utf-8')}</script>\n</body>\n</html>\n",
        )
    )


def _json(data: Any) -> str:
    return json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")


# --- what can be read ------------------------------------------------------------------------------------------


def _head(summary: Summary, verdict: Verdict) -> Iterator[str]:
    counts = verdict.counts
    yield "<header>\n<h1>Chaos run</h1>\n"
    minutes = f"{summary.lasted_s / 60:.1f} minutes" if summary.lasted_s >= 120 else f"{summary.lasted_s:.0f} seconds"
    yield f"<p>{counts['faults']:,} faults, {counts['judged']:,} turns judged, {counts['frames']:,} frames read, "
    yield f"in {minutes}.{'' if verdict.finished else ' The history has no end: nothing is called lost.'}</p>\n"
    yield '<dl class="numbers">\n'
    for kind in KINDS:
        number = verdict.number(kind)
        yield f'<div class="{"zero" if not number else "more"}"><dt>{kind}</dt><dd>{number:,}</dd></div>\n'
    yield '</dl>\n<ul class="statuses">\n'
    for status in STATUSES:
        if counts[status]:
            yield f'<li><i class="{status}"></i>{counts[status]:,} {status}</li>\n'
    yield f"<li>{counts['restarts']:,} restarts</li>\n<li>{counts['read again']:,} read again</li>\n"
    yield "</ul>\n</header>\n"


def _timeline(verdict: Verdict) -> Iterator[str]:
    rules = "".join(
        f'<option value="{escape(rule)}">{escape(RULES[rule].guarantee)} {escape(rule)} ({verdict.broken[rule]:,})'
        "</option>"
        for rule in RULES
        if verdict.broken[rule]
    )
    yield '<section aria-label="Timeline">\n<h2>Timeline</h2>\n<div class="tools">\n'
    yield '<label>Show <select id="rule"><option value="">all turns</option>'
    if rules:
        yield f'<option value="*">turns with a violation</option>{rules}'
    yield "</select></label>\n"
    yield '<label>Client or turn <input id="find" type="search" size="12" autocomplete="off"></label>\n'
    yield '<span class="zoom"><button id="out" title="Show more time">&minus;</button>'
    yield '<button id="in" title="Show less time">+</button><button id="all">Whole run</button>'
    if rules:
        yield '<button id="next">Next violation</button>'
    yield '</span>\n<span id="note" role="status"></span>\n</div>\n'
    yield '<svg id="overview" role="img" aria-label="Faults over the whole run"></svg>\n'
    yield '<svg id="axis" aria-hidden="true"></svg>\n<div id="lanes">'
    yield '<svg id="chart" role="img" aria-label="Turns of each client"></svg></div>\n'
    yield '<ul class="legend"></ul>\n<div id="details" hidden></div>\n<div id="tip" hidden></div>\n</section>\n'


def _violations(verdict: Verdict) -> Iterator[str]:
    if not verdict.violations:
        return
    yield f"<section>\n<h2>Violations</h2>\n<p>{verdict.broken.total():,} in all"
    if (kept := len(verdict.violations)) < verdict.broken.total():
        yield f"; {kept:,} of them with what was seen around them"
    yield ".</p>\n"
    for index, violation in enumerate(verdict.violations):
        yield f'<details id="v{index}"><summary><b>{escape(violation.guarantee)} {escape(violation.rule)}</b> '
        yield f"<span>{escape(violation.client)} {escape(violation.turn)}</span> {escape(violation.what)} "
        yield f"<time>{violation.at:.3f} s</time></summary>\n"
        yield f"<p>Promised: {escape(RULES[violation.rule].promise)}.</p>\n<pre>"
        yield escape("\n".join(_line(each) for each in violation.evidence))
        yield "</pre></details>\n"
    yield "</section>\n"


def _tables(summary: Summary, verdict: Verdict) -> Iterator[str]:
    if verdict.faults:
        phases = sorted({phase for _, phase in verdict.faults})
        names = sorted({name for name, _ in verdict.faults})
        rows = [[name, *(verdict.faults[name, phase] or "" for phase in phases)] for name in names]
        yield from _table("Faults by the phase they were aimed at", ["fault", *(p or "any time" for p in phases)], rows)
    if summary.recoveries:
        rows = [
            [each.fault, each.turns, f"{each.p50:.3f}", f"{each.p95:.3f}", f"{each.most:.3f}", each.never or ""]
            for each in summary.recoveries
        ]
        title = "From a fault to the next words of a turn under way, seconds"
        yield from _table(title, ["fault", "turns", "p50", "p95", "max", "never"], rows)
    rows = [[rule.guarantee, name, verdict.broken[name], rule.promise] for name, rule in RULES.items()]
    yield from _table("Rules", ["", "rule", "broken", "promise"], rows, words=True)
    known = {*STATUSES, "faults"}
    rows = [[name, f"{number:,}"] for name, number in sorted(verdict.counts.items()) if name not in known and number]
    yield from _table("Everything counted", ["what", "number"], rows)


def _table(title: str, names: list[str], rows: Iterable[list[Any]], *, words: bool = False) -> Iterator[str]:
    kind = ' class="words"' if words else ""
    yield f'<section>\n<h2>{escape(title)}</h2>\n<div class="wide"><table{kind}>\n<thead><tr>'
    yield "".join(f"<th>{escape(name)}</th>" for name in names)
    yield "</tr></thead>\n<tbody>\n"
    for row in rows:
        yield "<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>\n"
    yield "</tbody></table></div>\n</section>\n"


def _line(happening: Happening) -> str:
    match happening:
        case Sent():
            what = f"#{happening.socket} sent  {_frame(happening.frame)}"
        case Received():
            told = {name: value for name, value in happening.frame.items() if name != "position"}
            what = f"#{happening.socket} read  {_frame(told)}"
        case Opened():
            what = f"#{happening.socket} open  at {happening.gateway}"
        case Closed():
            what = f"#{happening.socket} gone  {happening.code}{', by the client' if happening.own else ''}"
        case _:
            what = str(happening)
    return f"{happening.at:9.3f}  {what}"


def _frame(frame: dict[str, Any]) -> str:
    text = " ".join(
        f"{name}={json.dumps(value, ensure_ascii=False)}"
        for name, value in frame.items()
        if name not in ("type", "latency", "limits")
    )
    text = f"{frame.get('type')} {text}"
    return text if len(text) <= MOST_FRAME else f"{text[:MOST_FRAME]} ... ({len(text):,} characters)"


# --- what is drawn ---------------------------------------------------------------------------------------------


def _data(summary: Summary, verdict: Verdict) -> dict[str, Any]:
    """Numbers for the script: times in seconds, rows of a lane from 0."""
    end = summary.lasted_s
    broken: dict[tuple[str, str], list[int]] = {}
    for index, violation in enumerate(verdict.violations):
        broken.setdefault((violation.client, violation.turn), []).append(index)
    drawn = [told for told in verdict.turns if told.asked is not None or told.accepted is not None]
    left_out = max(0, len(drawn) - MOST_TURNS)
    if left_out:
        plain = [told for told in drawn if (told.client, told.turn) not in broken and told.status == "completed"]
        gone = {id(plain[number * len(plain) // left_out]) for number in range(min(left_out, len(plain)))}
        drawn = [told for told in drawn if id(told) not in gone][:MOST_TURNS]
    lanes = _Lanes(end, [told.client for told in drawn])
    turns = [_turn(told, broken, lanes, end) for told in sorted(drawn, key=_begin)]
    sockets = [
        [lanes.lane(span.name), span.name, span.where, _time(span.begin), _time(min(span.end, end)), span.note]
        for span in summary.sockets[:MOST_SOCKETS]
    ]
    return {
        "lasted": _time(end),
        "lanes": [[name, max(1, len(rows))] for name, rows in lanes.rows.items()],
        "turns": turns,
        "leftOut": left_out,
        "sockets": sockets,
        "faults": [
            [span.name, span.where, _time(span.begin), _time(min(span.end, end)), span.note] for span in summary.faults
        ],
        "violations": [_mark(violation, lanes) for violation in verdict.violations],
    }


def _begin(told: Told) -> float:
    return told.asked if told.asked is not None else told.accepted or 0.0


def _turn(told: Told, broken: dict[tuple[str, str], list[int]], lanes: "_Lanes", end: float) -> list[Any]:
    begin, over = _begin(told), told.done if told.done is not None else end
    if told.status == "refused":
        over = begin
    return [
        *lanes.place(told.client, begin, over),
        told.client,
        told.turn,
        told.status,
        *(_time(at) for at in (begin, told.accepted, told.first, over, told.cancelled)),
        [_time(at) for at in told.restarts],
        broken.get((told.client, told.turn), []),
    ]


def _mark(violation: Violation, lanes: "_Lanes") -> list[Any]:
    return [violation.rule, lanes.lane(violation.client), violation.client, violation.turn, _time(violation.at)]


def _time(at: float | None) -> float | None:
    return None if at is None or math.isinf(at) else round(at, 3)


def _natural(name: str) -> tuple[str, int]:
    """``p2`` before ``p10``."""
    word = name.rstrip("0123456789")
    return word, int(name[len(word) :] or 0)


class _Lanes:
    """A lane for each client, with those of the same beginning; rows are added where turns lie over each other."""

    def __init__(self, end: float, clients: Iterable[str]) -> None:
        names = sorted({self._name(client) for client in clients}, key=_natural)
        self.rows: dict[str, list[float]] = {name: [] for name in names}
        self._numbers = {name: number for number, name in enumerate(names)}
        self._gap = end / 2000

    def lane(self, client: str) -> int:
        """Its number."""
        name = self._name(client)
        self.rows.setdefault(name, [])
        return self._numbers.setdefault(name, len(self._numbers))

    def place(self, client: str, begin: float, end: float) -> tuple[int, int]:
        """Lane and row, free from ``begin`` on. Call in order of ``begin``."""
        lane = self.lane(client)
        rows = self.rows[self._name(client)]
        for row, free in enumerate(rows):
            if free <= begin:
                rows[row] = end + self._gap
                return lane, row
        rows.append(end + self._gap)
        return lane, len(rows) - 1

    @staticmethod
    def _name(client: str) -> str:
        return "aimed" if client.startswith("aim-") else client.partition("+")[0]
