"""A question, from ingested documents to a cited answer that is stored."""

from pathlib import Path

import pytest

from parley_client import AnswerDelta, ClientOptions, Done, RetrievalFrame, connect
from parley_protocol.events import TurnStatus
from parley_protocol.ids import TurnKey
from parley_runtime.store import open_store
from parley_testkit.stack import Stack

pytestmark = pytest.mark.e2e

QUESTIONS = [
    pytest.param("When does the heating start?", "greenhouse.md", "eleven degrees", id="english"),
    pytest.param("水温超过多少度要打开增氧机？", "zh/鱼塘.md", "三十度", id="chinese"),
]


@pytest.mark.parametrize("binary", [True, False], ids=["msgpack", "json"])
@pytest.mark.parametrize(("question", "document", "words"), QUESTIONS)
async def test_answer_is_cited_streamed_and_stored(
    stack: Stack, sample: Path, question: str, document: str, words: str, binary: bool
) -> None:
    async with connect(stack.url, ClientOptions(binary=binary)) as chat:
        turn = await chat.ask(question, kb="handbook")
        events = [event async for event in turn]
        session = chat.session
    assert session is not None
    done = events[-1]
    assert isinstance(done, Done)
    assert done.status is TurnStatus.COMPLETED
    assert [event.seq for event in events] == list(range(len(events)))
    assert "".join(event.text for event in events if isinstance(event, AnswerDelta)) == done.text
    assert words in done.text

    retrieved = [event for event in events if isinstance(event, RetrievalFrame)][-1]
    assert retrieved.sources == done.sources
    cited = [source for number, source in enumerate(done.sources, 1) if f"[{number}]" in done.text]
    assert document in {source.document for source in cited}
    assert done.usage is not None
    assert done.usage.completion_tokens > 0

    stages = {hop.stage: hop for hop in done.latency.stages}
    assert {"retrieve", "generate"} <= set(stages)
    assert all(hop.wait_ms >= 0 and hop.work_ms >= 0 for hop in stages.values())
    assert 0 < done.latency.accepted_ms <= done.latency.first_token_ms <= done.latency.total_ms

    store = await open_store(stack.store)
    try:
        (row,) = await store.rows([TurnKey("default", session, turn.id)])
    finally:
        await store.aclose()
    assert (row.status, row.text, row.question) == (TurnStatus.COMPLETED, done.text, question)
    assert row.sources == done.sources


async def test_sources_point_into_the_text_that_was_ingested(stack: Stack, sample: Path) -> None:
    async with connect(stack.url) as chat:
        done = await (await chat.ask("Where is the toner of the printer Gutenberg ordered?", kb="handbook")).done()
    assert "Osnabrueck" in done.text
    source = next(source for source in done.sources if source.document == "office.txt")
    text = (sample / "office.txt").read_text(encoding="utf-8")
    assert text[source.start : source.end] == source.text
    assert source.id


async def test_a_follow_up_question_uses_the_conversation(stack: Stack) -> None:
    async with connect(stack.url) as chat:
        await (await chat.ask("When are the tomatoes watered?", kb="handbook")).done()
        session = chat.session
        done = await (await chat.ask("And the basil?", kb="handbook")).done()
        assert "every third day" in done.text
    # A client that comes back goes on in the same conversation.
    async with connect(stack.url, ClientOptions(session=session)) as chat:
        done = await (await chat.ask("And the tomatoes?", kb="handbook")).done()
    assert "six in the morning" in done.text


async def test_small_talk_needs_no_documents(stack: Stack) -> None:
    async with connect(stack.url) as chat:
        done = await (await chat.ask("Hello!", kb="handbook")).done()
    assert (done.status, done.sources) == (TurnStatus.COMPLETED, ())
    assert done.text


async def test_nothing_is_known_of_what_no_document_says(stack: Stack) -> None:
    async with connect(stack.url) as chat:
        done = await (await chat.ask("Who won the chess olympiad of 1927?", kb="handbook")).done()
    assert done.status is TurnStatus.COMPLETED
    assert "[1]" not in done.text
