"""The retrieval stage over a real store and the in-memory broker: from a question to a generation job."""

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from parley_protocol.events import Retrieval, Source, Status, Terminal, ToolCall, TurnStatus
from parley_protocol.ids import TurnKey
from parley_protocol.routes import Stage
from parley_protocol.work import ChatMessage, DocumentInfo, Generate, Record, Retrieve, Sampling, Tool
from parley_rag.finding import Options, exchanges, relevant
from parley_rag.handler import RetrieveHandler
from parley_rag.retrieval import EmbeddedRetriever, IndexFollower, Query
from parley_runtime.clock import SystemClock
from parley_runtime.errors import Unavailable, UnknownBase
from parley_runtime.stage import StageSpec
from parley_runtime.store import open_store
from parley_runtime.store.ports import Exchange, Store, StoredPassage

pytestmark = pytest.mark.unit
KEY = TurnKey("default", "s", "t2")


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await open_store(f"sqlite+aiosqlite:///{tmp_path / 'p.db'}")
    yield opened
    await opened.aclose()


class FakeRun:
    """Records what a handler says."""

    def __init__(self, **fields: object) -> None:
        values = {"key": KEY, "submission": "s", "budget_s": 9.0, "digest": "d", "question": "What is the outbox?"}
        self.job = Retrieve(**(values | fields))
        self.key = self.job.key
        self.fence = 3
        self.prefix = self.text = ""
        self.statuses: list[str] = []
        self.marks: list[tuple[str, str, list[Source]]] = []

    def remaining_s(self) -> float:
        return 8.0

    def status(self, stage: str) -> None:
        self.statuses.append(stage)

    def retrieval(self, intent: str, route: str, sources: list[Source]) -> None:
        self.marks.append((intent, route, list(sources)))


async def ingest(store: Store, kb: str = "default", **texts: str) -> EmbeddedRetriever:
    for path, text in texts.items():
        info = DocumentInfo(path=path, title=path, digest=text, size=1, passages=1, updated_at="")
        passage = StoredPassage(id=path, title=path, text=text, start=0, end=len(text))
        await store.put_document("default", kb, info, [passage])
    retriever = EmbeddedRetriever()
    await IndexFollower(store, retriever, SystemClock()).catch_up()
    return retriever


async def closed_turn(store: Store, turn: str, question: str, answer: str) -> None:
    key = TurnKey("default", "s", turn)
    await store.claim_first(key, submission=turn, digest=turn, question=question)
    await store.close(
        Record(
            key=key,
            submission=turn,
            budget_s=1,
            base=1,
            fence=1,
            question=question,
            status=TurnStatus.COMPLETED,
            text=answer,
        )
    )


async def test_a_question_is_retrieved_and_handed_on(store: Store) -> None:
    retriever = await ingest(store, outbox="The outbox holds frames.", ladder="The ladder has rungs.")
    run = FakeRun(sampling=Sampling(max_tokens=9), context={"place": "Bern"})
    job = await RetrieveHandler(store, retriever)(run)
    assert isinstance(job, Generate)
    assert run.statuses == ["routing", "retrieving"]
    ((intent, route, sources),) = run.marks
    assert (intent, route, [source.document for source in sources]) == ("question", "knowledge_base", ["outbox"])
    assert [message.role for message in job.prompt] == ["system", "user"]
    assert "[1] outbox\nThe outbox holds frames." in job.prompt[0].content
    assert "Bern" in job.prompt[0].content
    assert job.prompt[-1].content == job.question == "What is the outbox?"
    assert job.sampling.max_tokens == 9
    assert (job.key, job.fence) == (KEY, 3)


@pytest.mark.parametrize(("engine", "everybody"), [("dify", ""), ("", "dify")])
async def test_an_engine_that_retrieves_by_itself_gets_the_question_as_it_is(
    store: Store, engine: str, everybody: str
) -> None:
    retriever = await ingest(store, a="the outbox is bounded")
    run = FakeRun(engine=engine, user="user_001", kb="there is none")
    job = await RetrieveHandler(store, retriever, Options(engine=everybody))(run)
    assert job.prompt == (ChatMessage("user", "What is the outbox?"),)
    assert (job.engine, job.user) == (engine, "user_001")
    assert run.marks == [("question", "knowledge_base", [])]


async def test_small_talk_is_not_retrieved(store: Store) -> None:
    run = FakeRun(question="你好！", kb="nowhere")
    job = await RetrieveHandler(store, EmbeddedRetriever())(run)
    assert run.statuses == ["routing"]
    assert run.marks == [("small_talk", "small_talk", [])]
    assert "small talk" in job.prompt[0].content


async def test_a_follow_up_uses_the_stored_conversation(store: Store) -> None:
    retriever = await ingest(store, outbox="The outbox has a size.", ladder="The ladder has a size too.")
    await closed_turn(store, "t1", "What is the outbox?", "A buffer.")
    run = FakeRun(question="What is its size?")
    job = await RetrieveHandler(store, retriever)(run)
    intent, _, sources = run.marks[0]
    assert intent == "follow_up"
    assert sources[0].document == "outbox"
    assert [message.content for message in job.prompt[1:]] == ["What is the outbox?", "A buffer.", "What is its size?"]
    assert job.question == "What is its size?"


async def test_the_clients_own_conversation_replaces_the_stored_one(store: Store) -> None:
    retriever = await ingest(store, outbox="The outbox has a size.", ladder="The ladder has a size too.")
    await closed_turn(store, "t1", "What is the outbox?", "A buffer.")
    messages = (
        ChatMessage("system", "be brief"),
        ChatMessage("user", "What is the ladder?"),
        ChatMessage("assistant", "Delays."),
        ChatMessage("user", "What is its size?"),
    )
    run = FakeRun(question="What is its size?", messages=messages)
    job = await RetrieveHandler(store, retriever)(run)
    assert run.marks[0][2][0].document == "ladder"
    assert list(job.prompt[1:]) == list(messages)


async def test_what_came_after_the_clients_question_stays_behind_it(store: Store) -> None:
    retriever = await ingest(store, ladder="The ladder has a size.")
    messages = (ChatMessage("user", "What is the ladder's size?"), ChatMessage("assistant", "One moment."))
    job = await RetrieveHandler(store, retriever)(FakeRun(question="What is the ladder's size?", messages=messages))
    assert list(job.prompt[1:]) == list(messages)


async def test_functions_of_the_client_go_with_the_question(store: Store) -> None:
    retriever = await ingest(store, ladder="The ladder has a size.")
    calls = (ChatMessage("assistant", "", (ToolCall("c", "f", "{}"),)), ChatMessage("tool", "3", (), "c"))
    said = (ChatMessage("user", "Hm?"), *calls, ChatMessage("user", "What is the ladder's size?"), *calls)
    run = FakeRun(question="What is the ladder's size?", messages=said, sampling=Sampling(tools=(Tool("f"),)))
    job = await RetrieveHandler(store, retriever)(run)
    assert list(job.prompt[1:]) == list(said)
    assert "functions" in job.prompt[0].content
    assert job.sampling.tools == (Tool("f"),)


async def test_no_history_when_switched_off(store: Store) -> None:
    retriever = await ingest(store, outbox="The outbox has a size.")
    await closed_turn(store, "t1", "What is the outbox?", "A buffer.")
    run = FakeRun(question="What is its size?")
    job = await RetrieveHandler(store, retriever, Options(history_turns=0))(run)
    assert run.marks[0][0] == "question"
    assert len(job.prompt) == 2


async def test_an_unknown_base_is_refused_by_name(store: Store) -> None:
    retriever = await ingest(store, kb="docs", outbox="The outbox.")
    handler = RetrieveHandler(store, retriever)
    with pytest.raises(UnknownBase, match=r"'manual'; existing ones: docs") as error:
        await handler(FakeRun(kb="manual"))
    assert not error.value.retryable
    with pytest.raises(UnknownBase, match="existing ones: docs"):
        await handler(FakeRun(kb="default"))


async def test_another_tenants_bases_are_never_named(store: Store) -> None:
    retriever = await ingest(store, kb="secret", outbox="The outbox.")
    with pytest.raises(UnknownBase) as error:
        await RetrieveHandler(store, retriever)(FakeRun(key=TurnKey("other", "s", "t"), kb="secret"))
    assert "existing" not in str(error.value)


async def test_before_anything_is_ingested_the_answer_says_how(store: Store) -> None:
    run = FakeRun()
    job = await RetrieveHandler(store, EmbeddedRetriever())(run)
    assert run.marks == [("no_documents", "knowledge_base", [])]
    assert "parley ingest PATH --kb default" in job.prompt[0].content


async def test_a_question_without_a_match_is_answered_without_passages(store: Store) -> None:
    retriever = await ingest(store, outbox="The outbox.")
    run = FakeRun(question="zebra?")
    job = await RetrieveHandler(store, retriever)(run)
    assert run.marks == [("question", "knowledge_base", [])]
    assert "do not invent" in job.prompt[0].content


@pytest.mark.parametrize(
    ("scores", "floor", "kept"),
    [([], 0.1, 0), ([0.9, 0.5, 0.3], 0.1, 2), ([0.2, 0.15, 0.09], 0.1, 2), ([0.05], 0.1, 0), ([0.05, 0.04], 0.0, 2)],
)
def test_noise_is_not_offered(scores: list[float], floor: float, kept: int) -> None:
    sources = [Source(str(i), "a", "t", score, "x", 0, 1) for i, score in enumerate(scores)]
    assert relevant(sources, floor) == sources[:kept]


class Away:
    async def search(self, tenant: str, kb: str, query: Query, limit: int) -> list[Source]:
        raise Unavailable("the index cannot be reached")


async def test_an_index_that_is_away_is_tried_again(store: Store) -> None:
    with pytest.raises(Unavailable) as error:
        await RetrieveHandler(store, Away())(FakeRun())
    assert error.value.retryable


@pytest.mark.parametrize(
    ("roles", "expected"),
    [
        ("", []),
        ("u", [("0", "")]),
        ("ua", [("0", "1")]),
        ("suau", [("1", "2"), ("3", "")]),
        ("uua", [("0", ""), ("1", "2")]),
        ("aau", [("2", "")]),
    ],
)
def test_exchanges(roles: str, expected: list[tuple[str, str]]) -> None:
    names = {"u": "user", "a": "assistant", "s": "system"}
    messages = [ChatMessage(names[role], str(i)) for i, role in enumerate(roles)]
    assert exchanges(messages) == [Exchange("", question, answer) for question, answer in expected]


async def test_the_handlers_own_work_is_well_below_a_millisecond(store: Store) -> None:
    retriever = await ingest(store, outbox="The outbox holds frames.")

    class Nothing:
        async def conversation(self, tenant: str, session: str, *, limit: int) -> list[Exchange]:
            return [Exchange("t", "What is a rung?", "A delay. " * 50)] * limit

    handler = RetrieveHandler(Nothing(), retriever)
    taken = []
    for _ in range(200):
        begun = time.perf_counter()
        await handler(FakeRun())
        taken.append(time.perf_counter() - begun)
    assert sorted(taken)[100] < 0.001


async def test_through_the_worker_loop(tmp_path: Path) -> None:
    from parley_testkit.house import KEY as TURN
    from parley_testkit.house import open_house, question
    from parley_testkit.turns import JobTap

    async with open_house(tmp_path) as house:
        retriever = await ingest(house.store, outbox="The outbox holds frames.")
        spec = StageSpec(Stage.RETRIEVE, Retrieve, 4, RetrieveHandler(house.store, retriever), first=True)
        await house.worker(spec)
        tap = await JobTap.open(house.broker.process("tap"), Stage.GENERATE)
        await house.gateway.publish(question(question="What is the outbox?"))
        await tap.until(lambda: len(tap.jobs) == 1)
        await house.gateway.until(lambda: len(house.gateway.of(TURN, Retrieval)) == 1)
        assert [event.stage for event in house.gateway.of(TURN, Status)] == ["routing", "retrieving"]
        assert tap.jobs[0].marks.retrieval.sources[0].document == "outbox"
        assert not house.gateway.of(TURN, Terminal)
