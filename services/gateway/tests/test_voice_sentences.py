"""Where an answer is cut, and what of it is said."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley_gateway.voice.sentences import Cutter, Sentence
from parley_gateway.voice.spoken import spoken

pytestmark = pytest.mark.unit


def cut(*parts: str, first: bool = False) -> list[Sentence]:
    cutter = Cutter(first=first)
    found = []
    for part in parts:
        cutter.feed(part)
        while (sentence := cutter.next()) is not None:
            found.append(sentence)
    cutter.end()
    while (sentence := cutter.next()) is not None:
        found.append(sentence)
    return found


def said(*parts: str, first: bool = False) -> list[str]:
    return [sentence.said.text for sentence in cut(*parts, first=first)]


CASES = [
    ("", []),
    ("Hello", ["Hello"]),
    ("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]),
    ("你好。今天天气怎么样？很好！", ["你好。", "今天天气怎么样？", "很好！"]),
    ("Parley 支持语音。It speaks. 也说中文。", ["Parley 支持语音。", "It speaks.", "也说中文。"]),
    ("Dr. Li met Mr. J. Smith, e.g. at 3.14 p.m. today. Then vs. now.", None),
    ("It costs 3.50 dollars, or 1,000.25. Fine.", ["It costs 3.50 dollars, or 1,000.25.", "Fine."]),
    ("See https://docs.example.com/a/b?x=1.html for it. Bye.", ["See docs.example.com for it.", "Bye."]),
    ("Version 2.0.1 runs. It is new.", ["Version 2.0.1 runs.", "It is new."]),
    ("A fence is a number [1]. The higher wins. [2] So it is[3].", None),
    ("他说：“你好。”然后走了。", ["他说：“你好。”", "然后走了。"]),
    ('He said "Stop!" and left. (He did.) Yes.', None),
    ("Wait... what? Yes…", ["Wait...", "what?", "Yes…"]),
    ("Really?! Yes.", ["Really?!", "Yes."]),
    ("# A heading\n\nSome text\nthat goes on. More.", ["A heading", "Some text that goes on.", "More."]),
    ("Do this:\n- one thing\n- **another** thing\n1. third\n2. fourth", None),
    ("Before.\n```python\nx = 1. + 2\nprint(x)\n```\nAfter.", ["Before.", "After."]),
    ("Use `a_name` and **bold** or _so_.", ["Use a name and bold or so."]),
    ("| a | b |\n|---|---|\n| c | d |\nEnd.", ["a b", "c d", "End."]),
    ("[the guide](https://x.org/y) says so.", ["the guide says so."]),
    ("Done 👍 ok. 【1†source】Next one.", ["Done ok.", "Next one."]),
    ("[1] [2]\n\n---\n***", []),
    ("水温是21.5°C。最近一次读数为3.2。", ["水温是21.5°C。", "最近一次读数为3.2。"]),
    ("A<br>B is <b>bold</b>.", ["A B is bold ."]),
]
EXPECTED = {
    5: ["Dr. Li met Mr. J. Smith, e.g. at 3.14 p.m. today.", "Then vs. now."],
    9: ["A fence is a number .", "The higher wins.", "So it is."],
    11: ['He said "Stop!"', "and left.", "(He did.)", "Yes."],
    15: ["Do this:", "one thing", "another thing", "1. third", "2. fourth"],
}


@pytest.mark.parametrize("which", range(len(CASES)))
def test_what_is_said_of_it(which: int) -> None:
    text, expected = CASES[which]
    assert said(text) == (EXPECTED[which] if expected is None else expected)


@pytest.mark.parametrize("which", range(len(CASES)))
def test_how_it_streams_changes_nothing(which: int) -> None:
    text = CASES[which][0]
    assert cut(*text) == cut(text)
    assert cut(*text, first=True) == cut(text, first=True)


PIECES = st.sampled_from(
    [
        "Hello",
        " ",
        ". ",
        "你好",
        "。",
        "3.5",
        "[1]",
        "[12, 3]",
        "\n",
        "\n\n",
        "- ",
        "1. ",
        "# ",
        "```",
        "`",
        "**",
        "e.g.",
        ", ",
        "，",
        "https://a.b/c.d",
        "[x](http://y.z)",
        "…",
        "?",
        "!”",
        "|",
        "Dr. ",
        ";",
        "_",
        "word " * 30,
        "字" * 50,
        "<b>",
    ]
)


@given(st.lists(PIECES, max_size=30), st.booleans(), st.data())
def test_sentences_cover_the_text_however_it_comes(pieces: list[str], first: bool, data: st.DataObject) -> None:
    text = "".join(pieces)
    size = data.draw(st.integers(1, 9))
    streamed = cut(*(text[at : at + size] for at in range(0, len(text), size)), first=first)
    assert streamed == cut(text, first=first)
    at = 0
    for sentence in streamed:
        assert sentence.start == at
        assert sentence.start < sentence.end <= len(text)
        at = sentence.end
        places = list(sentence.said.at)
        assert len(places) == len(sentence.said.text)
        assert places == sorted(places)
        assert all(sentence.start <= place < sentence.end for place in places)
        for char, place in zip(sentence.said.text, places, strict=True):
            assert char in (text[place], " ")
    assert not any(char.isalnum() for char in spoken(text[at:]).text)


def test_the_first_sentence_is_early() -> None:
    text = "When a worker dies in the middle of an answer, the broker gives its job to another one, which goes on."
    assert said(text, first=True)[0] == "When a worker dies in the middle of an answer,"
    assert said(text) == [text]
    chinese = "当一个工作进程在回答过程中崩溃时，消息代理会把任务交给另一个进程，由它继续。"
    assert said(chinese, first=True)[0] == "当一个工作进程在回答过程中崩溃时，"


def test_a_sentence_is_taken_as_soon_as_it_is_over() -> None:
    cutter = Cutter()
    cutter.feed("It is over")
    assert cutter.next() is None
    cutter.feed(".")
    assert cutter.next() is None
    cutter.feed(" N")
    sentence = cutter.next()
    assert sentence is not None
    assert sentence.said.text == "It is over."
    cutter.feed("好。很")
    sentence = cutter.next()
    assert sentence is not None
    assert sentence.said.text == "N好。"


def test_no_sentence_is_long() -> None:
    for text in ("word " * 500, "字" * 500, "x" * 2000, "one thing, another thing, " * 100):
        found = cut(text)
        assert len(found) > 3
        assert max(len(sentence.said.text) for sentence in found) <= 320


def test_time_is_linear_in_what_is_silent() -> None:
    cutter = Cutter()
    for _ in range(2000):
        cutter.feed("=" * 120 + "\n")
        assert cutter.next() is None
    assert cutter.pending < 1000


def test_what_was_heard_of_a_sentence() -> None:
    (sentence,) = cut("**Hello** [there](http://x.y) you[1].")
    assert sentence.said.text == "Hello there you."
    assert sentence.heard(0.0) == 0
    assert sentence.heard(0.5) == "**Hello** [there](http://x.y) you[1].".index("ere")
    assert sentence.heard(1.0) == sentence.end == 37
    assert sentence.word(0.5) == len("Hello ") / len("Hello there you.")
    assert sentence.word(0.0) == 0.0
    (chinese,) = cut("今天天气很好。")
    assert chinese.heard(0.5) == 3
    assert chinese.word(0.5) == pytest.approx(3 / 7)
