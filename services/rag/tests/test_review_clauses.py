"""Cutting contracts: nothing is lost, nothing overlaps, clauses begin where people see them begin."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley_rag.review.clauses import MAX_CLAUSE, plan, split

pytestmark = pytest.mark.unit


def cut(text: str) -> list[str]:
    return [text[start:end] for start, end in split(text)]


@pytest.mark.parametrize(
    ("text", "begins"),
    [
        ("合同\n甲方：某公司。\n第一条 标的\n水泵二十台。\n第二条 价款\n一万元。", ["合同", "第一条", "第二条"]),
        ("一、标的物为水泵。\n二、价款为一万元。\n三、其他事项。", ["一、", "二、", "三、"]),
        ("1. 标的物为水泵。\n2．价款一万元。\n3、交货地点为仓库。\n4) 其他。", ["1.", "2．", "3、", "4)"]),
        ("第五条 付款：\n5.1 预付三成。\n5.2 余款验收后付。", ["第五条", "5.2"]),
        ("第十二条规定的内容。第十三条 管辖法院为本地法院。根据第三条的规定执行。", ["第十二条", "第十三条"]),
        ("# 合同\n\n## 第一条 标的。\n\n水泵。\n\n## 第二条 价款。\n\n一万。", ["# 合同", "## 第二条"]),
        ("Article 1 Scope.\nPumps.\nArticle II. Price.\nTen.", ["Article 1", "Article II"]),
        ("Section 2.1 Delivery is in May.\nSECTION 3 Payment is in June.", ["Section 2.1", "SECTION 3"]),
        ("1. Scope. Pumps are sold. 2. Price. It is ten euros within 30 days. 3. Law. None.", ["1.", "2.", "3."]),
        ("Preamble here.\n1.1 The Seller delivers.\n1.2 The Buyer pays 3.5 % of it.", ["Preamble", "1.1", "1.2"]),
        ("First paragraph\nstill first.\n\nSecond paragraph.\n\n\nThird.", ["First", "Second", "Third"]),
        ("一句话合同，没有编号", ["一句话"]),
    ],
)
def test_where_clauses_begin(text: str, begins: list[str]) -> None:
    found = cut(text)
    assert [clause[: len(begin)] for clause, begin in zip(found, begins, strict=False)] == begins
    assert len(found) == len(begins)


def test_figures_are_no_numbers_of_clauses() -> None:
    assert len(cut("1. 价款为：\n3.5%的利息\n100 元\n2024年5月")) == 1


def test_a_long_clause_is_cut_at_sentences_and_then_by_force() -> None:
    sentence = "卖方应按约定交付货物。"
    found = cut("第一条 " + sentence * 400)
    assert all(len(clause) <= MAX_CLAUSE for clause in found)
    assert all(clause.endswith("。") for clause in found)
    assert len(found) <= 4
    forced = cut("x" * (3 * MAX_CLAUSE + 1))
    assert [len(clause) for clause in forced] == [MAX_CLAUSE] * 3 + [1]


@pytest.mark.parametrize("text", ["", " \n\t\u3000 ", "\f\f"])
def test_nothing_is_no_clause(text: str) -> None:
    assert split(text) == []


@given(st.text(alphabet=st.sampled_from("第一二条、.1 2\n\f。Article Section买x；;　"), max_size=300))
def test_everything_but_white_space_is_in_exactly_one_clause(text: str) -> None:
    spans = split(text)
    inside = [at for start, end in spans for at in range(start, end)]
    assert inside == sorted(set(inside))
    assert all(text[start:end].strip() == text[start:end] != "" for start, end in spans)
    outside = set(range(len(text))) - set(inside)
    assert all(text[at].isspace() for at in outside)


def test_a_hostile_text_takes_no_long_time() -> None:
    """Five megabytes of what the patterns look for; a quadratic pattern would take minutes."""
    begun = time.process_time()
    for piece in ("第", "1.", "一、", "Article ", "\n", "。 ", "1.1.1.1"):
        split(piece * (700_000 // len(piece)))
    assert time.process_time() - begun < 30


@pytest.mark.parametrize(
    ("clauses", "fanout", "least", "jobs"),
    [
        (1, 64, 8, [(0, 1)]),
        (17, 64, 8, [(0, 8), (8, 8), (16, 1)]),
        (1000, 4, 8, [(0, 250), (250, 250), (500, 250), (750, 250)]),
    ],
)
def test_the_plan_covers_all_clauses(clauses: int, fanout: int, least: int, jobs: list[tuple[int, int]]) -> None:
    assert plan(clauses, fanout, least) == jobs


@given(st.integers(1, 30_000), st.integers(1, 100), st.integers(1, 50))
def test_the_plan_is_bounded(clauses: int, fanout: int, least: int) -> None:
    jobs = plan(clauses, fanout, least)
    assert len(jobs) <= fanout
    assert [first for first, _ in jobs] == [sum(count for _, count in jobs[:i]) for i in range(len(jobs))]
    assert sum(count for _, count in jobs) == clauses
