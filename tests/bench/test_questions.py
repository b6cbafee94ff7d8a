"""Questions told from the rest, on the committed sets: precision and recall of at least 0.95 each."""

import re
import time

import pytest

from bench.questions.measure import SETS, measure, read
from parley_gateway.dialects.asr.questions import MAX_READ, is_question

pytestmark = pytest.mark.unit

BAR = 0.95


@pytest.mark.parametrize("name", SETS)
def test_precision_and_recall(name: str) -> None:
    figures = measure(read(SETS[name]), is_question)
    assert figures.precision >= BAR
    assert figures.recall >= BAR


@pytest.mark.parametrize("language", ["zh", "en", "mixed"])
def test_no_language_is_carried_by_another(language: str) -> None:
    both = [each for path in SETS.values() for each in read(path) if language in each.kind]
    assert len(both) > 30
    figures = measure(both, is_question)
    assert min(figures.precision, figures.recall) >= 0.9


def test_what_the_sets_hold() -> None:
    development, held_out, second = (read(path) for path in SETS.values())
    assert len(development) + len(held_out) >= 400
    assert len(held_out) >= 200
    assert not {each.text for each in development} & {each.text for each in held_out}
    assert not {each.text for each in second} & {each.text for each in (*development, *held_out)}
    for utterances in (development, held_out):
        share = sum(each.question for each in utterances) / len(utterances)
        assert 0.4 < share < 0.6
        kinds = {each.kind.split("-")[0] for each in utterances}
        assert kinds >= {
            *("statement", "filler", "backchannel", "indirect", "imperative", "command", "mixed", "tag", "rhetorical"),
            *("direct", "yesno", "follow", "punct"),
        }
    bare = [each for each in held_out if not re.search(r"[.,!?;，。！？；]", each.text)]
    assert len(bare) > 0.9 * len(held_out)


def test_measure_counts_what_is_wrong() -> None:
    figures = measure(read(SETS["development"]), lambda text: text.startswith("w"))
    found = figures.questions - len(figures.missed)
    assert figures.precision == found / (found + len(figures.mistaken)) < 1
    assert figures.recall == found / figures.questions < 1


@pytest.mark.parametrize(
    ("text", "asks"),
    [
        ("", False),
        ("？", False),
        ("   ", False),
        ("水溫是多少", True),
        ("請問幾點開門", True),
        ("ＷＨＡＴ ＩＳ ＴＨＩＳ", True),
        ("What’s the time", True),
        ("好的。我知道了。那现在水温是多少？", True),
        ("The pump stopped at 3.15. Why?", True),
        ("it is 3.15, isn't it", False),
        ("x" * MAX_READ + ". what is a fence", True),
        ("what is a fence. " + "x" * MAX_READ, False),
        ("\U0001f600", False),
    ],
)
def test_forms(text: str, asks: bool) -> None:
    assert is_question(text) is asks


@pytest.mark.parametrize(
    "part", ["a ", "的", "还是", "give me the ", "what are ", "x是", "不知道", "who did it ", ",?", "查", "1,"]
)
def test_a_text_made_to_be_slow_is_not(part: str) -> None:
    began = time.process_time()
    is_question(part * 8_000)
    assert time.process_time() - began < 0.25
