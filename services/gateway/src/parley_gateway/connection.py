"""One client on one socket: from hello to close. All but what has to be read from the store happens without waiting, in
the receive loop.
"""

from __future__ import annotations

import math

from parley_gateway import greeting
from parley_gateway.core.session import Session
from parley_gateway.doors import GOING
from parley_gateway.gate import Gate
from parley_gateway.greeting import DIALECT
from parley_gateway.hub import Hub
from parley_gateway.identity import Identity
from parley_gateway.outbox import Outbox
from parley_gateway.sockets import News
from parley_gateway.turns import ASK_AGAIN, request_of
from parley_gateway.voice.frames import is_audio
from parley_gateway.voice.mouth import check_voice
from parley_gateway.voice.socket_speech import SocketSpeech
from parley_gateway.wire import Wire
from parley_protocol.client import (
    Ack,
    ClientFrame,
    Draining,
    ErrorFrame,
    Hello,
    Ping,
    Pong,
    TurnCancel,
    TurnStart,
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


class Connection:
    """State of one socket. ``identity`` is None until hello, ``session`` and ``speech`` are until welcome; ``token`` is
    what the request itself carried.
    """

    __slots__ = (
        "_gate",
        "closing",
        "hub",
        "identity",
        "opened_at",
        "outbox",
        "session",
        "speech",
        "text",
        "token",
        "wire",
    )

    def __init__(self, hub: Hub, wire: Wire, token: str, *, text: bool) -> None:
        limits = hub.settings.limits
        now = hub.now()
        self.hub = hub
        self.wire = wire
        self.identity: Identity | None = None
        self.session: Session | None = None
        self.speech: SocketSpeech | None = None
        self.opened_at = now
        self.closing = 0
        self.text = text
        self.token = token
        self._gate = Gate(limits, now, text=text)
        self.outbox = Outbox(
            wire, hub.flusher, text=text, limit=limits.outbox, send_s=limits.send_s, on_slow=self.close
        )

    async def on_message(self, data: str | bytes) -> None:
        """One message of the client. Never raises: what is wrong with it is answered."""
        if self.closing:
            return
        turn: str | None = None
        try:
            if isinstance(data, bytes) and is_audio(data, text=self.text):
                talk = self.speech.talk if self.speech is not None else None
                turn = talk.turn if talk is not None else None
                self._audio(data)
                return
            self._gate.frame(data, self.hub.now())
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
            wait_s = self._gate.wait_s() or self.hub.admission.unknown_s()
            retry = math.ceil(wait_s * 1000)
        self.error(error.code, str(error), turn, retry)
        code = greeting.FATAL.get(error.code)
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
        session, speech = self.session, self.speech
        if session is None or speech is None:
            return False
        return bool(session.open) or not self.outbox.empty or speech.answering

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
        self.outbox.drop()
        if self.speech is not None:
            self.speech.gone()
        if self.session is not None:
            self.session.detach(self.outbox, self.hub.now())
            self.hub.registry.release(self.session)
        if self.identity is not None:
            self.hub.count_identity(self.identity, -1)

    # --- frames -----------------------------------------------------------------------------------------------

    def _audio(self, data: bytes) -> None:
        """A frame of audio: bounded by its stream, not by the rate of messages."""
        if self.speech is None or self.speech.talk is None:
            self._gate.stray(data, self.hub.now())
            raise ProtocolError(FaultCode.BAD_FRAME, NO_START)
        self._gate.audio(data)
        counter(names.FRAMES_IN).labels(DIALECT, "audio").inc()
        self.speech.audio(data)

    async def _on_frame(self, frame: ClientFrame) -> None:
        if isinstance(frame, Hello):
            await greeting.hello(self, frame)
            return
        if isinstance(frame, Ping):
            self.outbox.push(Pong())
            return
        session, speech = self.session, self.speech
        if session is None or speech is None:
            raise ProtocolError(FaultCode.NO_HELLO, "the first frame must be hello; connect again and say hello")
        match frame:
            case TurnStart():
                self._start(frame, session, speech)
            case TurnCancel():
                try:
                    self.hub.dispatch.apply(session.cancel(frame.turn, self.hub.now()))
                finally:  # one that is kept no longer may be spoken still
                    speech.cancelled(frame.turn)
            case Ack():
                decode_position(frame.position)
            case _:
                await speech.take(frame)

    def _start(self, frame: TurnStart, session: Session, speech: SocketSpeech) -> None:
        self.hub.check_open(ASK_AGAIN)
        request = request_of(frame, self.hub.settings)
        if frame.speak is not None:
            check_voice(frame.speak)
        fresh = frame.turn not in session.entries
        effects = session.start(request, self.outbox, self.hub.now(), interrupt=frame.interrupt)
        if frame.interrupt and fresh:
            speech.interrupt()
        self.hub.dispatch.apply(effects)
        if frame.speak is not None:
            speech.speak(frame.turn, frame.speak)

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
