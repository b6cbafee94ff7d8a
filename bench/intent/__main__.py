"""``python -m bench.intent [--wrong]``: the labelled questions through the rules, and how many were taken rightly."""

import sys
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from parley_rag.data.lexicon import Lexicon
from parley_rag.data.understanding import DataQuestion, understand
from parley_rag.routing import is_small_talk

PARTS = ("dev", "held", "fresh", "second", "third", "fourth", "fifth")
HERE = Path(__file__).parent
NOW = datetime(2026, 11, 28, 18, 30, tzinfo=UTC)
HELD = tuple(
    (metric, sensor)
    for sensor in ("pond-1", "pond-2", "东湖-1", "greenhouse-2")
    for metric in ("temp", "do", "ph", "turbidity", "humidity")
)
"""What the installation is taken to hold readings of."""


@dataclass(frozen=True)
class Case:
    """A question and what it should be taken for."""

    part: str
    intent: str
    metrics: str
    time: str
    aggregates: str
    question: str


def cases() -> list[Case]:
    """The labelled questions."""
    return [Case(*row) for row in _rows("questions.tsv")]


def _rows(name: str) -> list[list[str]]:
    lines = (HERE / name).read_text(encoding="utf-8").splitlines()
    return [line.split("\t") for line in lines if line and not line.startswith("#")]


def times() -> dict[str, str]:
    """Every time of the labels in the form that :func:`time_of` gives."""
    named = {row[0]: "newest " + row[1] if len(row) == 2 else f"{row[1]}/{row[2]}" for row in _rows("times.tsv")}
    return named | {"latest": "newest", "-": "none"}


def time_of(found: DataQuestion) -> str:
    """The time of an answer's readings."""
    if found.span is not None:
        return "/".join(end.astimezone(UTC).strftime("%Y-%m-%dT%H:%M") for end in found.span)
    if found.newest:
        return f"newest {found.newest}"
    return "newest" if found.recent else "none"


@dataclass(frozen=True)
class Taken:
    """What a question was taken for, and which of its labels that meets; None: not asked."""

    case: Case
    intent: str
    intent_right: bool
    metrics_right: bool | None = None
    time_right: bool | None = None
    aggregates_right: bool | None = None
    said: str = ""


def judge(case: Case, lexicon: Lexicon, labels: dict[str, str]) -> Taken:
    """One question through the rules, in the order in which the service asks them."""
    if is_small_talk(case.question):
        return Taken(case, "small_talk", case.intent == "small_talk")
    found = understand(case.question, lexicon, NOW, HELD)
    intent = "data" if found is not None else "knowledge"
    if found is None or case.intent != "data":
        return Taken(case, intent, intent == case.intent)
    metrics, aggregates = ",".join(sorted(found.metrics)) or "*", ",".join(sorted(found.aggregates))
    time = time_of(found)
    return Taken(
        case,
        intent,
        True,
        metrics_right=None if case.metrics == "?" else metrics == ",".join(sorted(case.metrics.split(","))),
        time_right=None if case.time == "?" else time == labels[case.time],
        aggregates_right=None if case.aggregates == "?" else aggregates in _accepted(case.aggregates),
        said=f"{metrics} {time} {aggregates}",
    )


def _accepted(label: str) -> set[str]:
    """A summary holds the newest value too, so either is right where no aggregate is named."""
    plain = {"latest", "summary"}
    wanted = ",".join(sorted(label.split(",")))
    return plain if wanted in plain else {wanted}


def results() -> list[Taken]:
    """Every question, judged."""
    lexicon, labels = Lexicon(), times()
    return [judge(case, lexicon, labels) for case in cases()]


def share(values: list[bool]) -> float:
    """How many are true."""
    return sum(values) / len(values) if values else 1.0


def figures(taken: list[Taken]) -> dict[str, float]:
    """Intent over all; the rest over the questions that were rightly taken for data."""
    return {
        "intent": share([one.intent_right for one in taken]),
        "metric": share([one.metrics_right for one in taken if one.metrics_right is not None]),
        "range": share([one.time_right for one in taken if one.time_right is not None]),
        "aggregate": share([one.aggregates_right for one in taken if one.aggregates_right is not None]),
    }


def main(arguments: list[str]) -> int:
    """Print the table; with ``--wrong`` also every question that was not taken rightly."""
    taken = results()
    print(f"{'part':6} {'questions':>9} {'intent':>7} {'metric':>7} {'range':>7} {'aggregate':>9}")
    for part in (*PARTS, "all"):
        some = [one for one in taken if part in (one.case.part, "all")]
        shown = figures(some)
        print(f"{part:6} {len(some):9} " + " ".join(f"{shown[name]:7.3f}" for name in shown))
    print("by label:", dict(Counter(one.case.intent for one in taken)))
    if "--wrong" in arguments:
        for one in taken:
            if False in (one.intent_right, one.metrics_right, one.time_right, one.aggregates_right):
                case = one.case
                print(f"{case.part} wanted {case.intent} {case.metrics} {case.time} {case.aggregates}: {case.question}")
                print(f"     taken for {one.intent} {one.said}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
