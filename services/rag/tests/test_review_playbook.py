"""The playbook's language, who is who in a contract, and verdicts by rules."""

import time

import pytest

from parley_protocol.events import Source
from parley_protocol.reviews import Risk
from parley_rag.review.assessor import Brief
from parley_rag.review.parties import USUAL, Facts, Side, pack_facts, read_facts, side_of, unpack_facts
from parley_rag.review.patterns import compiled, normal
from parley_rag.review.playbook import PlaybookAssessor
from parley_rag.review.rules import joined
from parley_runtime.store.ports import StoredPassage

pytestmark = pytest.mark.unit

FACTS = Facts(dict(USUAL))


def found(pattern: str, text: str, facts: Facts = FACTS) -> bool:
    return any(one.found(normal(text)) for one in compiled(pattern, facts))


@pytest.mark.parametrize(
    ("pattern", "text", "wanted"),
    [
        ("概不负责", "对此概不负责。", True),
        ("不承担…责任", "不承担任何赔偿责任", True),
        ("不承担…责任", "不承担费用。责任由他方负", False),
        ("不承担…责任", "不承担" + "很" * 90 + "责任", False),
        ("a; b", "only b here", True),
        ("[不承担|不负]…责任", "卖方不负责任", True),
        ("sell", "the seller", False),
        ("as is", "sold AS\nIS, where is", True),
        ("not be liable", "shall  not\nbe liable", True),
        ("no liability", "no loss. Liability is full", False),
        ("{seller} … not be liable", "the Supplier shall not be liable", True),
        ("{seller} … not be liable", "the Buyer shall not be liable to the Seller", False),
        ("{seller} … not be liable", "The Seller delivers and the Buyer shall not be liable", False),
        ("{卖方}…不承担", "乙方不承担责任", True),
        ("{卖方}…不承担", "给卖方造成损失的，买方不承担责任", False),
        ("法院…{卖方*}", "由法院向卖方送达", True),
        ("{>=30%}…预付", "以30%作为预付款", True),
        ("{>=30%}…预付", "以29.9％作为预付款", False),
        ("预付…{>=30%}", "预付5%，或预付百分之四十五", True),
        ("{>=3‰}", "每日千分之五", True),
        ("{>=3‰}", "每日千分之二", False),
        ("{>=30%}", "thirty per cent (30 percent)", True),
        ("{>=12%}", "百分之十二", True),
        ("{>=13%}", "百分之十二", False),
        ("[90|180]…天…支付", "货到验收合格后满180天，甲方支付货款", True),
        ("180", "合同号2180", False),
        ("{>=50%}", "seventy percent (70%) of the price", True),
        ("of {>=50%}", "a deposit of sixty (60) percent", True),
        ("{>=30%}", "twenty per cent", False),
        ("{买方}…[可|得]…解除", "买方可随时解除", True),
        ("{买方}…[可|得]…解除", "买方不得单方解除", False),
        ("{买方}…[可|得]…解除", "因不可抗力，买方不可解除", False),
        ("{seller} … may … change", "the Seller may from time to time change", True),
        ("{seller} … may … change", "the Seller may not change", False),
        ("{seller} … may not … change", "the Seller may not change", True),
        ("{seller} … right to … cancel", "the Seller has no right to cancel", False),
        ("{seller} … entitled to … cancel", "the Seller shall not be entitled to cancel", False),
        ("ＡＢＣ", "abc", True),
        ("", "anything", False),
        (" ; ；", "anything", False),
        ("([.*+?", "a literal ([.*+? here", True),
    ],
)
def test_patterns(pattern: str, text: str, wanted: bool) -> None:
    assert found(pattern, text) is wanted


def test_a_hostile_clause_takes_no_long_time() -> None:
    pattern = "{卖方}…[不承担|不负]…责任…{>=30%}…违约金"
    begun = time.process_time()
    for text in ("卖方" * 750, "卖方不承担" * 300, "1%" * 750, "卖方不负责任1%" * 150):
        found(pattern, text)
    assert time.process_time() - begun < 5


@pytest.mark.parametrize(
    ("head", "first", "party_a"),
    [
        ("甲方（买方）：某公司\n乙方（卖方）：某厂", Side.BUYER, Side.BUYER),
        ("甲方（供货方）：某厂\n乙方（采购方）：某公司", Side.SELLER, Side.BUYER),
        ("卖方：某厂（以下简称“甲方”）\n买方：某公司（以下简称“乙方”）", Side.SELLER, Side.BUYER),
        ("出卖人（甲方）与买受人（乙方）", Side.SELLER, Side.BUYER),
        ("没有说明", Side.BUYER, Side.BUYER),
        ('between Party A (the "Supplier") and Party B (the "Customer")', Side.BUYER, Side.SELLER),
    ],
)
def test_who_is_who(head: str, first: Side, party_a: Side) -> None:
    facts = read_facts(head)
    assert (facts.parties["甲方"], facts.parties["party a"]) == (first, party_a)
    assert facts.parties["乙方"] is not facts.parties["甲方"]
    assert unpack_facts(pack_facts(facts)) == facts
    assert unpack_facts("") == FACTS


@pytest.mark.parametrize(
    ("role", "side"),
    [
        ("buyer", Side.BUYER),
        (" The Seller ", Side.SELLER),
        ("采购方", Side.BUYER),
        ("供应商", Side.SELLER),
        ("乙方", Side.SELLER),
        ("Party A", Side.BUYER),
        ("", None),
        ("律师", None),
    ],
)
def test_the_side_of_a_role(role: str, side: Side | None) -> None:
    assert side_of(role, FACTS) is side


RULE = Source(
    id="p1",
    document="zh.md",
    title="规则 › 责任",
    score=1.0,
    start=0,
    end=9,
    kb="playbook",
    text=(
        "- 买方（高）：{卖方}…不承担…责任\n- 卖方（中）：{买方}…不承担…责任\n- 双方（低）：不可抗力\n"
        "- 除外：故意…除外\n- 买方理由：对买方不利。\n- 卖方理由：对卖方不利。\n- 说明：随便写"
    ),
)


def brief(role: str) -> Brief:
    return Brief(contract_type="purchase", role=role, side=side_of(role, FACTS), facts=FACTS)


@pytest.mark.parametrize(
    ("clause", "role", "wanted"),
    [
        ("卖方不承担任何责任", "buyer", [(Risk.HIGH, "对买方不利。")]),
        ("卖方不承担任何责任", "seller", []),
        ("买方不承担任何责任", "seller", [(Risk.MEDIUM, "对卖方不利。")]),
        ("遇不可抗力", "seller", [(Risk.LOW, "对卖方不利。")]),
        ("卖方不承担责任，但故意造成的除外", "buyer", []),
        ("卖方不承担任何责任", "", [(Risk.HIGH, "对买方：对买方不利。")]),
    ],
)
async def test_a_clause_is_risky_for_one_side_only(clause: str, role: str, wanted: list[tuple[Risk, str]]) -> None:
    verdicts = await PlaybookAssessor().assess(clause, (RULE, RULE), brief(role))
    assert [(one.risk, one.reason) for one in verdicts] == wanted
    assert all(one.rule is not None and (one.rule.id, one.rule.title) == ("p1", "责任") for one in verdicts)


async def test_passages_without_rules_find_nothing() -> None:
    passage = Source("p", "a.md", "t", 1.0, "卖方不承担责任是常见的写法。理由：无。", 0, 5)
    assert await PlaybookAssessor().assess("卖方不承担责任", (passage,), brief("buyer")) == ()


def test_a_rule_is_the_whole_section() -> None:
    passages = [
        StoredPassage(id="1", title="a", text="abcdef", start=0, end=6),
        StoredPassage(id="2", title="a", text="efgh", start=4, end=8),
        StoredPassage(id="3", title="a", text="ij", start=10, end=12),
        StoredPassage(id="4", title="b", text="other", start=20, end=25),
    ]
    sections = joined(passages, "d.md", "playbook")
    assert {title: (one.id, one.text, one.start, one.end) for title, one in sections.items()} == {
        "a": ("1", "abcdefgh\nij", 0, 12),
        "b": ("4", "other", 20, 25),
    }


async def test_a_rule_that_is_cut_within_a_line_is_read_whole() -> None:
    passages = [
        StoredPassage(id="1", title="a", text="- 买方（高）：{卖方}…", start=0, end=12),
        StoredPassage(id="2", title="a", text="概不负责；{卖方}…", start=12, end=22),
        StoredPassage(id="3", title="a", text="不赔偿", start=23, end=26),
        StoredPassage(id="4", title="a", text="- 除外：故意", start=27, end=33),
    ]
    rule = joined(passages, "d.md", "playbook")["a"]
    assert rule.text == "- 买方（高）：{卖方}…概不负责；{卖方}… 不赔偿\n- 除外：故意"
    wanted = {"卖方负责安装。": 0, "卖方概不负责。": 1, "卖方不赔偿。": 1, "卖方故意损坏的，不赔偿。": 0}
    for clause, risks in wanted.items():
        assert len(await PlaybookAssessor().assess(clause, (rule,), brief("buyer"))) == risks
