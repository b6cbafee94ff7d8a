"""Exhaustive search, random walks, readable traces. Deterministic: the same size gives the same figures."""

from __future__ import annotations

import itertools
import random
import time
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from parley_protocol.work import Job

from . import faults, fronts, settling, workers
from .world import CANCELS, FAULTS, Model, Size, State, Step, Violation


@dataclass(slots=True)
class Report:
    """What a search found. ``stuck``: states from which no fault-free way leads to every client's ``done``."""

    states: int = 0
    steps: int = 0
    seconds: float = 0.0
    complete: bool = True
    violation: str = ""
    trace: list[str] = field(default_factory=list)
    stuck: int = 0
    faults: int = 0

    def line(self) -> str:
        """In one line."""
        end = self.violation or ("no violation" if self.complete else "no violation in the part explored")
        stuck = f", {self.stuck} stuck" if self.stuck else ""
        return f"{self.states:>9,} states {self.steps:>10,} steps {self.seconds:>6.1f} s  {end}{stuck}"


def successors(m: Model, state: State) -> Iterator[tuple[bool, tuple[Any, ...], State | str]]:
    """(free, label, next state or what is violated). Timers are free where nothing else can happen.

    Once no fault is left, a step that concerns nobody else (an ack that only a kill could undo, telling of a row that
    is closed) is taken before all others: its order with them makes no difference. Then, too, nothing more is looked
    for when every client has read every end.
    """
    if not state[FAULTS]:
        if m.over(state):
            return
        try:
            alone = next(settling.steps(m, state), None)
        except Violation as violation:
            yield True, ("...",), str(violation)
            return
        if alone is not None:
            yield from _judged(m, True, alone[1], alone[2])
            return
    later: list[Step] = []
    quiet = True
    sources = [workers.steps, fronts.steps]
    if state[FAULTS]:
        sources.append(faults.steps)
    for source in sources:
        steps = source(m, state)
        while True:
            try:
                step = next(steps, None)
            except Violation as violation:
                yield True, ("...",), str(violation)
                break
            if step is None:
                break
            kind, label, new = step
            if kind == "":
                quiet = False
                yield from _judged(m, True, label, new)
            elif kind == "cancel":
                yield from _judged(m, False, label, new)
            elif kind == "time":
                later.append(step)
            elif state[FAULTS] and kind in m.size.kinds:
                new[FAULTS] = state[FAULTS] - 1
                yield from _judged(m, False, ("FAULT", *label), new)
    for _, label, new in later:
        if quiet:
            yield from _judged(m, True, label, new)
        elif state[FAULTS] and "time" in m.size.kinds:
            new[FAULTS] = state[FAULTS] - 1
            yield from _judged(m, False, ("FAULT", "early", *label), new)


def _judged(
    m: Model, free: bool, label: tuple[Any, ...], new: list[int]
) -> Iterator[tuple[bool, tuple[Any, ...], State | str]]:
    try:
        m.check(new)
    except Violation as violation:
        yield free, label, str(violation)
    else:
        yield free, label, m.seal(new)


def search(size: Size, mutations: tuple[str, ...] = (), *, limit: int = 5_000_000, live: bool = True) -> Report:
    """Breadth first: the first trace found is a shortest one. ``live``: also look for states without a way to the
    end (invariant 8).
    """
    m = Model(size, mutations)
    begun = time.perf_counter()
    first = m.start()
    ids: dict[State, int] = {first: 0}
    order: list[State] = [first]
    parents = array("q", [-1])
    edges = (array("I"), array("I"))
    goals: list[int] = []
    report = Report()
    place = 0
    while place < len(order):
        state = order[place]
        if m.over(state):
            goals.append(place)
        for free, label, new in successors(m, state):
            report.steps += 1
            if isinstance(new, str):
                report.violation = new
                report.trace = trace(m, order, parents, place, label, new)
                break
            number = ids.get(new)
            if number is None:
                if len(order) >= limit:
                    report.complete = False
                    continue
                number = ids[new] = len(order)
                order.append(new)
                parents.append(place)
            if live and free:
                edges[0].append(place)
                edges[1].append(number)
        if report.violation:
            break
        place += 1
    report.states = len(order)
    if live and report.complete and not report.violation:
        _liveness(m, report, order, parents, edges, goals)
    report.seconds = time.perf_counter() - begun
    return report


def _liveness(
    m: Model,
    report: Report,
    order: list[State],
    parents: array[int],
    edges: tuple[array[int], array[int]],
    goals: list[int],
) -> None:
    """Walk the fault-free steps backwards from the states in which everybody has read the end."""
    before: list[list[int]] = [[] for _ in order]
    for source, target in zip(*edges, strict=True):
        before[target].append(source)
    reached = bytearray(len(order))
    work = list(goals)
    for number in work:
        reached[number] = 1
    while work:
        for source in before[work.pop()]:
            if not reached[source]:
                reached[source] = 1
                work.append(source)
    stuck = [number for number in range(len(order)) if not reached[number]]
    report.stuck = len(stuck)
    if stuck:
        report.violation = "8: done cannot be reached"
        report.trace = trace(m, order, parents, stuck[0], None, "stuck")


def walk(size: Size, seed: int, walks: int, *, seconds: float = 0.0) -> Report:
    """Random walks to the end, with every fault of the size allowed on each."""
    m = Model(size)
    rng = random.Random(seed)
    report = Report(complete=False)
    begun = time.perf_counter()
    for number in range(walks):
        if seconds and time.perf_counter() - begun > seconds:
            break
        _walk(m, rng, report)
        report.states = number + 1
        if report.violation:
            break
        if len(m.table) > 2_000_000:
            m = Model(size)
    report.seconds = time.perf_counter() - begun
    return report


def _walk(m: Model, rng: random.Random, report: Report) -> None:
    state = m.start()
    path: list[State] = [state]
    labels: list[tuple[Any, ...]] = []
    idle = 0
    while not m.over(state) or state[FAULTS] > 0:
        found = list(successors(m, state))
        bad = next((f for f in found if isinstance(f[2], str)), None)
        free = [f for f in found if f[0]]
        costly = [f for f in found if not f[0]]
        if bad is None and not free and (not costly or m.over(state)):
            if m.over(state):
                return
            bad = (True, ("nothing can happen",), "8: done cannot be reached")
        idle = idle + 1 if not costly else 0
        if bad is None and idle > 2000:
            bad = (True, ("nothing changes",), "8: done is not reached")
        if bad is not None:
            report.violation = str(bad[2])
            report.trace = _told(m, path, [*labels, bad[1]], report.violation)
            return
        pick = rng.choice(costly) if costly and (not free or rng.random() < 0.12) else rng.choice(free)
        following = pick[2]
        assert not isinstance(following, str)
        report.faults += state[FAULTS] - following[FAULTS]
        report.steps += 1
        state = following
        path.append(state)
        labels.append(pick[1])
        if m.over(state) and not free:
            return


def trace(m: Model, order: list[State], parents: array[int], last: int, label: Any, end: str) -> list[str]:
    """The steps from the start to state ``last``, found again by their states."""
    path = [last]
    while parents[path[-1]] >= 0:
        path.append(parents[path[-1]])
    states = [order[number] for number in reversed(path)]
    labels = []
    for state, following in itertools.pairwise(states):
        labels.append(next(label for _, label, new in successors(m, state) if new == following))
    if label is not None:
        labels.append(label)
    return _told(m, states, labels, end)


def _told(m: Model, states: list[State], labels: list[tuple[Any, ...]], end: str) -> list[str]:
    lines = [f"{number:>3}  {words(m, label)}" for number, label in enumerate(labels, 1)]
    return [*lines, f"     => {end}"]


def words(m: Model, label: tuple[Any, ...]) -> str:
    """A label as a line."""
    return " ".join(_word(m, part) for part in label)


def _word(m: Model, part: Any) -> str:
    if isinstance(part, Job):
        kind = type(part).__name__.lower()
        extra = {name: getattr(part, name) for name in ("status", "text", "forced") if hasattr(part, name)}
        more = " ".join(f"{name}={value!s}" for name, value in extra.items())
        return f"[{kind} {part.submission} base={part.base} fence={part.fence} again={part.again} {more}]"
    if (
        isinstance(part, tuple)
        and len(part) == 3
        and isinstance(part[0], str)
        and isinstance(part[1], int)
        and part[0] in ("retrieve", "generate")
    ):
        return f"{_word(m, m.table[part[1]])} redelivered={part[2]}"
    if isinstance(part, msgspec.Struct):
        return str(part)
    return str(part)


__all__ = ["CANCELS", "Report", "search", "successors", "trace", "walk"]
