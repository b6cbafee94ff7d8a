"""Knowledge commands over the in-memory broker: one reply each, twice the same result, clear refusals."""

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from parley_protocol import codec
from parley_protocol.events import Fault
from parley_protocol.routes import DEAD_QUEUE, WORK, Stage, topology
from parley_protocol.work import (
    DeadInfo,
    DeleteDocument,
    DropDead,
    KnowledgeReply,
    ListDead,
    ListDocuments,
    PutDocument,
    SearchPassages,
)
from parley_rag.documents import Limits
from parley_rag.knowledge import KnowledgeDesk, KnowledgeService
from parley_rag.reader import Bounds, DocumentReader
from parley_rag.retrieval import EmbeddedRetriever, IndexFollower
from parley_runtime.clock import SystemClock
from parley_runtime.errors import Unavailable
from parley_runtime.ports import Message
from parley_runtime.store import open_store
from parley_runtime.store.ports import Store
from parley_runtime.telemetry import names
from parley_runtime.telemetry.metrics import value
from parley_testkit.memory import MemoryBroker
from parley_testkit.turns import FakeGateway, JobTap

pytestmark = pytest.mark.unit


class Bench:
    """A knowledge service, a gateway that asks, and the store behind."""

    def __init__(self, store: Store, broker: MemoryBroker, gateway: FakeGateway, service: KnowledgeService) -> None:
        self.store, self.broker, self.gateway, self.service = store, broker, gateway, service
        self._calls = 0

    async def ask(self, kind: type, *, times: int = 1, reply_to: str = "gw", **fields: Any) -> KnowledgeReply | Fault:
        self._calls += 1
        call = f"c{self._calls}"
        command = kind(call=call, reply_to=reply_to, **({"tenant": "t"} | fields))
        await self.send(codec.pack(command), times)
        await self.gateway.until(lambda: sum(reply.call == call for reply in self.gateway.replies) == times, limit_s=60)
        reply = next(reply for reply in reversed(self.gateway.replies) if reply.call == call)
        return reply.fault or codec.unpack(reply.body, KnowledgeReply)

    async def send(self, body: bytes, times: int = 1) -> None:
        link = await self.broker.process("gw").open("publish")
        for _ in range(times):
            await link.publish(WORK, Stage.KNOWLEDGE, Message(body))

    async def put(self, path: str, data: bytes, kb: str = "kb", **fields: Any) -> KnowledgeReply | Fault:
        return await self.ask(PutDocument, kb=kb, path=path, data=data, **fields)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    store = await open_store(f"sqlite+aiosqlite:///{tmp_path / 'p.db'}")
    broker = MemoryBroker(topology())
    gateway = await FakeGateway.open(broker.process("gw"), "gw")
    retriever = EmbeddedRetriever()
    follower = IndexFollower(store, retriever, SystemClock())
    desk = KnowledgeDesk(store, retriever, follower, DocumentReader(Limits(document=1_000_000), Bounds()))
    service = KnowledgeService(desk, await broker.process("rag").open("publish"))
    await service.start(broker.process("rag"))
    assert service.check() is None
    yield Bench(store, broker, gateway, service)
    await service.aclose()
    await gateway.close()
    await broker.close()
    await store.aclose()


async def test_put_search_list_delete(bench: Bench) -> None:
    data = b"# Pumps\n\nThe red lever starts the pump."
    reply = await bench.put("a.md", data)
    (info,) = reply.documents
    assert (info.path, info.title, info.size, info.passages, info.outcome) == ("a.md", "Pumps", len(data), 1, "created")
    assert info.digest == hashlib.sha256(data).hexdigest()
    found = await bench.ask(SearchPassages, kb="kb", query="red lever")
    assert [(source.document, source.text) for source in found.sources] == [("a.md", "The red lever starts the pump.")]
    listed = await bench.ask(ListDocuments, kb="kb")
    assert [document.path for document in listed.documents] == ["a.md"]
    bases = await bench.ask(ListDocuments)
    assert [(base.name, base.documents, base.passages) for base in bases.bases] == [("kb", 1, 1)]
    removed = await bench.ask(DeleteDocument, kb="kb", path="a.md")
    assert removed.removed == 1
    again = await bench.ask(DeleteDocument, kb="kb", path="a.md")
    assert again == KnowledgeReply(removed=0)
    gone = await bench.ask(SearchPassages, kb="kb", query="red lever")
    assert gone.code == "unknown_kb"


async def test_the_same_content_is_unchanged_and_new_content_replaces(bench: Bench) -> None:
    await bench.put("a.md", b"the old pump")
    before = value(names.INGESTED, "unchanged")
    assert (await bench.put("a.md", b"the old pump")).documents[0].outcome == "unchanged"
    assert value(names.INGESTED, "unchanged") == before + 1
    assert (await bench.put("a.md", b"the new turbine")).documents[0].outcome == "replaced"
    assert (await bench.ask(SearchPassages, kb="kb", query="pump")).sources == ()
    assert len((await bench.ask(SearchPassages, kb="kb", query="turbine")).sources) == 1


async def test_redelivery_gives_the_same_result_and_a_reply_each(bench: Bench) -> None:
    reply = await bench.ask(PutDocument, times=3, kb="kb", path="a.md", data=b"one pump")
    assert reply.documents[0].outcome in {"created", "unchanged"}
    assert len(await bench.store.documents("t", "kb")) == 1
    assert len((await bench.ask(SearchPassages, kb="kb", query="pump")).sources) == 1


async def test_tenants_are_apart(bench: Bench) -> None:
    await bench.put("a.md", b"one pump", tenant="t1")
    assert (await bench.ask(ListDocuments, tenant="t2")).bases == ()
    assert (await bench.ask(SearchPassages, tenant="t2", kb="kb", query="pump")).code == "unknown_kb"
    assert (await bench.ask(DeleteDocument, tenant="t2", kb="kb", path="")).removed == 0
    assert len((await bench.ask(SearchPassages, tenant="t1", kb="kb", query="pump")).sources) == 1


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"path": "a.md", "data": b""}, "empty"),
        ({"path": "a.md", "data": b"\x89PNG\0\0"}, "binary data"),
        ({"path": "a.pdf", "data": b"%PDF-1.4 rubbish"}, "damaged"),
        ({"path": "a.md", "data": b"x" * 1_000_001}, "PARLEY_MAX_DOCUMENT"),
        ({"path": "", "data": b"x"}, "path"),
        ({"path": "a\nb", "data": b"x"}, "path"),
        ({"path": "x" * 1_025, "data": b"x"}, "path"),
        ({"path": "a.md", "data": b"x", "kb": ""}, "name"),
        ({"path": "a.md", "data": b"x", "kb": "a/b"}, "name"),
        ({"path": "a.md", "data": b"x", "kb": " a"}, "name"),
        ({"path": "a.md", "data": b"x", "kb": "k" * 65}, "name"),
    ],
)
async def test_refusals(bench: Bench, fields: dict[str, Any], words: str) -> None:
    before = value(names.INGESTED, "refused")
    fault = await bench.put(**fields)
    assert (fault.code, fault.retryable) == ("invalid", False)
    assert words in fault.message
    assert value(names.INGESTED, "refused") == before + 1
    assert await bench.store.bases("t") == []


async def test_an_unknown_base_names_the_others(bench: Bench) -> None:
    await bench.put("a.md", b"one pump", kb="docs")
    for kind, fields in ((SearchPassages, {"query": "x"}), (ListDocuments, {})):
        fault = await bench.ask(kind, kb="nope", **fields)
        assert fault.code == "unknown_kb"
        assert "existing ones: docs" in fault.message


async def test_limits_are_bounded(bench: Bench) -> None:
    await bench.put("a.md", b"\n\n".join(b"# H%d\n\npump" % i for i in range(80)))
    for limit, count in ((-5, 1), (3, 3), (10_000, 50)):
        assert len((await bench.ask(SearchPassages, kb="kb", query="pump", limit=limit)).sources) == count


async def test_dead_letters_are_listed(bench: Bench) -> None:
    dead = DeadInfo(id="d1", queue="parley.generate", reason="rejected", cause="x", parked_at="now", body=b"body")
    await bench.store.park(dead)
    (listed,) = (await bench.ask(ListDead)).dead
    assert (listed.id, listed.body) == ("d1", b"")
    assert (await bench.ask(ListDead, id="d1")).dead[0].body == b"body"


async def test_a_store_that_is_away_is_a_retryable_fault(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: object) -> None:
        raise Unavailable("the store cannot be reached")

    monkeypatch.setattr(bench.store, "bases", away)
    fault = await bench.ask(ListDocuments)
    assert (fault.code, fault.retryable) == ("unavailable", True)


async def test_a_defect_shows_nothing_of_itself(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(bench.store, "bases", broken)
    fault = await bench.ask(ListDocuments)
    assert "secret" not in fault.message


async def test_what_cannot_be_decoded_is_dead_lettered(bench: Bench) -> None:
    tap = await JobTap.open(bench.broker.process("tap"), DEAD_QUEUE)
    await bench.send(b"\xc1rubbish")
    delivery = await tap.delivery()
    assert delivery.body == b"\xc1rubbish"
    assert delivery.death == ("rejected", "parley.knowledge")


async def test_a_reply_nobody_takes_is_counted_and_the_next_command_served(bench: Bench) -> None:
    before = value(names.EVENTS_DROPPED, "reply")
    await bench.send(codec.pack(ListDocuments(call="x", reply_to="gone", tenant="t")))
    assert isinstance(await bench.ask(ListDocuments), KnowledgeReply)
    await bench.service.drain(5.0)  # both are done, in either order
    assert value(names.EVENTS_DROPPED, "reply") == before + 1


async def test_drain_takes_nothing_more(bench: Bench) -> None:
    await bench.service.drain(1.0)
    assert bench.service.check() is not None
    await bench.send(codec.pack(ListDocuments(call="late", reply_to="gw", tenant="t")))
    link = await bench.broker.process("gw").open("look")
    assert await link.depth("parley.knowledge") == (1, 0)


async def test_dead_letters_are_paged_and_dropped(bench: Bench) -> None:
    for i in range(3):
        await bench.store.park(DeadInfo(id=str(i), queue="q", reason="r", cause="c", parked_at="", body=b"b"))
    page = await bench.ask(ListDead, limit=10, before="2")
    assert isinstance(page, KnowledgeReply)
    assert [one.id for one in page.dead] == ["1", "0"]
    assert await bench.ask(DropDead, id="1") == KnowledgeReply(removed=1)
    assert await bench.ask(DropDead, id="1") == KnowledgeReply(removed=0)
    assert [one.id for one in await bench.store.dead()] == ["2", "0"]
