"""One stream of audio, as whoever has it knows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from parley_gateway.voice.events import HearingEvent, Hears, Listening
from parley_gateway.voice.files import samples_alone
from parley_gateway.voice.lease import Lease
from parley_gateway.voice.meter import MAX_PACKET, OPUS, WIDTHS, Meter
from parley_gateway.voice.ring import RingFull
from parley_protocol.audio import Ended, Heard, Listen, Mark, SpeechStopped
from parley_protocol.faults import FaultCode, ProtocolError
from parley_runtime.telemetry import names, tracing
from parley_runtime.telemetry.metrics import histogram

if TYPE_CHECKING:
    from parley_gateway.voice.ears import Ears

__all__ = ["Ear", "HearingEvent", "Hears"]


class Ear:
    """Made by ``hub.ears.open``. What is heard is told to its :class:`Hears`. Nothing here waits."""

    __slots__ = ("_ears", "_hears", "ended", "lease", "listen", "meter", "opened_at", "owner", "said_at", "span")

    def __init__(self, ears: Ears, lease: Lease, listen: Listen, meter: Meter, hears: Hears, owner: object) -> None:
        self._ears = ears
        self._hears = hears
        self.lease = lease
        self.listen = listen
        """As the first lease was asked for."""
        self.meter = meter
        self.owner = owner
        self.span = tracing.start_span(
            names.SPAN_STREAM,
            kind="server",
            attributes={names.ATTR_CONVERSATION: tracing.conversation(listen.session)},
        )
        self.opened_at = ears.now()
        self.said_at = 0.0
        """When the end was said, or silence was last known to have ended speech."""
        self.ended = False
        """Nothing may follow: its end has been said, or it has ended."""

    def feed(self, data: bytes) -> None:
        """More audio, in pieces of any size (with ``opus``: one packet).

        Raises:
            ProtocolError: ``rate_limited`` (it comes too far ahead of time), ``overloaded`` (more of it would have to
                be kept than may be) or ``invalid`` (it is longer than a stream may be, or a file that is no audio as it
                is, or nothing may follow). The stream is over then, and nothing more is told.
        """
        if self.ended:
            raise ProtocolError(FaultCode.INVALID, "this stream of audio has ended; begin another")
        try:
            if not self.meter.total:
                data = samples_alone(data, self.listen.hearing)
            if self.listen.hearing.encoding == OPUS:
                data = _packet(data)
            self.meter.add(len(data), self._ears.now())
            self.lease.stream.ring.append(data)
        except RingFull:
            self.drop()
            text = "what was said cannot be heard as fast as it comes, and the stream was ended; try again later"
            raise ProtocolError(FaultCode.OVERLOADED, text) from None
        except ProtocolError:
            self.drop()
            raise
        self._ears.lanes.ready(self)

    def tail(self, size: int) -> bytes:
        """The last ``size`` bytes of the audio, from a whole sample on, as far as they are kept."""
        ring, hearing = self.lease.stream.ring, self.listen.hearing
        at = max(ring.start, ring.end - size)
        return ring.read(at + -at % (WIDTHS.get(hearing.encoding, 1) * hearing.channels), ring.end)

    def commit(self) -> None:
        """The utterance ends here: one ``Heard`` answers, whose text may be empty."""
        self.said_at = self._ears.now()
        self._say(Mark.COMMIT)

    def clear(self) -> None:
        """Forget what has been said since the last utterance."""
        self._say(Mark.CLEAR)

    def end(self) -> None:
        """Nothing follows: one ``Heard`` for what is left, then ``Ended``."""
        if not self.ended:
            self.said_at = self._ears.now()
        self._say(Mark.END)
        self.ended = True

    def drop(self) -> None:
        """Nobody wants to know any more: nothing is told from the return on. Idempotent."""
        self.ended = True
        self._hears = _NOBODY
        self._ears.apply(self, self.lease.close())

    @property
    def heard_s(self) -> float:
        """Audio that has been listened to, as far as is known."""
        return self.meter.seconds(self.lease.heard, self._ears.now())

    def _say(self, mark: Mark) -> None:
        if not self.ended:
            self.lease.stream.say(mark)
            self._ears.lanes.ready(self, at_once=True)

    def tell(self, event: HearingEvent) -> None:
        """Pass an event on."""
        self._measure(event)
        if isinstance(event, Ended) and not event.audio_ms:
            event = Ended(self.meter.total * 1000 // self.meter.bytes_s, event.factor)
        self._hears.on_hearing(event)

    def _measure(self, event: HearingEvent) -> None:
        now = self._ears.now()
        if isinstance(event, Listening):
            histogram(names.LEASE_SECONDS).observe(now - self.opened_at)
        elif isinstance(event, SpeechStopped) and self.listen.hearing.by_silence:
            self.said_at = now
        elif isinstance(event, Heard) and event.text and self.said_at:
            histogram(names.SPEECH_TEXT_SECONDS).observe(now - self.said_at)

    @property
    def context(self) -> Any:
        """What spans of turns spoken in it belong to."""
        return tracing.context_of(self.span)


class _Nobody:
    def on_hearing(self, event: HearingEvent) -> None:
        """Dropped."""


_NOBODY = _Nobody()


def _packet(data: bytes) -> bytes:
    if not 0 < len(data) <= MAX_PACKET:
        raise ProtocolError(FaultCode.INVALID, f"a packet of Opus has 1 to {MAX_PACKET} bytes; the stream was ended")
    return len(data).to_bytes(2, "big") + data
