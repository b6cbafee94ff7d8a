"""A socket's audio on its way to a recogniser: opened with the first of it, and anew after it has ended."""

from collections.abc import Callable

from parley_gateway.dialects.socket import DialectSocket
from parley_gateway.voice.ear import Ear
from parley_gateway.voice.events import HearingEvent
from parley_protocol.audio import Ended, Failed, Heard, Hearing
from parley_protocol.faults import FaultCode
from parley_protocol.ids import SessionId
from parley_runtime.telemetry.logging import get_logger

log = get_logger("parley.dialect")


class Stream:
    """One stream, and what is told of it."""

    def __init__(self, told: Callable[["Stream", HearingEvent], None]) -> None:
        self._told = told
        self.ear: Ear | None = None
        self.owed = 0
        """Commits that have not been heard."""

    def on_hearing(self, event: HearingEvent) -> None:
        """See :class:`parley_gateway.voice.events.Hears`."""
        self._told(self, event)


class Microphone:
    """``told`` is called with what is heard, in the order of the audio, whatever stream it was in: of one that has been
    ended, what was committed.
    """

    def __init__(
        self, socket: DialectSocket, session: SessionId, kb: str, told: Callable[[HearingEvent], None]
    ) -> None:
        self._socket = socket
        self._session = session
        self._kb = kb
        self._tell = told
        self._stream: Stream | None = None
        self._unheard: Hearing | None = None
        """What no recogniser hears at all, as its client has been told."""
        self._retired: list[Stream] = []
        """Streams whose end has been said, and that still owe something; the oldest is told first."""
        self._held: list[tuple[Stream, HearingEvent]] = []
        """Of later ones."""

    def feed(self, data: bytes, hearing: Hearing, opened: Callable[[int], None]) -> None:
        """More audio; ``opened`` is called where a stream begins with so many bytes of it. Audio of a kind that is not
        heard here is dropped once that has been told.

        Raises:
            ProtocolError: nobody hears it; the stream is over.
        """
        if hearing == self._unheard:
            return
        stream = self._stream
        if stream is None or stream.ear is None or stream.ear.ended:
            stream = Stream(self._told)
            hub = self._socket.hub
            stream.ear = hub.ears.open(self._socket.identity, self._session, hearing, stream, kb=self._kb)
            self._stream = stream
            opened(len(data))
        assert stream.ear is not None
        try:
            stream.ear.feed(data)
        except Exception:
            self._stream = None
            raise

    def mark(self, kind: str) -> bool:
        """See :class:`parley_gateway.dialects.realtime.effects.Mark`. False: there is no stream."""
        stream = self._stream
        if stream is None or stream.ear is None or stream.ear.ended:
            return False
        match kind:
            case "commit":
                stream.owed += 1
                stream.ear.commit()
            case "clear":
                stream.ear.clear()
        return True

    def anew(self, size: int) -> bytes:
        """See :class:`parley_gateway.dialects.realtime.effects.Anew`: the bytes that the new stream is to be fed."""
        stream, self._stream = self._stream, None
        if stream is None or stream.ear is None or stream.ear.ended:
            return b""
        tail = stream.ear.tail(size)
        if stream.owed > 0:
            self._retired.append(stream)
            stream.ear.end()
        else:
            stream.ear.drop()
        return tail

    def close(self) -> None:
        """The socket is gone."""
        streams, self._retired = [*self._retired, self._stream], []
        self._stream = None
        for stream in streams:
            if stream is not None and stream.ear is not None:
                stream.ear.drop()

    def _told(self, stream: Stream, event: HearingEvent) -> None:
        if isinstance(event, Failed):
            log.info("stream of audio failed", socket=self._socket.label, code=event.fault.code)
            if event.fault.code == FaultCode.UNSUPPORTED.value and stream.ear is not None:
                self._unheard = stream.ear.listen.hearing
        if self._retired and stream is not self._retired[0]:
            self._held.append((stream, event))
            return
        self._pass_on(stream, event)

    def _pass_on(self, stream: Stream, event: HearingEvent) -> None:
        retired = stream in self._retired
        if isinstance(event, Heard) and event.marked:
            stream.owed -= 1
        if not retired:
            if isinstance(event, Ended | Failed) and stream is self._stream:
                self._stream = None
            self._tell(event)
            return
        if isinstance(event, Heard | Failed) and (stream.owed > 0 or (isinstance(event, Heard) and event.marked)):
            self._tell(event)
        if stream.owed <= 0 or isinstance(event, Ended | Failed):
            self._retired.remove(stream)
            if stream.ear is not None:
                stream.ear.drop()  # its last word is of audio that was never committed
            held, self._held = self._held, []
            for each, later in held:
                self._told(each, later)
