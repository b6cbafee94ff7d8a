"""The streams that this process listens to: what their gateways are told, and how their leases end."""

import asyncio
from collections.abc import Iterator

from parley_asr.stream import Stream, fault_of
from parley_asr.telling import STAGE, Teller
from parley_asr.workshop import Workshop
from parley_protocol.audio import AudioPart, Ended, Failed, Mark, Moving, Progress, StreamEvent
from parley_runtime.errors import ParleyError
from parley_runtime.ports import Link
from parley_runtime.tasks import Tasks
from parley_runtime.telemetry import names
from parley_runtime.telemetry.logging import get_logger
from parley_runtime.telemetry.metrics import counter, gauge

LEAVING = "this process is leaving"

log = get_logger(__name__)


class Streams:
    """One at most by each name. ``teller``, over ``link``, is who tells gateways; ``settling`` settles deliveries."""

    def __init__(self, process_id: str, link: Link, workshop: Workshop, settling: Tasks) -> None:
        self.teller = Teller(process_id, link, self._gateway_gone)
        self.draining = False
        """Whoever comes is asked to move at once."""
        self._streams: dict[str, Stream] = {}
        self._workshop = workshop
        self._settling = settling
        self._empty = asyncio.Event()
        self._busy = gauge(names.SEATS_BUSY).labels(STAGE)

    def __len__(self) -> int:
        return len(self._streams)

    def __iter__(self) -> Iterator[Stream]:
        """Those of the moment; they may go meanwhile."""
        return iter(tuple(self._streams.values()))

    def get(self, name: str) -> Stream | None:
        """The one of that name."""
        return self._streams.get(name)

    def hold(self, stream: Stream, *first: StreamEvent) -> None:
        """One more, of which ``first`` is told."""
        self._streams[stream.listen.stream] = stream
        self._busy.set(len(self._streams))
        self.teller.tell(stream, *first)
        if self.draining:
            self.move(stream, LEAVING)

    def feed(self, part: AudioPart) -> None:
        """Audio has come. That of a stream which is not listened to, or not under this lease, is dropped."""
        stream = self._streams.get(part.stream)
        if stream is None or stream.listen.epoch != part.epoch:
            return
        if part.mark is Mark.DROP:
            self.teller.hush(stream)
            self.let_go(stream, "dropped")
            return
        try:
            stream.add(part)
        except ParleyError as error:
            self.fail(stream, error)
            return
        self.teller.tell(stream, Progress(stream.taken, stream.keep, stream.utterance))
        self._workshop.touch(stream)

    async def drained(self) -> None:
        """Nobody new stays; all are told that they have to move. Returns when they have."""
        self.draining = True
        for stream in self:
            self.move(stream, LEAVING)
        self._empty.clear()
        if self._streams:
            await self._empty.wait()

    def on_events(self, stream: Stream, events: list[StreamEvent]) -> None:
        """What a stream has to tell."""
        self.teller.heard(stream, events)
        if isinstance(events[-1], Ended):
            self.let_go(stream, "done")

    def on_failed(self, stream: Stream, error: BaseException) -> None:
        """Why a stream cannot go on."""
        if not isinstance(error, ParleyError):
            log.error("a stream failed on a defect", exc_info=error, stream=stream.listen.stream)
        self.fail(stream, fault_of(error))

    # ---- ends of leases

    def move(self, stream: Stream, reason: str) -> None:
        """Its gateway is to find another process for it, and it is listened to meanwhile."""
        if stream.moving_since is None:
            stream.moving_since = asyncio.get_running_loop().time()
            self.teller.tell(stream, Moving(reason))

    def fail(self, stream: Stream, error: ParleyError) -> None:
        """It cannot go on here."""
        fault = error.fault()
        counter(names.STREAM_FAILURES).labels(fault.code).inc()
        log.info("stream failed", stream=stream.listen.stream, epoch=stream.listen.epoch, code=fault.code)
        self.teller.tell(stream, Failed(fault))
        self.let_go(stream, "failed")

    def let_go(self, stream: Stream, outcome: str) -> None:
        """The lease is over: its delivery is settled."""
        self.forget(stream, outcome)
        self._settling.spawn(stream.delivery.ack())

    def forget(self, stream: Stream, outcome: str) -> None:
        """Listen to it no more; the delivery is the broker's."""
        counter(names.JOBS).labels(STAGE, outcome).inc()
        stream.trace.end(outcome)
        stream.over = True
        if self._streams.get(stream.listen.stream) is stream:
            del self._streams[stream.listen.stream]
        self._busy.set(len(self._streams))
        self._workshop.touch(stream)
        if not self._streams:
            self._empty.set()

    def _gateway_gone(self, gateway: str) -> None:
        for stream in self:
            if stream.listen.gateway == gateway:
                self.let_go(stream, "gateway gone")
