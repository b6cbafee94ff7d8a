"""Passages are slices of the text, near their target, and cut where a reader would cut."""

import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parley_rag.chunking import TARGET, TARGET_WIDE, chunk
from parley_rag.documents import extract
from parley_runtime.errors import Invalid

pytestmark = pytest.mark.unit

LINES = st.lists(
    st.one_of(
        st.text(max_size=400),
        st.sampled_from(["# H", "## 标题", "### Deep", "```", "| a | b |", "- item", "1. one", "", "", "> quote"]),
        st.text(alphabet="中文句子。，ab. ", max_size=1500),
        st.text(alphabet="word .", max_size=3000),
        st.integers(1, 4000).map(lambda n: "x" * n),
    ),
    max_size=25,
)


@settings(max_examples=150, deadline=None)
@given(LINES, st.sampled_from(["a.md", "a.txt", "a.html"]))
def test_every_passage_is_a_slice_of_the_text(lines: list[str], path: str) -> None:
    data = "\n".join(lines).encode("utf-8", "ignore")
    try:
        found = extract(path, "", data)
    except Invalid:
        return
    passages = chunk(found, kb="k", path=path)
    assert passages
    for passage in passages:
        assert found.text[passage.start : passage.end] == passage.text
        assert passage.text.strip()
        assert passage.title
        assert len(passage.text) <= 2 * TARGET * 1.35 + 20
    assert [p.start for p in passages] == sorted(p.start for p in passages)
    assert len({p.id for p in passages}) == len(passages)
    for section in found.sections:
        for block in section.blocks:
            for i in range(block.start, block.end):
                if found.text[i].strip():
                    assert any(p.start <= i < p.end for p in passages), found.text[i]
                    break


def passages(text: str, path: str = "a.md") -> list[str]:
    return [passage.text for passage in chunk(extract(path, "", text.encode()), kb="k", path=path)]


def test_a_section_that_fits_is_one_passage() -> None:
    assert passages("# A\n\none\n\ntwo\n\n## B\n\nthree") == ["one\n\ntwo", "three"]


def test_sentences_are_not_cut_and_a_short_one_is_repeated() -> None:
    sentences = [f"Sentence number {i} says a little about the pump and its lever." for i in range(60)]
    cut = passages(" ".join(sentences))
    assert len(cut) > 2
    for passage in cut:
        assert passage.startswith("Sentence number")
        assert passage.endswith("lever.")
        assert len(passage) <= TARGET * 1.35
    for before, after in pairwise(cut):
        last = re.findall(r"Sentence number \d+", before)[-1]
        assert after.startswith(last + " says")


def test_chinese_passages_are_half_as_long() -> None:
    cut = passages("".join(f"第{i}句话说明水泵的操作方法和注意事项。" for i in range(120)))
    assert len(cut) > 3
    assert all(TARGET_WIDE / 3 < len(passage) <= TARGET_WIDE * 1.35 for passage in cut)
    assert all(passage.startswith("第") and passage.endswith("。") for passage in cut)


def test_code_and_tables_stay_whole_where_they_fit() -> None:
    code = "```\n" + "\n".join(f"line {i}" for i in range(80)) + "\n```"
    text = f"# A\n\n{'word. ' * 120}\n\n{code}\n\n{'more. ' * 120}"
    assert sum(code in passage for passage in passages(text)) == 1


def test_long_code_is_cut_at_line_ends() -> None:
    lines = [f"value_{i} = compute(argument_{i})" for i in range(300)]
    cut = passages("```\n" + "\n".join(lines) + "\n```")
    assert len(cut) > 5
    for passage in cut:
        for line in passage.splitlines():
            assert line in lines or line == "```"


def test_a_run_without_spaces_is_cut_by_force() -> None:
    cut = passages("x" * 10_000, "a.txt")
    assert "".join(cut) == "x" * 10_000
    assert max(map(len, cut)) <= 2 * TARGET


def test_headings_alone_still_make_a_passage() -> None:
    assert passages("# Only a heading") == ["Only a heading"]


def test_a_heading_without_text_is_not_lost() -> None:
    assert passages("# Ports\n\n## 8000 HTTP\n\n## 5672 AMQP\n\n# End\n\ntext") == ["8000 HTTP", "5672 AMQP", "text"]


def test_ids_are_stable_and_depend_on_place_and_content() -> None:
    found = extract("a.md", "", b"# A\n\none\n\n# B\n\none")
    first, second = chunk(found, kb="k", path="a.md")
    assert first.text == second.text
    assert first.id != second.id
    assert [p.id for p in chunk(found, kb="k", path="a.md")] == [first.id, second.id]
    assert chunk(found, kb="other", path="a.md")[0].id != first.id
    assert chunk(found, kb="k", path="b.md")[0].id != first.id
    assert re.fullmatch(r"[0-9a-f]{16}", first.id)


def test_the_title_is_the_path_of_headings() -> None:
    found = extract("a.md", "", b"# A\n\n## B\n\ntext")
    assert [p.title for p in chunk(found, kb="k", path="a.md")] == ["A › B"]
