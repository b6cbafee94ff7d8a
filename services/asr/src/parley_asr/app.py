"""The composition root of the listening service."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from parley_asr.choose import Chosen, choose, choose_vad
from parley_asr.config import AsrSettings
from parley_asr.service import Listening
from parley_asr.vad import VadModel
from parley_protocol.control import Audience
from parley_protocol.routes import Stage, stage_queue, topology
from parley_runtime.amqp import AmqpBroker
from parley_runtime.control import ControlPlane
from parley_runtime.lifecycle import Teardown
from parley_runtime.ports import Broker
from parley_runtime.process import Figures, Process
from parley_runtime.store import open_store
from parley_runtime.store.ports import KnowledgeStore

ROLE = "asr"


@asynccontextmanager
async def build(process: Process, settings: AsrSettings) -> AsyncIterator[Listening]:
    """The service on its real broker and store; it consumes inside the block."""
    common = settings.common
    async with Teardown() as steps:
        # 1. The engine, before anything that others can see: one that cannot be used ends the process here.
        vad = await choose_vad(settings)
        chosen = await choose(settings)
        steps.add("engine", chosen.close)
        # 2. The store, which holds the words of knowledge bases.
        store = await open_store(common.store_url, settings.store)
        steps.add("store", store.aclose)
        # 3. The broker.
        declared = topology(common.admission)
        broker = AmqpBroker(common.amqp_url, name=process.id, topology=declared, heartbeat_s=common.heartbeat_s)
        steps.add("broker", broker.close)
        # 4. The stage upon them.
        async with serve_stage(process, settings, chosen, vad, broker=broker, store=store) as listening:
            yield listening


@asynccontextmanager
async def serve_stage(
    process: Process, settings: AsrSettings, chosen: Chosen, vad: VadModel, *, broker: Broker, store: KnowledgeStore
) -> AsyncIterator[Listening]:
    """The listening stage on any broker and store."""
    process.engines.append(chosen.info)
    process.checks.add("engine", chosen.engine.problem)
    control = await ControlPlane.open(
        broker, process_id=process.id, audience=Audience.WORKERS, presence=process.presence
    )
    queue = topology(settings.common.admission).queue(stage_queue(Stage.LISTEN))
    link = await broker.open("hearings")
    listening = Listening(process.id, chosen.engine, vad, chosen.seats, queue, settings.options, link, store)
    async with Teardown() as steps:
        steps.add("control", control.aclose)
        steps.add("listening", listening.aclose)
        await control.start()
        await listening.start(broker)
        process.checks.add("listening", listening.check)
        process.add_figures(
            lambda: Figures(
                listening.seats,
                listening.busy,
                latencies=listening.latencies,
            )
        )
        yield listening
