"""What was measured against what is asked for."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bench.dialects import LIMIT
from bench.tables import table
from bench.voice.failover import BAR_S as FAILOVER_S
from bench.voice.load import FINAL_MS


@dataclass
class Bar:
    """One bar. ``met`` says whether the figure is on its right side."""

    what: str
    asked: str
    found: str
    met: bool


def bars(results: Mapping[str, Any]) -> list[Bar]:
    """Of the measurements that were made."""
    found: list[Bar] = []
    for name, make in _MAKERS.items():
        if name in results:
            found += make(results[name])
    return found


def _at_most(what: str, value: float, most: float, unit: str) -> Bar:
    return Bar(what, f"<= {most:g} {unit}", f"{value:.2f} {unit}", value <= most)


def _throughput(flows: Any) -> list[Bar]:
    ratio = max(flow.events_s for flow in flows if flow.name.startswith("Parley")) / flows[0].events_s
    return [Bar("events to sockets, against python-socketio", ">= 25x", f"{ratio:.0f}x", ratio >= 25)]


def _latency(rows: Any) -> list[Bar]:
    ours = rows[-1]
    return [
        _at_most("first token at the socket, low load, p50", ours.first_p50, 4, "ms"),
        _at_most("first token at the socket, low load, p99", ours.first_p99, 15, "ms"),
    ]


def _idle(rows: Any) -> list[Bar]:
    ours = rows[-1]
    return [
        _at_most("memory per idle connection", ours.kib, 30, "KiB"),
        _at_most("broker operations per connect and disconnect", ours.operations, 0, ""),
    ]


def _recovery(rows: Any) -> list[Bar]:
    return [_at_most(f"{row.name} killed: {row.what}, p95", row.p95, row.bar, "s") for row in rows if row.bar]


def _cancel(rows: Any) -> list[Bar]:
    return [_at_most(f"cancel, {row.load}: {row.what}, p99", row.p99, row.bar, "ms") for row in rows if row.bar]


def _dialects(rows: Any) -> list[Bar]:
    return [_at_most(f"{row.name}: CPU of a turn, to native", row.ratio, LIMIT, "x") for row in rows[1:]]


def _voice(found: Any) -> list[Bar]:
    made = []
    for row in found.failovers:
        what = f"listener killed ({row.engine}): words later than undisturbed, worst"
        made.append(_at_most(what, row.latest_s, FAILOVER_S, "s"))
        wrong = row.kills - row.same
        made.append(_at_most(f"listener killed ({row.engine}): transcripts changed", wrong, 0, ""))
    alone = [row for row in found.levels if row.system == "Parley" and row.streams == 1]
    made += [
        _at_most(f"final after stop ({row.engine}), one stream, p95", row.final[1], FINAL_MS, "ms") for row in alone
    ]
    return made + [_at_most(row.what, row.worst, row.bar, "ms") for row in found.answers if row.bar]


_MAKERS = {
    "dialects": _dialects,
    "throughput": _throughput,
    "latency": _latency,
    "idle": _idle,
    "recovery": _recovery,
    "cancel": _cancel,
    "voice": _voice,
}


def bars_table(results: Mapping[str, Any]) -> str:
    """In Markdown; empty where no measurement with a bar was made."""
    found = bars(results)
    rows = [[bar.what, bar.asked, bar.found, "met" if bar.met else "**missed**"] for bar in found]
    return table(["bar", "asked", "measured", ""], rows) if rows else ""
