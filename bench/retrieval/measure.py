"""Known-item search: each section's title is a query, and the section's body, without the title, is what to find."""

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import bm25s  # type: ignore[import-untyped]  # it ships no types
import numpy as np

from bench.retrieval.books import Section
from parley_rag.conversation import rewrite
from parley_rag.retrieval.index import PassageIndex, Tuning, analyse
from parley_runtime.store.ports import Exchange

DEPTH = 100
"""Results looked at for the reciprocal rank."""

Search = Callable[[str], list[int]]
"""Numbers of the sections found, best first."""


@dataclass(frozen=True, slots=True)
class Score:
    """Shares of the queries, and the mean reciprocal rank."""

    queries: int
    hit1: float
    hit5: float
    mrr: float


def score(sections: Sequence[Section], search: Search) -> Score:
    """Any section of the same title counts as the one meant."""
    same: dict[str, set[int]] = {}
    for number, section in enumerate(sections):
        same.setdefault(section.title, set()).add(number)
    ranks = np.array(
        [
            next((rank for rank, number in enumerate(search(section.title), 1) if number in same[section.title]), 0)
            for section in sections
            if section.title
        ]
    )
    reciprocal = np.divide(1.0, ranks, out=np.zeros(ranks.size), where=ranks > 0)
    return Score(
        ranks.size, float((ranks == 1).mean()), float(((ranks > 0) & (ranks <= 5)).mean()), float(reciprocal.mean())
    )


def build(sections: Sequence[Section], tuning: Tuning) -> PassageIndex:
    """An index whose slots are the sections' numbers. Nothing but bodies is indexed."""
    index = PassageIndex(tuning)
    for number, section in enumerate(sections):
        index.add((f"{number:06}", 0), analyse("", section.body))
    return index


def embedded(sections: Sequence[Section], tuning: Tuning) -> Search:
    """The default retriever's index."""
    index = build(sections, tuning)
    return lambda query: [slot for slot, _ in index.search(query, DEPTH)]


def misled(sections: Sequence[Section], tuning: Tuning) -> Search:
    """The same, where each query comes as a later turn of a conversation about another section."""
    index = build(sections, tuning)
    titled = [section for section in sections if section.title]
    before = {section.title: titled[i - 7] for i, section in enumerate(titled)}

    def search(title: str) -> list[int]:
        other = before[title]
        query, _ = rewrite(title, [Exchange("t", other.title, other.body[:1_000])])
        return [slot for slot, _ in index.search(query.text, DEPTH, query.context)]

    return search


_RUN = re.compile("[\u4e00-\u9fff]+|[^\\W\u4e00-\u9fff]+")


def words(text: str) -> list[str]:
    """The baseline's terms: lower-case words and Chinese character pairs."""
    found: list[str] = []
    for run in _RUN.findall(text.lower()):
        pairs = [run[i : i + 2] for i in range(len(run) - 1)] if run[0] >= "\u4e00" else []
        found += pairs or [run]
    return found


def baseline(sections: Sequence[Section]) -> Search:
    """Plain BM25 (bm25s with its own settings)."""
    index = bm25s.BM25()
    index.index([words(section.body) for section in sections], show_progress=False)

    def search(query: str) -> list[int]:
        depth = min(DEPTH, len(sections))
        found, scores = index.retrieve([words(query)], k=depth, show_progress=False)
        return [int(number) for number, value in zip(found[0], scores[0], strict=True) if value > 0]

    return search


@dataclass(frozen=True, slots=True)
class Latency:
    """One search for the five best: milliseconds of processor time (a search waits for nothing), and of wall time;
    processor seconds to build the index.
    """

    passages: int
    p50: float
    p95: float
    p99: float
    wall_p95: float
    build_s: float


def latency(passages: Sequence[tuple[str, str]], queries: Sequence[str], tuning: Tuning) -> Latency:
    """``passages``: (heading, text). Every query once, after one that warms up."""
    begun = time.process_time()
    index = PassageIndex(tuning)
    for number, (heading, text) in enumerate(passages):
        index.add((f"{number:06}", 0), analyse(heading, text))
    built = time.process_time() - begun
    taken, wall = [], []
    for query in (queries[0], *queries):
        cpu, begun = time.thread_time(), time.perf_counter()
        index.search(query, 5)
        taken.append((time.thread_time() - cpu) * 1000)
        wall.append((time.perf_counter() - begun) * 1000)
    p50, p95, p99 = np.percentile(taken[1:], [50, 95, 99])
    wall_p95 = np.percentile(wall[1:], 95)
    return Latency(len(passages), float(p50), float(p95), float(p99), float(wall_p95), built)
