"""The speaking stage: takes ``Speak`` jobs, has them said, and sends the audio straight to the gateway that asked.

A job is acknowledged after its last part was sent, so a worker that dies leaves it to another one. Nothing else is
promised of it: whoever asked asks again. So it is no stage of the worker loop, which claims, fences and records.
"""

import asyncio

from parley_inference.speech.registry import SpeechSettings, Voice
from parley_inference.speech.speaker import STAGE, Speaker
from parley_protocol import codec
from parley_protocol.audio import Speak
from parley_protocol.control import Hush
from parley_protocol.faults import ProtocolError
from parley_protocol.routes import Topology, stage_queue
from parley_runtime.control import ControlPlane
from parley_runtime.ports import Broker, Clock, Delivery, Link
from parley_runtime.telemetry import names
from parley_runtime.telemetry.logging import get_logger
from parley_runtime.telemetry.metrics import counter
from parley_runtime.work.consumer import StageConsumer

log = get_logger(__name__)


class Speaking:
    """Consumes ``parley.speak`` while started; ``speaker`` says what is taken. Made by the composition root."""

    def __init__(
        self,
        broker: Broker,
        link: Link,
        voice: Voice,
        settings: SpeechSettings,
        *,
        control: ControlPlane,
        topology: Topology,
        clock: Clock,
    ) -> None:
        self.speaker = Speaker(link, voice, settings, clock)
        self._tasks: dict[asyncio.Task[None], _Hold] = {}
        self._consumer = StageConsumer(
            broker,
            topology.queue(stage_queue(STAGE)),
            self._take,
            stage=STAGE,
            prefetch=voice.seats,
            answers=_always,
        )
        control.on(Hush, self._hush)

    async def start(self) -> None:
        """Raises Unavailable unless it is consuming in time."""
        await self._consumer.start()

    def check(self) -> str | None:
        """For readiness: None while the queue is being consumed and the engine can speak."""
        if not self._consumer.consuming:
            return f"not consuming: {STAGE}; see the broker links' state"
        return self.speaker.voice.synthesizer.problem()

    async def drain(self, deadline_s: float) -> None:
        """Take nothing new; let sentences end for ``deadline_s``. What is left goes to another process."""
        await self._consumer.stop()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=deadline_s)

    async def aclose(self) -> None:
        """End what is being said: unsettled jobs return to their queue. Idempotent."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._consumer.close()

    # --- one delivery -----------------------------------------------------------------------------------------

    def _take(self, delivery: Delivery) -> None:
        try:
            job = codec.unpack_speak(delivery.body)
        except ProtocolError as error:
            counter(names.UNDECODABLE).labels(STAGE).inc()
            log.warning("sentence cannot be decoded; dropped", code=error.code.value)
            job = None
        hold = _Hold(job.speech if job is not None else "")
        task = asyncio.get_running_loop().create_task(self._serve(job, delivery, hold))
        self._tasks[task] = hold
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.pop(task, None)
        if not task.cancelled() and task.exception() is not None:
            log.error("a sentence was left unsettled by a defect", exc_info=task.exception())

    def _hush(self, hush: Hush) -> None:
        for hold in self._tasks.values():
            if hold.speech == hush.speech:
                hold.hush()

    async def _serve(self, job: Speak | None, delivery: Delivery, hold: "_Hold") -> None:
        """Say it and acknowledge. A process that ends leaves it unsettled; what nobody hears is settled at once."""
        if job is not None and not hold.hushed:
            hold.saying = asyncio.get_running_loop().create_task(self.speaker.say(job, delivery.headers))
            try:
                await hold.saying
            except asyncio.CancelledError:
                hold.saying.cancel()
                if not hold.hushed:
                    raise
        if hold.hushed:
            counter(names.JOBS).labels(STAGE, "hushed").inc()
        await delivery.ack()


class _Hold:
    """One delivery in hand. ``hush`` stops what is being said for it, and nothing else."""

    __slots__ = ("hushed", "saying", "speech")

    def __init__(self, speech: str) -> None:
        self.speech = speech
        self.hushed = False
        self.saying: asyncio.Task[None] | None = None

    def hush(self) -> None:
        if self.saying is None or not self.saying.done():
            self.hushed = True
            if self.saying is not None:
                self.saying.cancel()


async def _always() -> None:
    """No store is needed here."""
