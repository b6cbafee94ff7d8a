"""Leases as they come, into streams."""

import time
from collections.abc import Callable

from parley_asr import intake
from parley_asr.bases import Bases
from parley_asr.engine import Base, Hint, Transcriber
from parley_asr.listener import Listener, Parts
from parley_asr.options import ListenOptions
from parley_asr.spent import Spent, TimedRecognition
from parley_asr.stream import Stream
from parley_asr.streams import Streams
from parley_asr.telling import STAGE
from parley_asr.trace import StreamTrace
from parley_asr.vad import VadModel
from parley_protocol import codec
from parley_protocol.audio import Leased, Listen
from parley_protocol.faults import ProtocolError
from parley_runtime.errors import ParleyError
from parley_runtime.ports import Delivery
from parley_runtime.tasks import Tasks
from parley_runtime.telemetry import names
from parley_runtime.telemetry.logging import get_logger
from parley_runtime.telemetry.metrics import counter, histogram
from parley_runtime.telemetry.recent import Recent

log = get_logger(__name__)


class Listeners:
    """Makes what listens to one stream, by this engine and this detector."""

    def __init__(self, engine: Transcriber, vad: VadModel) -> None:
        self.engine = engine
        self._vad = vad

    def open(self, listen: Listen, spent: Spent) -> Listener:
        """Raises Unsupported where it cannot be heard here."""
        hearing, engine = listen.hearing, self.engine
        intake.check(hearing)
        if hearing.engine not in ("", engine.name):
            raise intake.Unsupported(f"No recogniser {hearing.engine[:40]!r} listens here.")
        if not engine.abilities.hears(hearing.language):
            heard = ", ".join(engine.abilities.languages)
            raise intake.Unsupported(f"The language {hearing.language[:20]!r} is not heard here: speak {heard}.")
        base = Base(listen.tenant, listen.kb) if listen.kb else None
        hint = Hint(hearing.language, hearing.prompt, base)
        parts = Parts(self._vad.stream, lambda: TimedRecognition(engine.open(hint), spent))
        return Listener(hearing, listen.at, listen.utterance, parts)


class Leases:
    """Each becomes one of ``streams``, once its knowledge base is ready, and not before ``reachable`` says that audio
    could come.
    """

    def __init__(
        self,
        streams: Streams,
        listeners: Listeners,
        bases: Bases,
        options: ListenOptions,
        settling: Tasks,
        *,
        reachable: Callable[[], bool],
    ) -> None:
        self.waits = Recent(f"{STAGE}_wait")
        self._streams = streams
        self._listeners = listeners
        self._bases = bases
        self._options = options
        self._settling = settling
        self._reachable = reachable
        self._early: list[Delivery] = []
        self._waiting: dict[str, tuple[Listen, Delivery]] = {}
        """Streams whose knowledge base is being made ready: the last lease of each."""

    def on_reachable(self) -> None:
        """Audio can come from now on."""
        early, self._early = self._early, []
        for delivery in early:
            self.on_lease(delivery)

    def on_lease(self, delivery: Delivery) -> None:
        """One has come."""
        if not self._reachable():
            self._early.append(delivery)
            return
        try:
            listen = codec.unpack_listen(delivery.body)
        except ProtocolError as error:
            counter(names.UNDECODABLE).labels(STAGE).inc()
            log.warning("message cannot be used; dropped", queue=delivery.queue, reason=error.code.value)
            self._settling.spawn(delivery.reject())
            return
        held = self._streams.get(listen.stream)
        if held is not None and held.listen.epoch == listen.epoch and not held.delivery.alive:
            held.delivery = delivery  # the broker has given back to us what it took away
            return
        if held is not None and held.listen.epoch >= listen.epoch:
            self._settling.spawn(delivery.ack())
            return
        if held is not None:
            self._streams.let_go(held, "superseded")
        if listen.kb:
            self._wait(listen, delivery)
        else:
            self._take(listen, delivery)

    def _wait(self, listen: Listen, delivery: Delivery) -> None:
        """One that is asked for again takes the place of the one before, and waits no longer than that."""
        before = self._waiting.get(listen.stream)
        if before is not None and before[1].alive and before[0].epoch > listen.epoch:
            self._settling.spawn(delivery.ack())
            return
        self._waiting[listen.stream] = listen, delivery
        if before is None:
            self._settling.spawn(self._take_with_base(listen.stream, Base(listen.tenant, listen.kb)))
        else:
            self._settling.spawn(before[1].ack())

    async def _take_with_base(self, stream: str, base: Base) -> None:
        try:
            await self._bases.ready(base)
        finally:
            listen, delivery = self._waiting.pop(stream)
        if delivery.alive:
            self._take(listen, delivery)

    def _take(self, listen: Listen, delivery: Delivery) -> None:
        waited_ms = max(0.0, (time.time() - listen.sent_at) * 1000) if listen.sent_at else 0.0
        histogram(names.JOB_WAIT_SECONDS).labels(STAGE).observe(waited_ms / 1000)
        self.waits.add(waited_ms)
        spent = Spent()
        try:
            listener = self._listeners.open(listen, spent)
        except ParleyError as error:
            self._streams.teller.refuse(listen, error)
            self._settling.spawn(delivery.ack())
            return
        engine = self._listeners.engine.name
        stream = Stream(
            listen,
            delivery,
            listener,
            self._options,
            spent=spent,
            trace=StreamTrace(listen, delivery.headers, engine),
            on_events=self._streams.on_events,
            on_failed=self._streams.on_failed,
        )
        self._streams.hold(stream, Leased(engine, round(waited_ms, 2)))
