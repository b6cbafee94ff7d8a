"""What is said and heard on one native socket."""

from __future__ import annotations

from typing import TYPE_CHECKING

from parley_gateway.core.session import Session
from parley_gateway.identity import Identity
from parley_gateway.outbox import Outbox
from parley_gateway.turns import ASK_AGAIN
from parley_gateway.voice import again
from parley_gateway.voice.frames import pcm_of
from parley_gateway.voice.handsfree import HandsFree
from parley_gateway.voice.mouth import Mouth, check_voice
from parley_gateway.voice.socket_mouth import SocketMouth
from parley_gateway.voice.talk import Talk
from parley_protocol.client import AnswerSpeak, AudioPlayed, AudioStart, AudioStop, Voice
from parley_protocol.faults import FaultCode, ProtocolError
from parley_protocol.ids import TurnId

if TYPE_CHECKING:
    from parley_gateway.hub import Hub


class SocketSpeech:
    """From ``welcome`` on. ``text``: its audio is the whole of a binary frame."""

    __slots__ = ("_hub", "_identity", "_left", "_outbox", "_session", "_text", "mouth", "talk")

    def __init__(self, hub: Hub, identity: Identity, session: Session, outbox: Outbox, *, text: bool) -> None:
        self._hub = hub
        self._identity = identity
        self._session = session
        self._outbox = outbox
        self._text = text
        self._left = False
        """The socket is gone."""
        self.talk: Talk | HandsFree | None = None
        """What is being said."""
        self.mouth: Mouth | None = None
        """Made when the first answer is to be spoken."""

    @property
    def answering(self) -> bool:
        """Whether an answer is being spoken."""
        return self.mouth is not None and self.mouth.speaking is not None and not self.mouth.paused

    async def take(self, frame: AudioStart | AudioStop | AudioPlayed | AnswerSpeak) -> None:
        """A frame that is about speech. Waits only for what has to be read from the store. Raises ProtocolError, and
        Overloaded while the gateway drains.
        """
        match frame:
            case AudioStart():
                self._start(frame)
            case AudioStop():
                self._stop()
            case AudioPlayed():
                if self.mouth is not None:
                    self.mouth.played(frame.turn, frame.ms)
            case AnswerSpeak():
                await again.hold(self._hub, self._session, frame)
                # From its beginning it is read once more, and its text has been told: nothing of it is unheard.
                self.speak(frame.turn, frame.speak, first=frame.sentence, counts=frame.sentence > 0)

    # --- what is said -----------------------------------------------------------------------------------------

    def _start(self, frame: AudioStart) -> None:
        if self.talk is not None and not self.talk.stopped:
            raise ProtocolError(FaultCode.INVALID, "a stream of audio is open on this socket; send audio.stop first")
        self._hub.check_open(ASK_AGAIN)
        if frame.speak is not None:
            check_voice(frame.speak)
        self.talk = None
        kind = HandsFree if frame.hands_free else Talk
        self.talk = kind(self._hub, self._identity, self._session, self._outbox, frame, self)
        if frame.interrupt:
            self.interrupt()

    def audio(self, data: bytes) -> None:
        """A frame of it. Raises ProtocolError."""
        assert self.talk is not None
        self.talk.audio(pcm_of(data, text=self._text))

    def _stop(self) -> None:
        if self.talk is None:
            raise ProtocolError(FaultCode.INVALID, "audio.stop came without audio.start; nothing was ended")
        self.talk.stop()
        self.talk = None

    # --- what is heard ----------------------------------------------------------------------------------------

    def speak(self, turn: TurnId, voice: Voice, *, first: int = 0, counts: bool = True) -> None:
        """Have the answer of a turn of this session spoken to this socket too, see :meth:`Mouth.say`. Raises
        ProtocolError ``invalid``.
        """
        if self._left:  # what was said before it went is asked, and nobody hears the answer
            return
        if self.mouth is None:
            outbox = self._outbox
            sink = SocketMouth(outbox, text=self._text)
            self.mouth = self._hub.mouths.open(self._session, voice, sink, room=lambda: not outbox.stalled)
        check_voice(voice)
        self.mouth.voice = voice
        self.mouth.say(turn, first=first, counts=counts)

    def interrupt(self) -> None:
        """What is being spoken is not wanted any more."""
        if self.mouth is not None:
            self.mouth.interrupt()

    # --- what becomes of it -----------------------------------------------------------------------------------

    def cancelled(self, turn: TurnId) -> None:
        """The client has cancelled this turn."""
        if self.talk is not None:
            self.talk.look()
        if self.mouth is not None:
            self.mouth.drop(turn)

    def gone(self) -> None:
        """The socket is."""
        self._left = True
        if self.mouth is not None:
            self.mouth.close()
        if self.talk is not None:
            self.talk.gone()
