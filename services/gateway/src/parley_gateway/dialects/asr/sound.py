"""Audio of a realtime ASR client: heard here, where the client has no recogniser of its own."""

from collections.abc import Callable

from parley_gateway.dialects.asr import frames
from parley_gateway.dialects.asr.frames import AudioConfig, Code, Frame, Unfit
from parley_gateway.dialects.socket import DialectSocket
from parley_gateway.limits import Bucket
from parley_gateway.voice.ear import Ear
from parley_gateway.voice.events import HearingEvent, Listening
from parley_protocol.audio import Ended, Failed, Heard, Hearing, Partial
from parley_protocol.faults import ProtocolError
from parley_protocol.ids import SessionId

FRAMES_S = 200
"""Frames of audio in a second: pieces of 5 ms."""


class Sound:
    """One stream of one socket. ``heard(text, final)`` is told what is said, utterance by utterance; ``paused(text)``
    when it may end there, or with nothing when it goes on.
    """

    def __init__(
        self,
        socket: DialectSocket,
        session: SessionId,
        config: AudioConfig,
        heard: Callable[[str, bool], None],
        paused: Callable[[str], None],
        kb: str,
    ) -> None:
        """Raises Unfit: nothing can be heard in this format, or by anybody at present."""
        self.bucket = Bucket(FRAMES_S, 2 * FRAMES_S, socket.hub.now())
        self._socket = socket
        self._heard = heard
        self._paused = paused
        self._listening = False
        self._last = ""
        hearing = Hearing(encoding=config.encoding, rate=config.rate, channels=config.channels, by_silence=True)
        try:
            self._ear: Ear | None = socket.hub.ears.open(socket.identity, session, hearing, self, kb=kb)
        except ProtocolError as error:
            raise Unfit(Code.INVALID_FIELD, f"{frames.NO_STREAM}（{error}）") from None

    def feed(self, data: bytes) -> None:
        """Raises ProtocolError: the stream is over, and why."""
        if self._ear is None or self._ear.ended:
            raise Unfit(Code.INVALID_FIELD, frames.NO_CONFIG)
        self._ear.feed(data)

    def close(self) -> None:
        """Nobody listens any more. Idempotent."""
        ear, self._ear = self._ear, None
        if ear is not None:
            ear.drop()

    def on_hearing(self, event: HearingEvent) -> None:
        """See :class:`parley_gateway.voice.events.Hears`."""
        match event:
            case Listening():
                self._listening = True
            case Partial():
                self._paused(event.text if event.paused else "")
                if event.text and event.text != self._last:
                    self._last = event.text
                    self._heard(event.text, False)
            case Heard():
                self._last = ""
                if event.text:
                    self._heard(event.text, True)
            case Failed():
                self._ear = None
                word = Code.OVERLOADED if event.fault.retryable else Code.INVALID_FIELD
                self._say(frames.error(word, frames.LOST if self._listening else frames.NO_ASR))
            case Ended():
                self._ear = None
            case _:
                pass

    def _say(self, frame: Frame) -> None:
        self._socket.send("error", frame)
