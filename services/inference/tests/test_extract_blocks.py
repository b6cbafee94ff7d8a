"""Passages as units that can be quoted."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley_inference.extract.blocks import MAX_UNITS, Kind, plain, sentences, units

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ("A fence, e.g. 7, wins. The rest ends.", ["A fence, e.g. 7, wins.", "The rest ends."]),
        ("Version 3.10 is old. 4.0 is new.", ["Version 3.10 is old.", "4.0 is new."]),
        ("See parley.work for more. Done.", ["See parley.work for more.", "Done."]),
        ("It ends (see below. Really.) here. Next.", ["It ends (see below. Really.) here.", "Next."]),
        ("Use `a. B` now. Then stop.", ["Use `a. B` now.", "Then stop."]),
        ("Dr. Smith met J. Doe. They spoke.", ["Dr. Smith met J. Doe.", "They spoke."]),
        ('He said "stop." Then he left.', ['He said "stop."', "Then he left."]),
        (
            "围栏号是整数。编号大的取代编号小的！为什么？因为如此。",
            ["围栏号是整数。", "编号大的取代编号小的！", "为什么？", "因为如此。"],
        ),
        ("它说：“停下。”然后走了。", ["它说：“停下。”", "然后走了。"]),
        ("短句；还是一句。", ["短句；还是一句。"]),
        ("English first. 然后是中文。And back.", ["English first.", "然后是中文。", "And back."]),
        ("支持Markdown!还有PDF。", ["支持Markdown!还有PDF。"]),
        ("no end mark", ["no end mark"]),
        ("", []),
    ],
)
def test_sentences(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected


def test_a_long_clause_ends_at_its_semicolon() -> None:
    first = "甲" * 70 + "；"
    assert sentences(first + "乙乙。") == [first, "乙乙。"]


def test_a_bracket_that_never_closes_does_not_swallow_the_rest() -> None:
    text = "Open ( here. " + "More words follow here. " * 30
    assert len(sentences(text)) > 10


@given(st.text(max_size=300))
def test_no_text_is_lost_between_sentences(text: str) -> None:
    assert "".join("".join(sentences(text)).split()) == "".join(text.split())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A **bold** and *soft* and __strong__ and _weak_ word", "A bold and soft and strong and weak word"),
        ("a snake_case_name and 2 * 3 * 4", "a snake_case_name and 2 * 3 * 4"),
        ("see [the page](http://x.org/a_(b)) and ![alt](i.png) and [ref][1]", "see the page and alt and ref"),
        ("keep `**code** [x](y)` as it is", "keep `**code** [x](y)` as it is"),
        ("<b>html</b> <!-- note -->and <https://x.org>", "html and https://x.org"),
        ("a < b and c > d", "a < b and c > d"),
    ],
)
def test_markdown_of_a_line(text: str, expected: str) -> None:
    assert plain(text) == expected


def _brief(text: str, title: str = "") -> list[tuple[Kind, str]]:
    return [(unit.kind, unit.text) for unit in units(text, title)]


def test_blocks_of_every_kind() -> None:
    passage = """# Putting in

First line
goes on. Second.

- one *item*
  that goes on

- two
1. numbered
2) also

| name | default | meaning |
|------|---------|---------|
| A_B | 5 | waits; then stops |
| C | | none |

```sh
parley ingest .  # go. Now
```

> Quoted words.

Under
-----
Last.
"""
    assert _brief(passage) == [
        (Kind.SENTENCE, "First line goes on."),
        (Kind.SENTENCE, "Second."),
        (Kind.ITEM, "one item that goes on"),
        (Kind.ITEM, "two"),
        (Kind.ITEM, "numbered"),
        (Kind.ITEM, "also"),
        (Kind.ROW, "A_B — default: 5; meaning: waits; then stops"),
        (Kind.ROW, "C — meaning: none"),
        (Kind.CODE, "```sh\nparley ingest .  # go. Now\n```"),
        (Kind.SENTENCE, "Quoted words."),
        (Kind.SENTENCE, "Last."),
    ]


def test_headings_numbers_and_places() -> None:
    found = units("Before.\n\n## Steps\n\n1. Do this.\n2. Then that.\n\nAfter.", "Guide › Start")
    assert [unit.heading for unit in found] == ["Guide › Start", "Steps", "Steps", "Steps"]
    assert [unit.number for unit in found] == ["", "1.", "2.", ""]
    assert [unit.index for unit in found] == [0, 1, 2, 3]
    assert found[1].block == found[2].block != found[3].block


def test_chinese_lines_join_without_a_space() -> None:
    assert _brief("围栏号是\n整数。With\nEnglish.") == [
        (Kind.SENTENCE, "围栏号是整数。"),
        (Kind.SENTENCE, "With English."),
    ]


def test_a_table_cut_from_its_header_and_a_block_cut_from_its_end() -> None:
    assert _brief("| a | b |\n| c | d |") == [(Kind.ROW, "a — b"), (Kind.ROW, "c — d")]
    assert _brief("```\ncode\nmore") == [(Kind.CODE, "```\ncode\nmore\n```")]


def test_empty_code_rules_and_blank_passages_are_nothing() -> None:
    assert _brief("```\n\n```\n\n---\n\n***\n") == []
    assert _brief(" \n\n") == []


def test_units_are_bounded() -> None:
    assert len(units("All is well. " * (MAX_UNITS + 100))) == MAX_UNITS


@pytest.mark.parametrize(
    "text", ["A. B. " * 3400, "**a " * 5000, "[a" * 10_000, "[a](" * 5000, "<!--" * 5000, "`a. B " * 3400, "“。" * 9000]
)
def test_marks_that_never_close_cost_little(text: str) -> None:
    begun = time.process_time()
    units(text)
    assert time.process_time() - begun < 1.0  # 0.1 s at most; quadratic reading took 1.5 s to 5 s


@given(st.text(alphabet="ab。. \n|-`#*1)中[](", max_size=400))
def test_any_text_is_read(text: str) -> None:
    for place, unit in enumerate(units(text)):
        assert unit.text.strip()
        assert unit.index == place
