"""The composition root of the inference service."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from parley_inference.choose import Chosen, choose
from parley_inference.config import InferenceSettings
from parley_inference.engine import Generator, Remembering
from parley_inference.handler import GenerateHandler
from parley_inference.prepared import PreparedGenerator
from parley_inference.speech.registry import SpeechSettings, Voice, choose_voice
from parley_inference.speech.stage import Speaking
from parley_protocol.control import Audience
from parley_protocol.routes import Stage, Topology, topology
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
    """What drains: worker and speech, within a deadline that includes handing over."""

    def __init__(self, worker: Worker, hand_over_s: float, speaking: Speaking | None = None) -> None:
        self._worker = worker
        self._hand_over_s = hand_over_s
        self._speaking = speaking

    async def drain(self, deadline_s: float) -> None:
        """Finish answers and sentences while there is time, then leave the others to another process."""
        left_s = max(0.0, deadline_s - self._hand_over_s)
        speaking = self._speaking.drain(left_s) if self._speaking is not None else asyncio.sleep(0)
        await asyncio.gather(self._worker.drain(left_s), speaking)


@asynccontextmanager
async def build(process: Process, settings: InferenceSettings) -> AsyncIterator[Service]:
    """The service on its real broker and store; it consumes inside the block."""
    common = settings.common
    async with Teardown() as steps:
        # 1. The engine, before anything that others can see: one that cannot be used ends the process here.
        chosen = await choose(settings)
        steps.add("engine", chosen.close)
        voice = await choose_voice(settings.speech)
        if voice is not None:
            steps.add("voice", voice.synthesizer.close)
        # 2. The store, which decides who may write.
        store = await open_store(common.store_url, settings.store)
        steps.add("store", store.aclose)
        # 3. The broker.
        declared = topology(common.admission)
        broker = AmqpBroker(common.amqp_url, name=process.id, topology=declared, heartbeat_s=common.heartbeat_s)
        steps.add("broker", broker.close)
        # 4. The stage upon them.
        async with serve_stage(process, settings, chosen, broker=broker, store=store, voice=voice) as service:
            yield service


@asynccontextmanager
async def serve_stage(
    process: Process,
    settings: InferenceSettings,
    chosen: Chosen,
    *,
    broker: Broker,
    store: Store,
    voice: Voice | None = None,
) -> AsyncIterator[Service]:
    """The generation stage on any broker and store, and with a ``voice`` the speaking stage beside it."""
    process.engines.append(chosen.info)
    process.checks.add("engine", chosen.engine.problem)
    declared = topology(settings.common.admission)
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
        topology=declared,
        options=settings.worker,
        clock=process.clock,
    )
    async with Teardown() as steps:
        steps.add("control", control.aclose)
        async with opening as worker:
            process.checks.add("worker", worker.check)
            process.add_figures(lambda: Figures(worker.seats, worker.busy, latencies=worker.latencies))
            async with _speaking(process, settings.speech, voice, broker, control, declared) as speaking:
                yield Service(worker, settings.worker.hand_over_s, speaking)


@asynccontextmanager
async def _speaking(
    process: Process,
    settings: SpeechSettings,
    voice: Voice | None,
    broker: Broker,
    control: ControlPlane,
    declared: Topology,
) -> AsyncIterator[Speaking | None]:
    """The speaking stage: its seats are its own, so that a long answer keeps nobody from being spoken to."""
    if voice is None:
        yield None
        return
    process.engines.append(voice.info)
    link = await broker.open("speech")
    speaking = Speaking(broker, link, voice, settings, control=control, topology=declared, clock=process.clock)
    try:
        await speaking.start()
        process.checks.add("speech", speaking.check)
        process.add_figures(lambda: Figures(voice.seats, speaking.speaker.busy, latencies=speaking.speaker.latencies))
        yield speaking
    finally:
        await speaking.aclose()
        await link.close()


def _phrases(engine: Generator) -> bool:
    """Whether it reads the prompt that asks for a phrasing: one that keeps conversations gets the question alone."""
    return not (engine.deterministic or isinstance(engine, Remembering))
