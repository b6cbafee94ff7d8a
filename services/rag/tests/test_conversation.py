"""Follow-ups take their subject from the turn before; questions that stand on their own are left alone."""

import pytest

from parley_rag.conversation import leans, rewrite, salient
from parley_rag.retrieval import EmbeddedRetriever, Query
from parley_runtime.store.ports import Exchange, StoredPassage

pytestmark = pytest.mark.unit

LEANING = [
    "What about Chinese?",
    "and the second one?",
    "why?",
    "Why not?",
    "How so?",
    "Tell me more.",
    "How does it work?",
    "Is it safe?\n",
    "When was that introduced?",
    "How do I install it?",
    "What are their limits?",
    "Can you explain that?",
    "What is this used for?",
    "go on\n",
    "For example?",
    "How many of them are there?",
    "And on Debian?",
    "How about PostgreSQL?",
    "它呢",
    "那价格呢？",
    "为什么？",
    "怎么做",
    "还有呢",
    "这个怎么用？",
    "它有什么限制\n",
    "那它支持中文吗",
    "其他的呢？",
    "详细说说",
    "举个例子",
    "它们的区别是什么",
    "继续",
    "那 PostgreSQL 呢？",
    "如何配置它",
]

STANDALONE = [
    "What is the outbox?",
    "How do I configure the retry ladder?",
    "Which broker versions are supported?\n",
    "Is it possible to configure the outbox size in Parley?",
    "What happens when a worker is killed during generation?\n",
    "Are there limits on frame size?",
    "How does RabbitMQ ensure that messages survive a restart?",
    "List all close codes\n",
    "What is the difference between a quorum queue and a classic queue, and when is it worth using one?\n",
    "Who signs the session id?",
    "什么是防火墙？",
    "如何配置重试队列",
    "网关如何处理慢客户端？",
    "支持哪些文档格式",
    "死信队列里的消息怎么重新发送\n",
    "其中一个工作进程被终止时会发生什么事情",
    "RabbitMQ 4.0 支持哪些参数",
]


@pytest.mark.parametrize("question", [question.strip() for question in LEANING])
def test_leaning_questions(question: str) -> None:
    assert leans(question)


@pytest.mark.parametrize("question", [question.strip() for question in STANDALONE])
def test_standalone_questions_are_left_alone(question: str) -> None:
    history = [Exchange("t", "Tell me about the page", "It is a page. The page is a page.")]
    assert rewrite(question, history) == (Query(question), False)


def test_a_long_text_names_its_own_subject() -> None:
    assert not leans("why? " * 100)


def test_without_a_conversation_nothing_leans() -> None:
    assert rewrite("why?", []) == (Query("why?"), False)


def test_the_first_follow_up_is_rewritten_already() -> None:
    history = [Exchange("t", "What is the outbox?", "The outbox holds frames. Frames leave the outbox in order.")]
    query, used = rewrite("How large is it?", history)
    assert used
    assert query.text == "How large is it?"
    assert "What is the outbox?" in query.context
    assert "frame" in query.context


def test_a_chain_of_follow_ups_reaches_its_subject() -> None:
    history = [
        Exchange("1", "How are transcripts stored?", "In a table."),
        Exchange("2", "What is the retry ladder?", "Delays."),
        Exchange("3", "Why?", "Because."),
    ]
    query, used = rewrite("And in Chinese?", history)
    assert used
    assert "retry ladder" in query.context
    assert "transcripts" not in query.context


def test_salient_words_are_those_repeated() -> None:
    answer = "The ladder has rungs. Each rung of the ladder delays a job. Jobs climb."
    assert salient(answer, "what is a job?") == ["ladder", "rung"]


async def search(question: str, history: list[Exchange]) -> str:
    retriever = EmbeddedRetriever()
    texts = {
        "outbox.md": "The outbox of a connection is bounded. Its size is 256 KiB.",
        "ladder.md": "The retry ladder has three rungs. Its delays are 1, 5 and 30 seconds.",
        "价格.md": "水泵的价格是三百元。",
        "重量.md": "阀门的重量是三公斤，价格另议。",
        "broker.md": "The broker is RabbitMQ. Its size on disk is small.",
    }
    for path, text in texts.items():
        await retriever.upsert("t", "kb", path, path, [StoredPassage(id=path, title="", text=text, start=0, end=1)])
    query, _ = rewrite(question, history)
    return (await retriever.search("t", "kb", query, 1))[0].document


@pytest.mark.parametrize(
    ("before", "question", "document"),
    [
        ("What is the outbox?", "What is its size?", "outbox.md"),
        ("What is the retry ladder?", "What are its delays?", "ladder.md"),
        ("What is the retry ladder?", "What about the outbox?", "outbox.md"),
        ("What is the outbox?", "why?", "outbox.md"),
        ("水泵多重？", "那价格呢", "价格.md"),
        ("阀门是什么", "它呢", "重量.md"),
        ("What is the outbox?", "How many rungs does the retry ladder have?", "ladder.md"),
    ],
)
async def test_follow_ups_find_what_is_meant(before: str, question: str, document: str) -> None:
    assert await search(question, [Exchange("t", before, "")]) == document
