"""The composition root of the inference service."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from parley_inference.choose import Chosen, choose
from parley_inference.config import InferenceSettings
from parley_inference.engine import Generator, Remembering
from parley_inference.handler import GenerateHandler
from parley_inference.prepared import PreparedGenerator
from parley_protocol.control import Audience
from parley_protocol.routes import Stage, topology
from parley_protocol.work import Generate
from parley_runtime.amqp import AmqpBroker
from parley_runtime.control import ControlPlane
from parley_runtime.lifecycle import Teardown
from parley_runtime.ports import Broker
from parley_runtime.process import Figures, Process
from parley_runtime.stage import StageSpec
from parley_runtime.store import open_store
from parley_runtime.store.ports import Store
from parley_runtime.worker import Worker, open_worker

ROLE = "inference"


class Service:
    """What drains: the worker, within a deadline that includes its handing over."""

    def __init__(self, worker: Worker, hand_over_s: float) -> None:
        self._worker = worker
        self._hand_over_s = hand_over_s

    async def drain(self, deadline_s: float) -> None:
        """Finish answers while there is time, then hand the others to another process."""
        await self._worker.drain(max(0.0, deadline_s - self._hand_over_s))


@asynccontextmanager
async def build(process: Process, settings: InferenceSettings) -> AsyncIterator[Service]:
    """The service on its real broker and store; it consumes inside the block."""
    common = settings.common
    async with Teardown() as steps:
        # 1. The engine, before anything that others can see: one that cannot be used ends the process here.
        chosen = await choose(settings)
        steps.add("engine", chosen.close)
        # 2. The store, which decides who may write.
        store = await open_store(common.store_url, settings.store)
        steps.add("store", store.aclose)
        # 3. The broker.
        declared = topology(common.admission)
        broker = AmqpBroker(common.amqp_url, name=process.id, topology=declared, heartbeat_s=common.heartbeat_s)
        steps.add("broker", broker.close)
        # 4. The stage upon them.
        async with serve_stage(process, settings, chosen, broker=broker, store=store) as service:
            yield service


@asynccontextmanager
async def serve_stage(
    process: Process, settings: InferenceSettings, chosen: Chosen, *, broker: Broker, store: Store
) -> AsyncIterator[Service]:
    """The generation stage on any broker and store."""
    process.engines.append(chosen.info)
    process.checks.add("engine", chosen.engine.problem)
    control = await ControlPlane.open(
        broker, process_id=process.id, audience=Audience.WORKERS, presence=process.presence
    )
    phraser = chosen.engine if settings.prepared.phrase and _phrases(chosen.engine) else None
    prepared = PreparedGenerator(settings.engines.extractive.pace_ms / 1000, phraser)
    handler = GenerateHandler(chosen.of, store.threads, prepared)
    stage = StageSpec(Stage.GENERATE.value, Generate, chosen.seats, handler)
    opening = open_worker(
        [stage],
        broker=broker,
        store=store,
        control=control,
        topology=topology(settings.common.admission),
        options=settings.worker,
        clock=process.clock,
    )
    async with Teardown() as steps:
        steps.add("control", control.aclose)
        async with opening as worker:
            process.checks.add("worker", worker.check)
            process.add_figures(lambda: Figures(worker.seats, worker.busy, latencies=worker.latencies))
            yield Service(worker, settings.worker.hand_over_s)


def _phrases(engine: Generator) -> bool:
    """Whether it reads the prompt that asks for a phrasing: one that keeps conversations gets the question alone."""
    return not (engine.deterministic or isinstance(engine, Remembering))
