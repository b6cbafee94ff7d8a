"""Has sentences said by the engine, and sends their audio, in parts, straight to the gateways that asked."""

import asyncio
from collections.abc import Iterator
from contextlib import aclosing, contextmanager

from parley_inference.speech.registry import SpeechSettings, Voice
from parley_inference.speech.sentence import Sentence
from parley_inference.speech.synthesizer import RATES, SPEEDS, Utterance
from parley_protocol import codec
from parley_protocol.audio import Speak, Spoken
from parley_protocol.events import Fault
from parley_protocol.faults import FaultCode
from parley_protocol.routes import EVENTS, Stage
from parley_runtime.errors import Expired, Invalid, ParleyError, Unroutable
from parley_runtime.ports import Clock, Headers, Link, Message
from parley_runtime.telemetry import names, tracing
from parley_runtime.telemetry.logging import get_logger
from parley_runtime.telemetry.metrics import counter, gauge, histogram
from parley_runtime.telemetry.recent import Recent

log = get_logger(__name__)

HEADERS: Headers = {"parley-kind": "spoken", "parley-v": 1}
PUBLISH_S = 2.0
"""Deadline of one part: later than that its audio is late."""
STAGE = Stage.SPEAK.value
GONE_S = 0.05
"""How long a lost job waits before it is acknowledged, so that a broken publisher does not empty the queue at once."""


class Speaker:
    """Of one process. ``busy``: sentences that are being said."""

    def __init__(self, link: Link, voice: Voice, settings: SpeechSettings, clock: Clock) -> None:
        self.voice = voice
        self.busy = 0
        self._link = link
        self._settings = settings
        self._clock = clock
        self._waits = Recent(f"{STAGE}_wait")
        self._works = Recent(f"{STAGE}_work")
        gauge(names.SEATS).labels(STAGE).set(voice.seats)

    @property
    def latencies(self) -> dict[str, float]:
        """Milliseconds in the queue and at work, of the last sentences."""
        return self._waits.quantiles() | self._works.quantiles()

    async def say(self, job: Speak, headers: Headers) -> None:
        """One sentence; ``headers`` are its job's. Whatever goes wrong is told to the gateway, if that is there."""
        sentence = Sentence(job, self._clock.wall(), first_ms=self._settings.first_ms, part_ms=self._settings.part_ms)
        self._waits.add(sentence.wait_ms)
        histogram(names.JOB_WAIT_SECONDS).labels(STAGE).observe(sentence.wait_ms / 1000)
        attributes: tracing.Attributes = {names.ATTR_MODEL: self.voice.info.model, names.ATTR_STAGE: STAGE}
        span = tracing.span(
            names.SPAN_SPEAK.format(model=self.voice.info.model),
            kind="consumer",
            parent=tracing.extract(headers),
            attributes=attributes,
        )
        with span, self._seat():
            outcome = await self._attempt(job, sentence)
        counter(names.JOBS).labels(STAGE, outcome).inc()
        histogram(names.JOB_WORK_SECONDS).labels(STAGE).observe(sentence.work_ms / 1000)
        self._works.add(sentence.work_ms)
        self._count(job, sentence)

    async def _attempt(self, job: Speak, sentence: Sentence) -> str:
        """The outcome, as figures name it. Whatever went wrong has been told to the gateway, if that is there."""
        fault: Fault | None = None
        try:
            async with asyncio.timeout(max(0.0, job.budget_s)):
                await self._stream(job, sentence)
                return "completed"
        except TimeoutError:
            fault = Expired("this sentence was not spoken in time").fault()
        except Unroutable:
            return "gone"
        except ParleyError as error:
            log.warning("sentence not spoken", engine=self.voice.info.name, reason=str(error), attempt=job.attempt)
            counter(names.ENGINE_ERRORS).labels(self.voice.info.name, type(error).__name__).inc()
            fault = error.fault()
        except Exception:
            log.exception("sentence not spoken because of a defect", engine=self.voice.info.name)
            fault = Fault(FaultCode.FAILED.value, "this sentence could not be spoken; the worker's log says why", True)
        try:
            await self._send(job, sentence.failed(fault))
        except ParleyError as error:
            log.info("gateway was not told of an unspoken sentence", reason=type(error).__name__)
            await asyncio.sleep(GONE_S)
        return "failed"

    async def _stream(self, job: Speak, sentence: Sentence) -> None:
        utterance = self._utterance(job)
        first = histogram(names.SPEECH_FIRST_SECONDS).labels(self.voice.info.name)
        async with aclosing(self.voice.synthesizer.speak(utterance)) as chunks:
            async for chunk in chunks:
                for part in sentence.feed(chunk):
                    await self._send(job, part)
                    if part.part == 0:
                        first.observe(sentence.work_ms / 1000)
        await self._send(job, sentence.end())

    def _utterance(self, job: Speak) -> Utterance:
        """Raises Invalid where no engine is to be bothered with it."""
        (low, high), (slow, fast) = RATES, SPEEDS
        if not low <= job.rate <= high or not slow <= job.speed <= fast:
            raise Invalid(f"speech has {low} to {high} Hz and a speed of {slow} to {fast}")
        if len(job.text) > self._settings.max_text:
            raise Invalid(f"a sentence to be spoken may have {self._settings.max_text} characters")
        return Utterance(text=job.text, rate=job.rate, voice=job.voice, language=job.language, speed=job.speed)

    async def _send(self, job: Speak, part: Spoken) -> None:
        message = Message(codec.pack(part), HEADERS, durable=False)
        await self._link.publish(EVENTS, job.gateway, message, timeout_s=PUBLISH_S)

    def _count(self, job: Speak, sentence: Sentence) -> None:
        engine = self.voice.info.name
        if sentence.audio_s:
            counter(names.SPEECH_CHARACTERS).labels(engine).inc(len(job.text))
            counter(names.SPEECH_SECONDS).labels(engine).inc(sentence.audio_s)
            histogram(names.SPEECH_FACTOR).labels(engine).observe(sentence.work_ms / 1000 / sentence.audio_s)

    @contextmanager
    def _seat(self) -> Iterator[None]:
        self.busy += 1
        gauge(names.SEATS_BUSY).labels(STAGE).set(self.busy)
        try:
            yield
        finally:
            self.busy -= 1
            gauge(names.SEATS_BUSY).labels(STAGE).set(self.busy)
