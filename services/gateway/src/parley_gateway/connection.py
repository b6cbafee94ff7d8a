"""One client on one socket: from hello to close. All but what has to be read from the store happens without waiting, in
the receive loop.
"""

from __future__ import annotations

import math

from parley_gateway import greeting
from parley_gateway.core.session import Session
from parley_gateway.doors import GOING
from parley_gateway.greeting import DIALECT
from parley_gateway.hub import Hub
from parley_gateway.identity import Identity
from parley_gateway.limits import Bucket
from parley_gateway.outbox import Outbox
from parley_gateway.sockets import News
from parley_gateway.turns import request_of
from parley_gateway.voice import again
from parley_gateway.voice.frames import is_audio, pcm_of
from parley_gateway.voice.handsfree import HandsFree
from parley_gateway.voice.mouth import Mouth, check_voice
from parley_gateway.voice.socket_mouth import SocketMouth
from parley_gateway.voice.talk import Talk
from parley_gateway.wire import Wire
from parley_protocol.client import (
    Ack,
    AnswerSpeak,
    AudioPlayed,
    AudioStart,
    AudioStop,
    ClientFrame,
    Draining,
    ErrorFrame,
    Hello,
    Ping,
    Pong,
    TurnCancel,
    TurnStart,
    Voice,
)
from parley_protocol.codec import decode_client
from parley_protocol.faults import RETRYABLE, CloseCode, FaultCode, ProtocolError
from parley_protocol.position import decode_position
from parley_runtime.errors import Overloaded
from parley_runtime.telemetry import names
from parley_runtime.telemetry.logging import get_logger
from parley_runtime.telemetry.metrics import counter

log = get_logger("parley.socket")

SLOW_CLOSE_S = 1.0
"""A client that takes nothing is given so long to take the close frame."""

NO_START = (
    "a binary frame is audio, and audio comes after audio.start (all other frames of this socket are text with JSON, "
    "unless it was opened under parley.v1.msgpack); the frame was dropped"
)

_FATAL = {
    FaultCode.UNAUTHORIZED: CloseCode.BAD_TOKEN,
    FaultCode.NO_HELLO: CloseCode.NO_HELLO,
}


class Connection:
    """State of one socket. ``identity`` is None until hello; ``token`` is what the request itself carried."""

    __slots__ = (
        "_bucket",
        "_text",
        "_token",
        "closing",
        "hub",
        "identity",
        "left",
        "mouth",
        "opened_at",
        "outbox",
        "session",
        "talk",
        "wire",
    )

    def __init__(self, hub: Hub, wire: Wire, token: str, *, text: bool) -> None:
        limits = hub.settings.limits
        now = hub.now()
        self.hub = hub
        self.wire = wire
        self.identity: Identity | None = None
        self.session: Session | None = None
        self.talk: Talk | HandsFree | None = None
        """What is being said on this socket."""
        self.mouth: Mouth | None = None
        """Made when the first answer is to be spoken."""
        self.opened_at = now
        self.closing = 0
        self.left = False
        """The socket is gone."""
        self._text = text
        self._token = token
        self._bucket = Bucket(limits.message_rate, limits.message_burst, now)
        self.outbox = Outbox(
            wire, hub.flusher, text=text, limit=limits.outbox, send_s=limits.send_s, on_slow=self.close
        )

    async def on_message(self, data: str | bytes) -> None:
        """One message of the client. Never raises: what is wrong with it is answered."""
        if self.closing:
            return
        turn: str | None = None
        try:
            if isinstance(data, bytes) and is_audio(data, text=self._text):
                turn = self.talk.turn if self.talk is not None else None
                self._audio(data)
                return
            self._admit(data)
            frame = decode_client(data)
            turn = getattr(frame, "turn", None)
            counter(names.FRAMES_IN).labels(DIALECT, type(frame).__struct_config__.tag).inc()
            await self._on_frame(frame)
        except ProtocolError as error:
            self.refuse(error, turn)
            if error.code is FaultCode.TOO_LARGE and self.identity is None:
                self.close(CloseCode.TOO_LARGE, str(error))
        except Overloaded as error:
            self.error(FaultCode.OVERLOADED, str(error), turn, int(error.retry_after_s * 1000))
        except Exception:
            log.exception("frame failed")
            self.error(FaultCode.FAILED, "this frame could not be worked on; the gateway's log says why", turn)

    def refuse(self, error: ProtocolError, turn: str | None = None) -> None:
        """Say what was not taken; close only where the rest cannot be trusted either."""
        retry = None
        if error.code is FaultCode.OVERLOADED:
            counter(names.REFUSED).labels("session").inc()
            retry = int(self.hub.admission.turn_s() * 1000)
            log.info("turn refused", reason="session", setting="PARLEY_QUEUED_TURNS", retry_after_ms=retry)
        elif error.code is FaultCode.RATE_LIMITED:
            wait_s = self._bucket.wait_s() or self.hub.admission.unknown_s()
            retry = math.ceil(wait_s * 1000)
        self.error(error.code, str(error), turn, retry)
        code = _FATAL.get(error.code)
        if code is not None:
            self.close(code, str(error))

    def close(self, code: CloseCode, reason: str) -> None:
        """Close after what waits has been written; the first code counts."""
        if not self.closing:
            self.closing = int(code)
            self.hub.spawn(self._close(code, reason))

    async def _close(self, code: CloseCode, reason: str) -> None:
        if code is not CloseCode.SLOW_CLIENT:
            self.outbox.flush()
        limit_s = SLOW_CLOSE_S if code is CloseCode.SLOW_CLIENT else self.hub.settings.limits.send_s
        await self.wire.close(code, reason, limit_s)

    @property
    def busy(self) -> bool:
        """See :class:`parley_gateway.sockets.Socket`, as the next three."""
        session, mouth = self.session, self.mouth
        speaking = mouth is not None and mouth.speaking is not None and not mouth.paused
        return session is not None and (bool(session.open) or not self.outbox.empty or speaking)

    def news(self, news: News) -> None:
        """Before hello only that the socket has to go is said."""
        if self.session is not None or isinstance(news, Draining):
            self.outbox.push(news)

    def go(self) -> None:
        self.close(CloseCode.DRAINING, GOING)

    def go_now(self) -> None:
        self.outbox.flush()
        self.wire.leave(CloseCode.DRAINING, GOING)

    def gone(self) -> None:
        """The socket is gone. Turns run on: a disconnect is not a cancel."""
        self.left = True
        self.outbox.drop()
        if self.mouth is not None:
            self.mouth.close()
        session = self.session
        if self.talk is not None:
            self.talk.gone()
        if session is not None:
            session.detach(self.outbox, self.hub.now())
            self.hub.registry.release(session)
        if self.identity is not None:
            self.hub.count_identity(self.identity, -1)

    # --- speech -----------------------------------------------------------------------------------------------

    def _audio(self, data: bytes) -> None:
        """A frame of audio: bounded by its stream, not by the rate of messages."""
        if self.talk is None:
            self._fits(data)
            self._take()
            raise ProtocolError(FaultCode.BAD_FRAME, NO_START)
        self._fits(data)
        counter(names.FRAMES_IN).labels(DIALECT, "audio").inc()
        self.talk.audio(pcm_of(data, text=self._text))

    def _speak(self, frame: AudioStart, session: Session) -> None:
        if self.talk is not None and not self.talk.stopped:
            raise ProtocolError(FaultCode.INVALID, "a stream of audio is open on this socket; send audio.stop first")
        self._check_drain()
        assert self.identity is not None
        if frame.speak is not None:
            check_voice(frame.speak)
        self.talk = None
        kind = HandsFree if frame.hands_free else Talk
        self.talk = kind(self.hub, self.identity, session, self.outbox, frame, self)
        if frame.interrupt and self.mouth is not None:
            self.mouth.interrupt()

    def _stop(self) -> None:
        if self.talk is None:
            raise ProtocolError(FaultCode.INVALID, "audio.stop came without audio.start; nothing was ended")
        self.talk.stop()
        self.talk = None

    # --- frames -----------------------------------------------------------------------------------------------

    def _fits(self, data: str | bytes) -> None:
        limit = self.hub.settings.limits.max_message
        if len(data) > limit or (isinstance(data, str) and len(data) * 4 > limit and len(data.encode()) > limit):
            raise ProtocolError(FaultCode.TOO_LARGE, f"a frame may have {limit} bytes; this one was dropped")

    def _admit(self, data: str | bytes) -> None:
        self._fits(data)
        self._take()
        if isinstance(data, str) != self._text:
            kind = "text frames with JSON" if self._text else "binary frames with MessagePack"
            raise ProtocolError(FaultCode.BAD_FRAME, f"this socket speaks {kind}; the frame was dropped")

    def _take(self) -> None:
        if not self._bucket.take(self.hub.now()):
            raise ProtocolError(FaultCode.RATE_LIMITED, "frames come faster than this socket may send them; slow down")

    async def _on_frame(self, frame: ClientFrame) -> None:
        if isinstance(frame, Hello):
            await self._greeted(frame)
        elif isinstance(frame, Ping):
            self.outbox.push(Pong())
        elif self.session is None:
            raise ProtocolError(FaultCode.NO_HELLO, "the first frame must be hello; connect again and say hello")
        elif isinstance(frame, TurnStart):
            self._start(frame, self.session)
        elif isinstance(frame, TurnCancel):
            self.hub.dispatch.apply(self.session.cancel(frame.turn, self.hub.now()))
            if self.talk is not None:
                self.talk.look()
            if self.mouth is not None:
                self.mouth.drop(frame.turn)
        elif isinstance(frame, Ack):
            decode_position(frame.position)
        else:
            await self._on_sound(frame, self.session)

    async def _on_sound(self, frame: AudioStart | AudioStop | AudioPlayed | AnswerSpeak, session: Session) -> None:
        if isinstance(frame, AudioPlayed):
            if self.mouth is not None:
                self.mouth.played(frame.turn, frame.ms)
        elif isinstance(frame, AnswerSpeak):
            await again.hold(self.hub, session, frame)
            self.speak(frame.turn, frame.speak, first=frame.sentence)
        elif isinstance(frame, AudioStart):
            self._speak(frame, session)
        else:
            self._stop()

    def _check_drain(self) -> None:
        if self.hub.draining:
            counter(names.REFUSED).labels("draining").inc()
            wait_s = self.hub.admission.elsewhere_s()
            raise Overloaded("this gateway is going away; reconnect and send the turn again", retry_after_s=wait_s)

    def _start(self, frame: TurnStart, session: Session) -> None:
        self._check_drain()
        request = request_of(frame, self.hub.settings)
        if frame.speak is not None:
            check_voice(frame.speak)
        fresh = frame.turn not in session.entries
        effects = session.start(request, self.outbox, self.hub.now(), interrupt=frame.interrupt)
        if frame.interrupt and fresh and self.mouth is not None:
            self.mouth.interrupt()
        self.hub.dispatch.apply(effects)
        if frame.speak is not None:
            self.speak(frame.turn, frame.speak)

    def speak(self, turn: str, voice: Voice, *, first: int = 0) -> None:
        """Have the answer of a turn of this session spoken to this socket too, from sentence ``first`` on. Raises
        ProtocolError ``invalid``.
        """
        if self.left:  # what was said before it went is asked, and nobody hears the answer
            return
        assert self.session is not None
        if self.mouth is None:
            outbox = self.outbox
            sink = SocketMouth(outbox, text=self._text)
            self.mouth = self.hub.mouths.open(self.session, voice, sink, room=lambda: not outbox.stalled)
        check_voice(voice)
        self.mouth.voice = voice
        self.mouth.say(turn, first=first)

    async def _greeted(self, frame: Hello) -> None:
        """A hello that is refused leaves nothing to talk about: say why and close."""
        try:
            token, self._token = frame.token or self._token, ""
            await greeting.hello(self, frame, token)
        except ProtocolError as error:
            if error.code not in _FATAL:
                self.close(CloseCode.PROTOCOL_ERROR, str(error))
            raise
        except Overloaded as error:
            self.close(CloseCode.OVERLOADED, str(error))
            raise

    def error(self, code: FaultCode, message: str, turn: str | None, retry_after_ms: int | None = None) -> None:
        """Say what was not taken. The socket stays."""
        counter(names.FRAME_ERRORS).labels(DIALECT, code.value).inc()
        self.outbox.push(
            ErrorFrame(
                code=code.value,
                message=message,
                retryable=code in RETRYABLE,
                retry_after_ms=retry_after_ms,
                turn=turn,
            )
        )
