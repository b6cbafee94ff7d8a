"""Puts the rag process together: store, index, retrieval stage, knowledge commands, recorder, parker, sweeper."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from parley_protocol.control import Audience, EngineInfo
from parley_protocol.routes import Stage, topology
from parley_protocol.work import Retrieve
from parley_rag.config import RagSettings
from parley_rag.documents import Limits
from parley_rag.handler import Options, RetrieveHandler
from parley_rag.knowledge import KnowledgeDesk, KnowledgeService
from parley_rag.reader import Bounds, DocumentReader
from parley_rag.retrieval import EmbeddedRetriever, IndexFollower
from parley_runtime.amqp import AmqpBroker
from parley_runtime.control import ControlPlane
from parley_runtime.lifecycle import Drainable, Process
from parley_runtime.ports import Broker
from parley_runtime.process import Figures
from parley_runtime.stage import StageSpec
from parley_runtime.store import open_store
from parley_runtime.store.ports import Store
from parley_runtime.worker import Worker, open_worker


class RagService:
    """What is drained: the stages first, then the commands."""

    def __init__(self, worker: Worker, knowledge: KnowledgeService) -> None:
        self._worker = worker
        self._knowledge = knowledge

    async def drain(self, deadline_s: float) -> None:
        """Within ``deadline_s`` for both together."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._worker.drain(deadline_s))
            group.create_task(self._knowledge.drain(deadline_s))


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
    retriever = EmbeddedRetriever()
    process.engines.append(EngineInfo("retrieve", "embedded", "the default: needs no server", "BM25F with proximity"))
    follower = IndexFollower(store, retriever, process.clock, poll_s=settings.poll_s)
    await follower.catch_up()
    process.spawn("index follower", follower.run())
    process.checks.add("index", follower.problem)
    async with AsyncExitStack() as stack:
        control = await ControlPlane.open(
            broker, process_id=process.id, audience=Audience.WORKERS, presence=process.presence
        )
        stack.push_async_callback(control.aclose)
        options = Options(
            passages=settings.passages, history_turns=settings.history_turns, history_chars=settings.history_chars
        )
        stage = StageSpec(
            Stage.RETRIEVE, Retrieve, settings.seats, RetrieveHandler(store, retriever, options), first=True
        )
        worker = await stack.enter_async_context(
            open_worker((stage,), broker=broker, store=store, control=control, clock=process.clock)
        )
        process.checks.add("worker", worker.check)
        process.add_figures(lambda: Figures(seats=worker.seats, busy=worker.busy))
        knowledge = KnowledgeService(KnowledgeDesk(store, retriever, follower, _reader(settings)), worker.link)
        stack.push_async_callback(knowledge.aclose)
        await knowledge.start(broker)
        process.checks.add("knowledge", knowledge.check)
        yield RagService(worker, knowledge)


def _reader(settings: RagSettings) -> DocumentReader:
    return DocumentReader(
        Limits(document=settings.max_document, pages=settings.max_pages),
        Bounds(seconds=settings.read_s, memory=settings.read_memory, at_once=settings.read_at_once),
    )
