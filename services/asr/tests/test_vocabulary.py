"""A base's words: as they are said, as they are pronounced, and as a language model."""

import math

import pytest

from parley_asr.pronounce import Speller, phones
from parley_asr.vocabulary import arpa, count, sentences, spoken_number

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (0, "zero"),
        (13, "thirteen"),
        (20, "twenty"),
        (42, "forty two"),
        (300, "three hundred"),
        (5672, "five thousand six hundred seventy two"),
        (120_000, "one hundred twenty thousand"),
    ],
)
def test_numbers_as_they_are_said(number: int, said: str) -> None:
    assert " ".join(spoken_number(number)) == said


def test_text_as_it_is_said() -> None:
    found = list(sentences("The `PARLEY_SEATS=8` setting. WebSocket isn't HTTP/2!\n网关 is a gateway"))
    assert found == [
        ["the", "PARLEY", "SEATS", "eight", "setting"],
        ["web", "socket", "isn't", "HTTP", "two"],
        ["is", "a", "gateway"],
    ]


def test_the_model_adds_up_and_prefers_what_the_base_says() -> None:
    texts = ["A fence is a number. The fence wins.", "What is a fence?"]
    common = ("the", "a", "is", "what", "hello")
    counts = count(texts, lambda _: True, most=1000)
    lines = list(arpa(counts, common, lambda _: 0.01))
    assert lines[0] == "\\data\\"
    assert lines[-1] == "\\end\\"
    start, end = lines.index("\\1-grams:"), lines.index("\\2-grams:")
    unigrams = {line.split()[1]: 10 ** float(line.split()[0]) for line in lines[start + 1 : end] if line}
    assert math.isclose(sum(unigrams.values()), 1.0, abs_tol=1e-3)
    assert unigrams["fence"] > unigrams["hello"] > 0
    declared = {line.split("=")[0]: int(line.split("=")[1]) for line in lines[1:4]}
    assert declared["ngram 1"] == len(unigrams)
    pairs = [line for line in lines[end + 1 : lines.index("\\3-grams:")] if line]
    assert declared["ngram 2"] == len(pairs)
    assert any(line.split()[1:3] == ["a", "fence"] for line in pairs)


def test_ipa_in_the_phones_of_the_dictionary() -> None:
    assert phones("ɡˈeɪtweɪ") == "G EY T W EY"
    assert phones("?") == ""


def test_words_that_no_dictionary_has() -> None:
    speller = Speller()
    assert speller.phones("parley") == "P AA R L IY"
    assert speller.phones("HTTP") == "EY CH T IY T IY P IY"
