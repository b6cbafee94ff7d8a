"""Terms of English, Chinese and identifiers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley_rag.tokens import MAX_WORD, content_terms, is_wide, query_terms, terms

pytestmark = pytest.mark.unit


def units(text: str) -> list[str]:
    return [term.text for term in terms(text) if term.unit]


def overlapping(text: str) -> set[str]:
    return {term.text for term in terms(text) if not term.unit}


@pytest.mark.parametrize(
    ("text", "expected", "whole"),
    [
        ("Running queues", ["run", "queue"], set()),
        ("don't user's", ["don", "user"], set()),
        ("apt-get", ["apt", "get"], {"aptget"}),
        ("max_delivery_count", ["max", "deliveri", "count"], {"maxdeliverycount"}),
        ("maxDeliveryCount", ["max", "deliveri", "count"], {"maxdeliverycount"}),
        ("meta-packages", ["meta", "packag"], {"metapackag"}),
        ("metapackage", ["metapackag"], set()),
        ("HTTPServerError", ["http", "server", "error"], {"httpservererror"}),
        ("sources.list", ["sourc", "list"], {"sources.list"}),
        ("/etc/apt/sources.list.d", ["etc", "apt", "sourc", "list", "d"], {"etc/apt/sources.list.d"}),
        ("C++ and C#", ["c", "and", "c"], {"c++", "c#"}),
        ("RabbitMQ 3.10", ["rabbit", "mq", "3", "10"], {"rabbitmq", "3.10"}),
        ("ＡＢＣ", ["abc"], set()),
        ("数据库", ["数", "据", "库"], {"数据", "据库"}),
        ("用apt安装", ["用", "apt", "安", "装"], {"安装"}),
        ("の設定", ["の", "設", "定"], {"の設", "設定"}),
        ("naïve Größe", ["naïve", "größe"], set()),
        ("", [], set()),
        ("!?… ——。", [], set()),
    ],
)
def test_terms(text: str, expected: list[str], whole: set[str]) -> None:
    assert units(text) == expected
    assert overlapping(text) == whole


@given(st.text(max_size=300))
def test_any_text_gives_bounded_folded_terms(text: str) -> None:
    found = list(terms(text))
    assert all(0 < len(term.text) <= MAX_WORD + 2 for term in found)
    assert all(not char.isspace() for term in found for char in term.text)
    assert [term.text for term in terms(text)] == [term.text for term in found]


@given(st.text(alphabet="ab中文 _-.Z9", max_size=60), st.text(alphabet="ab中文 _-.Z9", max_size=60))
def test_a_line_break_separates(left: str, right: str) -> None:
    assert list(terms(left + "\n" + right)) == [*terms(left), *terms(right)]


@given(st.text(max_size=100))
def test_a_question_with_terms_is_never_empty(text: str) -> None:
    assert bool(query_terms(text)) == bool(list(terms(text)))


@pytest.mark.parametrize(
    ("question", "kept"),
    [
        ("What is the outbox?", {"outbox"}),
        ("How do I install it", {"instal"}),
        ("what is it", set()),
        ("什么是防火墙", {"防", "火", "墙", "防火", "火墙"}),
        ("请问如何配置呢？", {"配", "置", "配置"}),
        ("使用 at 命令", {"使", "用", "使用", "at", "命", "令", "命令"}),
        ("为什么", set()),
    ],
)
def test_stop_words(question: str, kept: set[str]) -> None:
    assert {term.text for term in content_terms(question)} == kept


def test_stop_words_alone_are_searched() -> None:
    assert [term.text for term in query_terms("to be or not to be")] == ["to", "be", "or", "not", "to", "be"]


@pytest.mark.parametrize(("text", "wide"), [("hello", False), ("什么是 RabbitMQ 队列", True), ("", False)])
def test_is_wide(text: str, wide: bool) -> None:
    assert is_wide(text) is wide
