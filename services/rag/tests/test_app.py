"""The whole rag process on a real store and the in-memory broker: built, ready, at work, drained."""

import asyncio
from pathlib import Path

import pytest

from parley_protocol import codec
from parley_protocol.events import Terminal, TurnStatus
from parley_protocol.ids import TurnKey
from parley_protocol.routes import WORK, Stage, topology
from parley_protocol.work import KnowledgeReply, PutDocument, Record, Retrieve
from parley_rag.app import RagService, assemble
from parley_rag.config import RagSettings
from parley_runtime import config
from parley_runtime.errors import ConfigError
from parley_runtime.lifecycle import serve
from parley_runtime.ports import Broker, Message
from parley_runtime.process import Process
from parley_runtime.settings import CommonSettings
from parley_runtime.store import open_store
from parley_runtime.worker import job_message
from parley_testkit.memory import MemoryBroker
from parley_testkit.turns import FakeGateway, JobTap

pytestmark = pytest.mark.unit
KEY = TurnKey("default", "s", "t")


async def test_from_document_to_stored_turn(tmp_path: Path) -> None:
    store = await open_store(f"sqlite+aiosqlite:///{tmp_path / 'p.db'}")
    broker = MemoryBroker(topology())
    gateway = await FakeGateway.open(broker.process("gw"), "gw")
    tap = await JobTap.open(broker.process("tap"), Stage.GENERATE)
    settings = RagSettings()
    process = Process("rag", CommonSettings())
    rag: Broker = broker.process("rag")

    def build(_: Process, __: RagSettings) -> object:
        return assemble(process, settings, store=store, broker=rag)

    running = asyncio.create_task(serve("rag", settings, build, process=process, signals=False))
    async with asyncio.timeout(30):
        await process.started.wait()
    assert process.ready(), process.reasons()
    consumers = {"worker", "knowledge", "recorder", "parker", "notifier", "review", "assess"}
    assert set(process.reasons()) == {"process", "index"} | consumers
    assert process.presence().seats == settings.seats

    link = await broker.process("gw").open("publish")
    put = PutDocument(
        call="c",
        reply_to="gw",
        tenant="default",
        kb="default",
        path="a.md",
        data="# 水泵\n\n红色按钮启动水泵。".encode(),
    )
    await link.publish(WORK, Stage.KNOWLEDGE, Message(codec.pack(put)))
    await gateway.until(lambda: len(gateway.replies) == 1)
    assert codec.unpack(gateway.replies[0].body, KnowledgeReply).documents[0].outcome == "created"

    ask = Retrieve(key=KEY, submission="s1", digest="d", budget_s=20, reply_to=("gw",), question="水泵怎么启动？")
    await link.publish(WORK, Stage.RETRIEVE, job_message(ask))
    job = await tap.next()
    assert job.marks.retrieval.sources[0].text == "红色按钮启动水泵。"

    record = Record(
        key=KEY, submission="s1", budget_s=9, base=job.base, fence=job.fence, n=job.n, reply_to=("gw",),
        status=TurnStatus.COMPLETED, text="按红色按钮。",
    )  # fmt: skip
    await link.publish(WORK, Stage.RECORD, job_message(record))
    await gateway.until(lambda: len(gateway.of(KEY, Terminal)) == 1)
    assert [one.answer for one in await store.conversation("default", "s", limit=5)] == ["按红色按钮。"]

    process.stop("test")
    async with asyncio.timeout(30):
        assert await running == 0
    assert await link.depth("parley.retrieve") == (0, 0)
    await broker.close()
    await store.aclose()


class Part:
    """Notes how long it was given to drain, and uses ``takes`` seconds of ``clock``."""

    def __init__(self, clock: "HandClock", takes: float) -> None:
        self.given = -1.0
        self._clock, self._takes = clock, takes

    def check(self) -> str | None:
        return None

    async def drain(self, deadline_s: float) -> None:
        self.given = deadline_s
        self._clock.now += self._takes

    async def aclose(self) -> None:
        return None


class HandClock:
    now = 0.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now


async def test_a_drain_leaves_time_to_hand_over_and_to_record() -> None:
    clock = HandClock()
    worker, recorder = Part(clock, 22.0), Part(clock, 0.0)
    await RagService((worker,), (recorder,), clock, hand_over_s=5.0).drain(25.0)
    assert (worker.given, recorder.given) == (20.0, 3.0)
    await RagService((worker,), (recorder,), clock, hand_over_s=5.0).drain(2.0)
    assert (worker.given, recorder.given) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("name", "value"),
    [("PARLEY_PASSAGES", "0"), ("PARLEY_INDEX_POLL_S", "0"), ("PARLEY_MAX_DOCUMENT", "x"), ("PARLEY_READ_MEMORY", "1")],
)
def test_settings_out_of_range(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=name):
        config.read(RagSettings, {name: value})


def test_every_setting_is_documented() -> None:
    rows = config.describe(RagSettings)
    assert all(setting.help for setting, _, _ in rows)
    keys = [setting.env for setting, _, _ in rows]
    assert len(keys) == len(set(keys))
