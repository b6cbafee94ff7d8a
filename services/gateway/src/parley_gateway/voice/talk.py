"""One spoken turn of a native socket: from ``audio.start`` to the text that is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

from parley_gateway.core import spoken
from parley_gateway.core.effects import Effect
from parley_gateway.core.entry import Request
from parley_gateway.core.session import Session
from parley_gateway.core.view import Sink
from parley_gateway.turns import DEFAULT_KB, budget_of, make_request
from parley_gateway.voice.ear import Ear
from parley_gateway.voice.early import ahead_of
from parley_gateway.voice.events import HearingEvent, Listening
from parley_gateway.voice.words import join
from parley_protocol.audio import Ended, Endpointing, Failed, Heard, Hearing, Partial, SpeechStarted, SpeechStopped
from parley_protocol.client import AudioStart, SpeechStartedFrame, SpeechStoppedFrame, Voice
from parley_protocol.faults import FaultCode, ProtocolError
from parley_protocol.ids import TurnId

if TYPE_CHECKING:
    from parley_gateway.hub import Hub
    from parley_gateway.identity import Identity
    from parley_gateway.voice.mouth import Mouth

NO_SPEECH = "no words were heard; check the microphone and its format, and say it again: the turn's id is free"
GONE = "the socket went away in mid-sentence; say it again, under the same id if you like"


def hearing_of(frame: AudioStart, hub: Hub) -> Hearing:
    """How the stream of ``audio.start`` is to be heard."""
    silence_ms = hub.settings.ears.silence_ms if frame.silence_ms is None else frame.silence_ms
    return Hearing(
        encoding=frame.format.encoding,
        rate=frame.format.rate,
        channels=frame.format.channels,
        language=frame.language,
        prompt=frame.prompt,
        by_silence=frame.hands_free,
        endpointing=Endpointing(silence_ms=silence_ms),
    )


class Room(Protocol):
    """The socket: its mouth, if it has had one, and the way to have an answer spoken."""

    mouth: Mouth | None

    def speak(self, turn: TurnId, voice: Voice) -> None: ...


class Talk:
    """Push to talk. Its turn is held in the session from the beginning; what the client said counts once it has been
    heard to the end, whatever becomes of the socket after ``audio.stop``.
    """

    def __init__(
        self, hub: Hub, identity: Identity, session: Session, sink: Sink, frame: AudioStart, room: Room
    ) -> None:
        """Raises ProtocolError: see ``Ears.open`` and ``spoken.listen``; ``invalid`` names the field."""
        self.turn = frame.turn
        self._hub = hub
        self._sink = sink
        self._frame = frame
        self._room: Room | None = room
        self._pieces: list[str] = []
        self._request("?")  # what is wrong with the frame is said before anything is spoken
        self._ear: Ear = hub.ears.open(identity, session.id, hearing_of(frame, hub), self, kb=frame.kb or DEFAULT_KB)
        try:
            self._entry, effects = spoken.listen(
                session,
                frame.turn,
                sink,
                hub.now(),
                longest_s=hub.settings.ears.longest_s + hub.settings.turns.budget_s,
                interrupt=frame.interrupt,
                parent=self._ear.context,
            )
        except ProtocolError:
            self._ear.drop()
            raise
        self._ahead = ahead_of(hub, identity, session.id, frame.kb or DEFAULT_KB, self._ear.context)
        hub.dispatch.apply(effects)

    @property
    def stopped(self) -> bool:
        """No audio is expected any more."""
        return self._ear.ended

    def audio(self, data: bytes) -> None:
        """A binary frame. Raises ProtocolError where the stream cannot go on; the turn is given up then."""
        self.look()
        if self._entry.ended:  # cancelled, or not to be heard, and the client has been told
            return
        try:
            self._ear.feed(data)
        except ProtocolError as error:
            self._give_up(error.code, str(error), told=True)
            raise

    def look(self) -> None:
        """The turn may have been ended: then nobody needs to listen any more."""
        if self._entry.ended:
            self._drop()

    def stop(self) -> None:
        """``audio.stop``."""
        self._ear.end()

    def gone(self) -> None:
        """The socket is gone. What was said to its end is asked all the same."""
        self._room = None
        if not self.stopped:
            self._give_up(FaultCode.CANCELLED, GONE)

    def on_hearing(self, event: HearingEvent) -> None:
        """See :class:`parley_gateway.voice.events.Hears`."""
        if self._entry.ended:
            self._drop()
            return
        match event:
            case SpeechStarted():
                self._ahead.drop()
                self._sink.push(SpeechStartedFrame(turn=self.turn, ms=event.ms))
            case SpeechStopped():
                self._sink.push(SpeechStoppedFrame(turn=self.turn, ms=event.ms))
            case Partial():
                text = join(*self._pieces, event.text)
                self._ahead.said(text, paused=event.paused)
                self._apply(spoken.partial(self._entry, text))
            case Heard():
                self._pieces.append(event.text)
            case Failed():
                self._give_up(code_of(event.fault.code), event.fault.message)
            case Ended():
                self._ask()
            case Listening():
                pass

    def _ask(self) -> None:
        text = join(*self._pieces)
        if not text:
            self._give_up(FaultCode.NO_SPEECH, NO_SPEECH)
            return
        try:
            request = msgspec.structs.replace(self._request(text), early=self._ahead.take(text))
            self._apply(spoken.heard(self._entry, request, self._hub.now(), said_at=self._ear.said_at))
            if self._room is not None and self._frame.speak is not None:
                self._room.speak(self.turn, self._frame.speak)
        except ProtocolError as error:
            self._give_up(error.code, str(error))

    def _request(self, text: str) -> Request:
        return request_of(self._hub, self._frame, self.turn, text)

    def _drop(self) -> None:
        self._ear.drop()
        self._ahead.drop()

    def _give_up(self, code: FaultCode, message: str, *, told: bool = False) -> None:
        self._drop()
        if told:
            self._entry.views.clear()
        retry_ms = int(self._hub.admission.elsewhere_s() * 1000) if code is FaultCode.OVERLOADED else None
        self._apply(spoken.unheard(self._entry, code, message, self._hub.now(), retry_after_ms=retry_ms))

    def _apply(self, effects: list[Effect]) -> None:
        self._hub.dispatch.apply(effects)
        self._hub.dispatch.promise(self._entry)


def request_of(hub: Hub, frame: AudioStart, turn: str, text: str) -> Request:
    """What was said, as a question. Raises ProtocolError ``invalid`` that names the field."""
    settings = hub.settings
    return make_request(
        turn,
        text,
        kb=frame.kb,
        context=frame.context,
        budget_s=budget_of(frame.deadline_ms, settings),
        max_text=settings.limits.max_text,
        spoken=True,
    )


def code_of(text: str) -> FaultCode:
    """A fault of a worker as clients know it."""
    try:
        return FaultCode(text)
    except ValueError:
        return FaultCode.FAILED
