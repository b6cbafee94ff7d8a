"""Puts the rag process together: store, index, retrieval stage, knowledge commands, reviews, recorder, parker,
notifier, sweepers.
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Protocol

from parley_protocol.control import Audience, EngineInfo
from parley_protocol.routes import Stage, topology
from parley_protocol.work import Retrieve
from parley_rag.config import RagSettings
from parley_rag.data.desk import DataDesk
from parley_rag.documents import Limits
from parley_rag.finding import Options
from parley_rag.handler import RetrieveHandler
from parley_rag.knowledge import KnowledgeDesk, KnowledgeService
from parley_rag.notifier import Notifier
from parley_rag.parker import Parker
from parley_rag.reader import Bounds, DocumentReader
from parley_rag.recorder import Recorder
from parley_rag.retention import Retention
from parley_rag.retrieval import EmbeddedRetriever, IndexFollower
from parley_rag.review.app import Reviews, open_reviews
from parley_rag.sweeper import Sweeper
from parley_runtime.amqp import AmqpBroker
from parley_runtime.control import ControlPlane
from parley_runtime.lifecycle import Drainable, Process
from parley_runtime.ports import Broker, Clock
from parley_runtime.process import Figures
from parley_runtime.stage import StageSpec
from parley_runtime.store import open_store
from parley_runtime.store.ports import Store
from parley_runtime.worker import Worker, open_worker


class Part(Protocol):
    """A consumer of one queue beside the stages."""

    def check(self) -> str | None: ...
    async def drain(self, deadline_s: float) -> None: ...
    async def aclose(self) -> None: ...


class RagService:
    """What is drained: all consumers at once, but the recorder, which other workers still wait for, goes last.

    ``hand_over_s``: kept back for what the worker does at its deadline, and for the recorder after that.
    """

    def __init__(
        self, first: Sequence[Worker | Part], last: Sequence[Part], clock: Clock, *, hand_over_s: float = 0.0
    ) -> None:
        self._first = first
        self._last = last
        self._clock = clock
        self._hand_over_s = hand_over_s

    async def drain(self, deadline_s: float) -> None:
        """Within ``deadline_s`` for all of them together."""
        end = self._clock.monotonic() + deadline_s
        for parts, kept_back in ((self._first, self._hand_over_s), (self._last, 0.0)):
            left = max(0.0, end - self._clock.monotonic() - kept_back)
            async with asyncio.TaskGroup() as group:
                for part in parts:
                    group.create_task(part.drain(left))


@asynccontextmanager
async def build(process: Process, settings: RagSettings) -> AsyncIterator[Drainable]:
    """The service on a real broker and store. Raises ConfigError or Unavailable."""
    common = settings.common
    store = await open_store(common.store_url, settings.store)
    broker = AmqpBroker(
        common.amqp_url, name=process.id, topology=topology(common.admission), heartbeat_s=common.heartbeat_s
    )
    async with AsyncExitStack() as stack:
        stack.push_async_callback(store.aclose)
        stack.push_async_callback(broker.close)
        yield await stack.enter_async_context(assemble(process, settings, store=store, broker=broker))


@asynccontextmanager
async def assemble(
    process: Process, settings: RagSettings, *, store: Store, broker: Broker
) -> AsyncIterator[Drainable]:
    """The service on a given store and broker, which stay open. Yields once it is consuming and its index is level
    with the store.
    """
    declared = topology(settings.common.admission)
    retriever, follower = await _index(process, store, settings)
    async with AsyncExitStack() as stack:
        _background(process, stack, "index follower", follower.run())
        control = await ControlPlane.open(
            broker, process_id=process.id, audience=Audience.WORKERS, presence=process.presence
        )
        stack.push_async_callback(control.aclose)
        data = DataDesk(store.readings, settings.data, process.clock.wall)
        handler = RetrieveHandler(store, retriever, _options(settings), data, follower)
        stage = StageSpec(Stage.RETRIEVE, Retrieve, settings.seats, handler, first=True)
        worker = await stack.enter_async_context(
            open_worker(
                (stage,),
                broker=broker,
                store=store,
                control=control,
                topology=declared,
                options=settings.worker,
                clock=process.clock,
            )
        )
        process.checks.add("worker", worker.check)
        process.add_figures(lambda: Figures(worker.seats, worker.busy, latencies=worker.latencies))
        reader = _reader(settings)
        desk = KnowledgeDesk(store, retriever, follower, reader, data, handler.finder)
        knowledge = KnowledgeService(desk, worker.link, declared)
        recorder = Recorder(broker, store, worker.sink, settings.intake)
        reviews = open_reviews(
            process,
            stack,
            settings,
            broker=broker,
            store=store,
            control=control,
            link=worker.link,
            found=(retriever, follower, reader),
        )
        parker = Parker(broker, store, worker.link, worker.delivered, settings.intake, reviews=reviews.endings.dead)
        notifier = Notifier(broker, worker.link, settings.notifier, declared=declared)
        await _consume(process, stack, broker, knowledge=knowledge, recorder=recorder, parker=parker, notifier=notifier)
        for name, part in reviews.consumers.items():
            process.checks.add(name, part.check)
            stack.push_async_callback(part.aclose)
            await part.start()
        _sweep(process, stack, settings, store=store, worker=worker, reviews=reviews)
        hand_over_s = settings.worker.hand_over_s
        first: tuple[Worker | Part, ...] = (worker, knowledge, notifier, *reviews.consumers.values())
        yield RagService(first, (recorder, parker), process.clock, hand_over_s=hand_over_s)


async def _index(process: Process, store: Store, settings: RagSettings) -> tuple[EmbeddedRetriever, IndexFollower]:
    """An index that is level with the store, and what keeps it so."""
    retriever = EmbeddedRetriever()
    process.engines.append(EngineInfo("retrieve", "embedded", "the default: needs no server", "BM25F with proximity"))
    follower = IndexFollower(store, retriever, process.clock, poll_s=settings.poll_s)
    await follower.catch_up()
    process.checks.add("index", follower.problem)
    return retriever, follower


def _sweep(
    process: Process, stack: AsyncExitStack, settings: RagSettings, *, store: Store, worker: Worker, reviews: Reviews
) -> None:
    """What looks from time to time for what was lost, or is too old."""
    sweeper = Sweeper(store, worker.link, worker.delivered, process.clock, settings.sweeper)
    _background(process, stack, "sweeper", sweeper.run())
    _background(process, stack, "review sweeper", reviews.sweeper.run())
    _background(process, stack, "retention", Retention(store, settings.retention).run())


def _background(process: Process, stack: AsyncExitStack, name: str, work: Coroutine[Any, Any, None]) -> None:
    """Run ``work`` until the stack unwinds: it must not outlive the store and the links it uses."""
    task = process.spawn(name, work)

    async def end() -> None:
        task.cancel()
        await asyncio.wait({task})

    stack.push_async_callback(end)


async def _consume(
    process: Process,
    stack: AsyncExitStack,
    broker: Broker,
    *,
    knowledge: KnowledgeService,
    recorder: Recorder,
    parker: Parker,
    notifier: Notifier,
) -> None:
    parts: dict[str, Part] = {"knowledge": knowledge, "recorder": recorder, "parker": parker, "notifier": notifier}
    for name, part in parts.items():
        stack.push_async_callback(part.aclose)
        process.checks.add(name, part.check)
    await recorder.start()
    await parker.start()
    await notifier.start()
    await knowledge.start(broker)


def _options(settings: RagSettings) -> Options:
    return Options(
        passages=settings.passages,
        min_score=settings.min_score,
        history_turns=settings.history_turns,
        history_chars=settings.history_chars,
        engine=settings.engine.rag_engine,
    )


def _reader(settings: RagSettings) -> DocumentReader:
    return DocumentReader(
        Limits(document=settings.max_document, pages=settings.max_pages),
        Bounds(seconds=settings.read_s, memory=settings.read_memory, at_once=settings.read_at_once),
    )
