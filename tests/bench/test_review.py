"""The embedded assessor's figures on the labelled set: on clauses that the playbook has seen, and on others."""

import importlib.util
import sys
from pathlib import Path

import pytest

_PATH = Path(__file__).resolve().parents[2] / "bench" / "review" / "figures.py"
_SPEC = importlib.util.spec_from_file_location("bench_review_figures", _PATH)
assert _SPEC is not None
assert _SPEC.loader is not None
figures = sys.modules[_SPEC.name] = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(figures)

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("name", "bar", "clauses", "findings"),
    [("tuned", 0.98, 99, 30), ("held_out", 0.9, 99, 30), ("second", 0.9, 70, 25), ("third", 0.9, 60, 20)],
)
async def test_precision_and_recall(name: str, bar: float, clauses: int, findings: int) -> None:
    judged = await figures.judge(figures.load(name))
    assert len(judged) >= clauses
    for language in ("zh", "en"):
        found = figures.count(judged, language=language)
        assert found.right + found.missed >= findings
        assert min(found.precision, found.recall) >= bar, (language, found)


async def test_no_rule_is_blind_in_a_language() -> None:
    judged = await figures.judge(figures.load("held_out"))
    for rule in figures.RULES:
        for language in ("zh", "en"):
            assert figures.count(judged, rule, language).recall >= 0.6, (rule, language)


def test_every_rule_is_asked_for_both_sides_in_both_languages() -> None:
    for name in ("tuned", "held_out"):
        clauses = figures.load(name)
        for rule in figures.RULES:
            for side in figures.SIDES:
                for language in ("zh", "en"):
                    assert any(one.language == language and rule in one.wanted[side] for one in clauses), (rule, side)
