"""Retrieval ahead of its question: used where a search would find the same, and nowhere else."""

import contextlib
import json
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from parley_protocol import codec
from parley_protocol.events import Source, TurnStatus
from parley_protocol.ids import TurnKey
from parley_protocol.routes import WORK, Stage, topology
from parley_protocol.work import (
    ChatMessage,
    DocumentInfo,
    Early,
    Foreseen,
    Generate,
    KnowledgeReply,
    Record,
    Retrieve,
    SearchPassages,
)
from parley_rag.documents import Limits
from parley_rag.finding import Options
from parley_rag.handler import RetrieveHandler
from parley_rag.knowledge import KnowledgeDesk, KnowledgeService
from parley_rag.reader import Bounds, DocumentReader
from parley_rag.retrieval import EmbeddedRetriever, IndexFollower, Query, follower
from parley_runtime.clock import SystemClock
from parley_runtime.errors import Unavailable
from parley_runtime.ports import Message
from parley_runtime.settings import CommonSettings
from parley_runtime.store import open_store
from parley_runtime.store.ports import Change, Store, StoredPassage
from parley_runtime.telemetry import names, tracing
from parley_runtime.telemetry.metrics import value
from parley_testkit.memory import MemoryBroker
from parley_testkit.turns import FakeGateway

pytestmark = pytest.mark.unit
QUESTION = "What is the outbox?"


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await open_store(f"sqlite+aiosqlite:///{tmp_path / 'p.db'}")
    yield opened
    await opened.aclose()


class Run:
    """Records what a handler says."""

    def __init__(self, job: Retrieve) -> None:
        self.job = job
        self.key = job.key
        self.fence = 1
        self.prefix = self.text = ""
        self.statuses: list[str] = []
        self.found: list[Source] = []

    def remaining_s(self) -> float:
        return 8.0

    def status(self, stage: str) -> None:
        self.statuses.append(stage)

    def retrieval(self, intent: str, route: str, sources: Any) -> None:
        self.found = list(sources)


class Counted(EmbeddedRetriever):
    """Counts searches."""

    searches = 0

    async def search(self, tenant: str, kb: str, query: Query, limit: int) -> list[Source]:
        self.searches += 1
        return await super().search(tenant, kb, query, limit)


class Process:
    """A rag process, as far as questions are concerned."""

    def __init__(self, store: Store, options: Options | None = None, *, told: bool = True) -> None:
        self.store = store
        self.retriever = Counted()
        self.follower = IndexFollower(store, self.retriever, SystemClock())
        positions = self.follower if told else None
        self.handler = RetrieveHandler(store, self.retriever, options, None, positions)
        reader = DocumentReader(Limits(document=1_000_000), Bounds())
        self.desk = KnowledgeDesk(store, self.retriever, self.follower, reader, finder=self.handler.finder)

    async def ahead(self, question: str = QUESTION, messages: tuple[ChatMessage, ...] = (), kb: str = "kb") -> Any:
        command = SearchPassages(
            call="c", reply_to="gw", tenant="t", kb=kb, query=question, foreseen=Foreseen("s", messages)
        )
        reply = await self.desk.carry_out(command)
        assert not reply.sources
        return reply.early

    async def ask(
        self, early: Early | None = None, question: str = QUESTION, messages: tuple[ChatMessage, ...] = ()
    ) -> tuple[Run, Generate, int]:
        """The run, the job handed on, and how many searches it took."""
        before = self.retriever.searches
        job = Retrieve(
            key=TurnKey("t", "s", "now"),
            submission="x",
            budget_s=9.0,
            digest="d",
            question=question,
            kb="kb",
            messages=messages,
            early=early,
        )
        run = Run(job)
        handed = await self.handler(run)
        return run, handed, self.retriever.searches - before


async def put(store: Store, path: str, text: str, kb: str = "kb") -> None:
    info = DocumentInfo(path=path, title=path, digest=f"{path}{text}", size=1, passages=1, updated_at="")
    await store.put_document("t", kb, info, [StoredPassage(id=path, title=path, text=text, start=0, end=len(text))])


async def closed_turn(store: Store, turn: str, question: str, answer: str) -> None:
    key = TurnKey("t", "s", turn)
    await store.claim_first(key, submission=turn, digest=turn, question=question)
    status = TurnStatus.COMPLETED
    await store.close(
        Record(key=key, submission=turn, budget_s=1, base=1, fence=1, question=question, status=status, text=answer)
    )


@pytest.fixture
async def process(store: Store) -> Process:
    for path, text in {
        "outbox": "The outbox holds frames and has a size.",
        "ladder": "The ladder has rungs and has a size, too.",
        "noise": "The frames of a window are made of wood.",
    }.items():
        await put(store, path, text)
    made = Process(store)
    await made.follower.catch_up()
    return made


def outcomes() -> dict[str, float]:
    return {outcome: value(names.EARLY, outcome) for outcome in ("used", "stale")}


async def test_what_was_found_early_is_used_and_changes_nothing(process: Process) -> None:
    plain, plain_job, searches = await process.ask()
    assert searches == 1
    assert plain.found
    early = await process.ahead()
    before = outcomes()
    run, job, searches = await process.ask(early)
    assert searches == 0
    assert outcomes() == {"used": before["used"] + 1, "stale": before["stale"]}
    assert (run.found, run.statuses, job.prompt) == (plain.found, plain.statuses, plain_job.prompt)


async def test_a_turn_without_it_counts_nothing(process: Process) -> None:
    before = outcomes()
    await process.ask()
    assert outcomes() == before


@pytest.mark.parametrize("change", ["deleted", "replaced", "added", "base gone and back"])
async def test_a_base_that_changed_is_searched_anew(process: Process, change: str) -> None:
    early = await process.ahead()
    assert "outbox" in [source.document for source in early.sources]
    if change == "added":
        await put(process.store, "another", "An outbox is an outbox.")
    elif change == "replaced":
        await put(process.store, "outbox", "The outbox was renamed to outgoing.")
    else:
        await process.store.delete_document("t", "kb", "outbox" if change == "deleted" else "")
    if change == "base gone and back":
        await put(process.store, "ladder", "The ladder leads to the outbox.")
    await process.follower.catch_up()
    before = outcomes()
    run, _, searches = await process.ask(early)
    assert searches == 1
    assert outcomes()["stale"] == before["stale"] + 1
    fresh = Process(process.store)
    await fresh.follower.catch_up()
    expected, _, _ = await fresh.ask()
    assert run.found == expected.found
    if change == "deleted":
        assert "outbox" not in [source.document for source in run.found]


async def test_a_change_of_another_base_does_not_matter(process: Process) -> None:
    early = await process.ahead()
    await put(process.store, "outbox", "Another outbox.", kb="other")
    await process.follower.catch_up()
    _, _, searches = await process.ask(early)
    assert searches == 0


async def test_it_is_for_these_words_alone(process: Process) -> None:
    early = await process.ahead("What is the ladder?")
    run, _, searches = await process.ask(early)
    assert searches == 1
    assert run.found[0].document == "outbox"
    _, _, searches = await process.ask(await process.ahead(kb="other"))
    assert searches == 1


async def test_a_turn_that_came_between_changes_what_a_follow_up_means(process: Process) -> None:
    await closed_turn(process.store, "t1", "What is the ladder?", "Rungs.")
    early = await process.ahead("What is its size?")
    assert early.sources[0].document == "ladder"
    same, _, searches = await process.ask(early, "What is its size?")
    assert (searches, same.found[0].document) == (0, "ladder")
    await closed_turn(process.store, "t2", QUESTION, "A buffer.")
    run, _, searches = await process.ask(early, "What is its size?")
    assert (searches, run.found[0].document) == (1, "outbox")


async def test_a_clients_own_conversation_counts_as_it_does_for_the_turn(process: Process) -> None:
    said = (ChatMessage("user", "What is the ladder?"), ChatMessage("assistant", "Rungs."))
    messages = (*said, ChatMessage("user", "What is its size?"))
    early = await process.ahead("What is its size?", messages)
    assert early.sources[0].document == "ladder"
    _, _, searches = await process.ask(early, "What is its size?", messages)
    assert searches == 0
    _, _, searches = await process.ask(early, "What is its size?")
    assert searches == 1


async def test_another_process_uses_it_where_it_holds_the_same(process: Process) -> None:
    there = Process(process.store)
    await there.follower.catch_up()
    early = await process.ahead()
    _, _, searches = await there.ask(early)
    assert searches == 0
    await process.store.delete_document("t", "kb", "ladder")
    await process.follower.catch_up()
    _, _, searches = await there.ask(await process.ahead())  # it has not heard of that
    assert searches == 1


@pytest.mark.parametrize("question", ["hello", "谢谢"])
async def test_nothing_is_found_where_the_turn_would_not_search(process: Process, question: str) -> None:
    searches = process.retriever.searches
    assert await process.ahead(question) is None
    assert process.retriever.searches == searches


async def test_an_engine_that_retrieves_by_itself_has_nothing_found_for_it(store: Store) -> None:
    process = Process(store, Options(engine="dify"))
    await process.follower.catch_up()
    assert await process.ahead() is None


async def test_a_retriever_of_unknown_state_is_searched_when_the_question_comes(process: Process) -> None:
    early = await process.ahead()
    mute = Process(process.store, told=False)
    await mute.follower.catch_up()
    assert await mute.ahead() is None
    _, _, searches = await mute.ask(early)
    assert searches == 1


async def test_another_number_of_passages_is_another_search(process: Process) -> None:
    early = await process.ahead()
    narrow = Process(process.store, Options(passages=1))
    await narrow.follower.catch_up()
    run, _, searches = await narrow.ask(early)
    assert (searches, len(run.found)) == (1, 1)
    strict = Process(process.store, Options(min_score=0.99))
    await strict.follower.catch_up()
    run, _, searches = await strict.ask(early)
    assert (searches, run.found) == (0, (await strict.ask())[0].found)


async def test_a_gateway_is_answered_within_the_trace_that_it_names(process: Process, tmp_path: Path) -> None:
    broker = MemoryBroker(topology())
    gateway = await FakeGateway.open(broker.process("gw"), "gw")
    service = KnowledgeService(process.desk, await broker.process("rag").open("publish"))
    await service.start(broker.process("rag"))
    command = SearchPassages(call="c", reply_to="gw", tenant="t", kb="kb", query=QUESTION, foreseen=Foreseen("s"))
    trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    tracing.setup("rag", "rag-1", CommonSettings(trace_file=str(tmp_path / "spans.jsonl")))
    try:
        link = await broker.process("gw").open("publish")
        headers = {"traceparent": f"00-{trace}-{parent}-01"}
        await link.publish(WORK, Stage.KNOWLEDGE, Message(codec.pack(command), headers))
        await gateway.until(lambda: len(gateway.replies) == 1)
    finally:
        await service.drain(5)
        await tracing.shutdown(1.0)
        await service.aclose()
        await gateway.close()
        await broker.close()
    reply = codec.unpack(gateway.replies[0].body, KnowledgeReply)
    assert reply == KnowledgeReply(early=await process.ahead())
    spans = {span["name"]: span for span in map(json.loads, (tmp_path / "spans.jsonl").read_text().splitlines())}
    taken, search = spans["process knowledge"], spans["retrieval kb"]
    assert (taken["trace_id"], taken["parent_id"]) == (trace, parent)
    assert (search["trace_id"], search["parent_id"]) == (trace, taken["span_id"])


class Torn:
    """A store that is away after so many pages of the log."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.pages = 1_000

    async def changes(self, after: int, *, limit: int) -> list[Change]:
        if not self.pages:
            raise Unavailable("away")
        self.pages -= 1
        return await self._store.changes(after, limit=limit)

    async def forgotten(self) -> int:
        return await self._store.forgotten()


async def test_there_is_no_position_in_mid_change(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follower, "PAGE", 2)
    torn = Torn(store)
    here = IndexFollower(torn, EmbeddedRetriever(), SystemClock())
    assert here.position("t", "kb") is None
    await put(store, "a", "pump")
    await here.catch_up()
    level = here.position("t", "kb")
    assert level is not None
    assert here.position("t", "other") != level
    torn.pages = 0
    with pytest.raises(Unavailable):
        await here.catch_up()
    assert here.position("t", "kb") == level  # it holds what it held
    for path in "bcde":
        await put(store, path, "pump")
    torn.pages = 1
    with pytest.raises(Unavailable):
        await here.catch_up()
    assert here.position("t", "kb") is None
    torn.pages = 1_000
    await here.catch_up()
    assert (here.position("t", "kb") or 0) > level


class Held:
    """What a process holds, by base."""

    def __init__(self, store: Store) -> None:
        self.torn = Torn(store)
        self.retriever = EmbeddedRetriever()
        self.follower = IndexFollower(self.torn, self.retriever, SystemClock())

    async def contents(self, kb: str) -> list[tuple[str, str]]:
        found = await self.retriever.search("t", kb, Query("pump"), 100)
        return sorted((source.document, source.text) for source in found)


@pytest.mark.parametrize("seed", range(4))
async def test_the_same_position_means_the_same_contents(
    store: Store, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Processes that start at any time, fall behind, and break off anywhere in the log; removals that are forgotten."""
    monkeypatch.setattr(follower, "PAGE", 1)
    rng = random.Random(seed)
    processes = [Held(store)]
    seen: dict[tuple[str, int], list[tuple[str, str]]] = {}
    told = again = 0
    for step in range(150):
        kb, path = rng.choice(["one", "two"]), rng.choice("ab")
        act = rng.choice(["put", "put", "delete", "forget", "start"])
        if act == "put":
            await put(store, path, f"pump {step}", kb)
        elif act == "delete":
            await store.delete_document("t", kb, path)
        elif act == "forget":
            await store.forget_removed(-1, limit=1)
        elif act == "start" and len(processes) < 5:
            processes.append(Held(store))
        for process in rng.sample(processes, rng.choice([0, 1, min(2, len(processes))])):
            process.torn.pages = rng.choice([1, 2, 1_000])
            with contextlib.suppress(Unavailable):
                await process.follower.catch_up()
            for base in ("one", "two"):
                at = process.follower.position("t", base)
                if at is not None:
                    holds = await process.contents(base)
                    told += 1
                    again += (base, at) in seen
                    assert seen.setdefault((base, at), holds) == holds, (seed, step)
    assert told > 50
    assert again > 20
