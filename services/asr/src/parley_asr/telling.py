"""What is told of streams, and counted."""

from collections.abc import Callable

from parley_asr.outgoing import Outgoing
from parley_asr.stream import Stream
from parley_protocol.audio import Ended, Failed, Heard, Listen, Partial, Progress, StreamEvent
from parley_protocol.routes import Stage
from parley_runtime.errors import ParleyError
from parley_runtime.ports import Link
from parley_runtime.telemetry import names
from parley_runtime.telemetry.metrics import counter, histogram
from parley_runtime.telemetry.recent import Recent

STAGE = Stage.LISTEN.value


class Teller:
    """Tells gateways over ``link``; ``on_gone`` is called with one that cannot be told anything."""

    def __init__(self, process_id: str, link: Link, on_gone: Callable[[str], None]) -> None:
        self.finals = Recent("speech_to_final")
        self._outgoing = Outgoing(link, process_id, on_gone)

    def tell(self, stream: Stream, *events: StreamEvent) -> None:
        """Of a stream that is listened to."""
        self._outgoing.tell(stream.listen.gateway, stream.listen.stream, stream.listen.epoch, *events)

    def heard(self, stream: Stream, events: list[StreamEvent]) -> None:
        """What is heard in it; after a last word also where the next one begins."""
        for event in events:
            if isinstance(event, Partial):
                counter(names.PARTIALS).inc()
            elif isinstance(event, Heard):
                self.finals.add(event.work_ms)
                histogram(names.SPEECH_FINAL_SECONDS).observe(event.work_ms / 1000)
                counter(names.UTTERANCES).labels("text" if event.text else "empty").inc()
        stream.trace.heard(events)
        if isinstance(events[-1], Ended):
            histogram(names.STREAM_FACTOR).observe(stream.factor)
        elif any(isinstance(event, Heard) for event in events):
            events = [*events, Progress(stream.taken, stream.keep, stream.utterance)]
        self.tell(stream, *events)

    def refuse(self, listen: Listen, error: ParleyError) -> None:
        """One that is not listened to."""
        counter(names.JOBS).labels(STAGE, "refused").inc()
        self._outgoing.tell(listen.gateway, listen.stream, listen.epoch, Failed(error.fault()))

    def hush(self, stream: Stream) -> None:
        """Nobody wants to know of it any more."""
        self._outgoing.forget(stream.listen.gateway, stream.listen.stream, stream.listen.epoch)

    async def aclose(self) -> None:
        """Send what is on its way. Idempotent."""
        await self._outgoing.aclose()
