"""Prints the tables. Exit code 1 when the default does not beat the baseline in either language, or is too slow."""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from bench.retrieval.books import BOOKS, Section, fetch, sections
from bench.retrieval.measure import Score, Search, baseline, embedded, latency, misled, score
from parley_rag.chunking import chunk
from parley_rag.documents import extract
from parley_rag.retrieval.index import DEFAULT

CACHE = Path.home() / ".cache" / "parley" / "bench-books"
PASSAGES = 10_000
BAR_MS = 10.0

VARIANTS = {
    "parley": DEFAULT,
    "- without lead": replace(DEFAULT, lead=0.0),
    "- without proximity": replace(DEFAULT, proximity=0.0),
    "- without single characters": replace(DEFAULT, unigram=0.0),
    "- without whole identifiers": replace(DEFAULT, compound=0.0),
    "- k1 = 1.2": replace(DEFAULT, k1=1.2),
}


def mean(scores: list[Score]) -> Score:
    """Over books, each weighing by its queries."""
    weights = [item.queries for item in scores]
    return Score(
        sum(weights),
        *(
            float(np.average([getattr(item, name) for item in scores], weights=weights))
            for name in ("hit1", "hit5", "mrr")
        ),
    )


def quality(texts: dict[tuple[str, str], list[Section]]) -> dict[str, dict[str, Score]]:
    """Scores by system and language."""
    results: dict[str, dict[str, Score]] = {}

    def add(name: str, make: "dict[tuple[str, str], Search]") -> None:
        by_book = {key: score(texts[key], search) for key, search in make.items()}
        for (book, language), one in by_book.items():
            results.setdefault(f"{name} [{book}]", {})[language] = one
        results[name] = {
            language: mean([one for key, one in by_book.items() if key[1] == language]) for language in ("en", "zh")
        }

    add("BM25 (bm25s)", {key: baseline(found) for key, found in texts.items()})
    for name, tuning in VARIANTS.items():
        add(name, {key: embedded(found, tuning) for key, found in texts.items()})
    add("parley, in another conversation", {key: misled(found, DEFAULT) for key, found in texts.items()})
    return results


def show(results: dict[str, dict[str, Score]]) -> None:
    """A Markdown table: the means first, then the two main systems by book."""
    en, zh = (results["parley"][language].queries for language in ("en", "zh"))
    print(f"\nKnown-item search, title to section: hit@1 / hit@5 / MRR of {en} English and {zh} Chinese queries\n")
    print("| | English | Chinese |\n|---|---|---|")
    named = [name for name in results if "[" not in name]
    by_book = [name for name in results if name.startswith(("parley [", "BM25 (bm25s) ["))]
    for name in (*named, *sorted(by_book, key=lambda name: name.partition("[")[2])):
        cells = (f"{one.hit1:.3f} / {one.hit5:.3f} / {one.mrr:.3f}" for one in results[name].values())
        print(f"| {name} | {' | '.join(cells)} |")


def passages(root: Path, wanted: int) -> list[tuple[str, str]]:
    """Passages as the service cuts them, of all books; repeated with changed words where there are too few."""
    found: list[tuple[str, str]] = []
    for book in BOOKS:
        for path in sorted(root.glob(book.pattern)):
            document = extract(path.name, "text/html", path.read_bytes())
            found += [(f"{part.title}\n{path.name}", part.text) for part in chunk(document, kb="b", path=path.name)]
    whole = list(found)
    for turn in range(1, -(-wanted // len(whole))):
        found += [(f"{heading} {turn}", f"{text} v{turn}x{i}") for i, (heading, text) in enumerate(whole)]
    return found[:wanted]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.retrieval", description=__doc__)
    parser.add_argument("--cache", type=Path, default=CACHE, help="folder for the books")
    options = parser.parse_args()
    root = fetch(options.cache)
    texts = {(book.name, book.language): sections(root, book) for book in BOOKS}
    for (name, language), found in texts.items():
        print(f"{name} {language}: {len(found)} sections, {sum(len(one.body) for one in found):,} characters")
    results = quality(texts)
    show(results)
    queries = [section.title for found in texts.values() for section in found if section.title]
    speed = latency(passages(root, PASSAGES), queries, DEFAULT)
    print(
        f"\n{speed.passages:,} passages, {len(queries)} queries: p50 {speed.p50:.2f} ms, p95 {speed.p95:.2f} ms,"
        f" p99 {speed.p99:.2f} ms of processor time (p95 {speed.wall_p95:.2f} ms by the clock);"
        f" built in {speed.build_s:.1f} s"
    )
    plain, ours = results["BM25 (bm25s)"], results["parley"]
    worse = [
        f"{language} {name}"
        for language in ("en", "zh")
        for name in ("hit1", "hit5", "mrr")
        if getattr(ours[language], name) < getattr(plain[language], name)
    ]
    if worse or speed.p95 > BAR_MS:
        sys.exit(f"not met: {', '.join(worse) or 'latency'}")


if __name__ == "__main__":
    main()
