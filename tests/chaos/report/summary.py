"""The figures of a run: spans of faults and sockets, and how soon turns went on after each fault."""

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from ..checker.verdict import KINDS, RULES, Verdict
from ..history import Closed, Finished, Happening, Healed, Injected, Opened, Received

ANSWERS = frozenset({"answer.delta", "turn.done"})


@dataclass(slots=True)
class Span:
    """A fault, or a socket, from ``begin`` to ``end`` (infinite: to the end of the run)."""

    name: str
    where: str
    begin: float
    end: float = math.inf
    note: str = ""


@dataclass(frozen=True, slots=True)
class Recovery:
    """Seconds from a fault to the next words or the end of each turn that was under way. ``never``: turns without."""

    fault: str
    turns: int
    p50: float
    p95: float
    most: float
    never: int


@dataclass(slots=True)
class Summary:
    """What :func:`summarize` finds."""

    faults: list[Span] = field(default_factory=list)
    sockets: list[Span] = field(default_factory=list)
    recoveries: list[Recovery] = field(default_factory=list)
    lasted_s: float = 0.0


class _Watch:
    """Turns under way and the faults that each of them has not yet got over."""

    def __init__(self) -> None:
        self.found: defaultdict[str, list[float]] = defaultdict(list)
        self._under_way: dict[tuple[str, str], list[tuple[str, float]]] = {}

    def injected(self, fault: Injected) -> None:
        """Of all turns under way, or of the one that the fault was aimed at."""
        for (_, turn), waiting in self._under_way.items():
            if fault.turn in ("", turn) and (fault.fault, fault.at) not in waiting:
                waiting.append((fault.fault, fault.at))

    def received(self, received: Received) -> None:
        frame = received.frame
        kind, key = frame.get("type"), (received.client, str(frame.get("turn")))
        if kind == "turn.accepted":
            self._under_way.setdefault(key, [])
        elif kind in ANSWERS and key in self._under_way:
            for fault, at in self._under_way[key]:
                self.found[fault].append(received.at - at)
            self._under_way[key] = []
            if kind == "turn.done":
                del self._under_way[key]

    def recoveries(self) -> list[Recovery]:
        never: defaultdict[str, int] = defaultdict(int)
        for waiting in self._under_way.values():
            for fault, _ in waiting:
                never[fault] += 1
        names = sorted({*self.found, *never})
        return [_recovery(name, sorted(self.found[name]), never[name]) for name in names]


def summarize(happenings: Iterable[Happening], verdict: Verdict) -> Summary:
    """One pass over the history."""
    summary, watch = Summary(), _Watch()
    faults: dict[tuple[str, str], Span] = {}
    sockets: dict[tuple[str, int], Span] = {}
    for happening in happenings:
        summary.lasted_s = max(summary.lasted_s, happening.at)
        match happening:
            case Received():
                watch.received(happening)
            case Opened():
                span = Span(happening.client, happening.gateway, happening.at)
                summary.sockets.append(span)
                sockets[happening.client, happening.socket] = span
            case Closed():
                closed = sockets.pop((happening.client, happening.socket), None)
                if closed is not None:
                    closed.end, closed.note = happening.at, f"{happening.code}{' own' if happening.own else ''}"
            case Injected():
                _injected(happening, summary, faults)
                watch.injected(happening)
            case Healed():
                if (fault := faults.get((happening.fault, happening.target))) is not None:
                    fault.end = happening.at
            case Finished():
                break
            case _:
                pass
    summary.recoveries = watch.recoveries()
    return summary


def _injected(fault: Injected, summary: Summary, faults: dict[tuple[str, str], Span]) -> None:
    """Entries of one fault for several turns become one span."""
    before = faults.get((fault.fault, fault.target))
    if before is not None and before.begin == fault.at:
        if fault.phase and fault.phase not in before.note.split(", "):
            before.note += f", {fault.phase}"
        return
    span = Span(fault.fault, fault.target, fault.at, note=fault.phase)
    summary.faults.append(span)
    faults[fault.fault, fault.target] = span


def _recovery(fault: str, seconds: list[float], never: int) -> Recovery:
    return Recovery(
        fault=fault,
        turns=len(seconds) + never,
        p50=round(_quantile(seconds, 0.5), 3),
        p95=round(_quantile(seconds, 0.95), 3),
        most=round(seconds[-1], 3) if seconds else 0.0,
        never=never,
    )


def _quantile(values: list[float], share: float) -> float:
    """Nearest rank, of sorted values; 0 of none."""
    return values[max(0, math.ceil(share * len(values)) - 1)] if values else 0.0


def as_json(summary: Summary, verdict: Verdict) -> dict[str, Any]:
    """The figures by name, for machines."""
    return {
        "ok": verdict.ok,
        "headline": {kind: verdict.number(kind) for kind in KINDS},
        "finished": verdict.finished,
        "seconds": round(summary.lasted_s, 3),
        "counts": dict(sorted(verdict.counts.items())),
        "faults": [
            {"fault": fault, "phase": phase, "count": count} for (fault, phase), count in sorted(verdict.faults.items())
        ],
        "recovery_s": [
            {
                "fault": each.fault,
                "turns": each.turns,
                "p50": each.p50,
                "p95": each.p95,
                "max": each.most,
                "never": each.never,
            }
            for each in summary.recoveries
        ],
        "broken": {rule: verdict.broken[rule] for rule in RULES if verdict.broken[rule]},
        "violations": [
            {
                "rule": each.rule,
                "guarantee": each.guarantee,
                "client": each.client,
                "turn": each.turn,
                "at": round(each.at, 3),
                "what": each.what,
            }
            for each in verdict.violations
        ],
    }
