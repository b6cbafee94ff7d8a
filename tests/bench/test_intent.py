"""The labelled questions are taken rightly, in each half of the set."""

from collections import Counter

import pytest

from bench.intent.__main__ import PARTS, figures, results

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("part", PARTS)
def test_questions_are_taken_for_what_they_are(part: str) -> None:
    shown = figures([one for one in results() if one.case.part == part])
    assert min(shown.values()) >= 0.95, shown


def test_the_set_is_large_and_holds_every_intent_in_both_languages() -> None:
    cases = [one.case for one in results()]
    languages = Counter((case.intent, case.question.isascii()) for case in cases)
    assert len(cases) == len({case.question for case in cases}) >= 200
    for intent, least in (("data", 40), ("knowledge", 35), ("small_talk", 5)):
        assert all(languages[intent, english] >= least for english in (True, False)), languages
