"""``ws://host/v1/realtime``: one socket of the OpenAI Realtime protocol."""

import asyncio
import time
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import parse_qs

from parley_gateway.dialects.dialect import Dialect
from parley_gateway.dialects.realtime import events, server
from parley_gateway.dialects.realtime.asking import MODEL, NAME, Asking, Where
from parley_gateway.dialects.realtime.config import Session
from parley_gateway.dialects.realtime.dictation import Dictations
from parley_gateway.dialects.realtime.effects import (
    Anew,
    Ask,
    Cancel,
    Dictate,
    Effect,
    Feed,
    Hush,
    Idle,
    Kept,
    Mark,
    Rates,
    Say,
)
from parley_gateway.dialects.realtime.faults import INVALID, Unfit, kind_of
from parley_gateway.dialects.realtime.listening import hearing_of
from parley_gateway.dialects.realtime.machine import Machine
from parley_gateway.dialects.realtime.microphone import Microphone
from parley_gateway.dialects.realtime.state import Bounds
from parley_gateway.dialects.socket import DialectSocket
from parley_gateway.dialects.talk import fault_code
from parley_gateway.limits import Bucket
from parley_gateway.turns import DEFAULT_KB
from parley_gateway.voice.alarm import Alarm
from parley_gateway.voice.early import ahead_of
from parley_gateway.voice.events import HearingEvent
from parley_protocol.audio import Failed, Heard, Partial, SpeechStarted
from parley_protocol.faults import FaultCode, ProtocolError
from parley_protocol.ids import SessionId
from parley_runtime.telemetry import names
from parley_runtime.telemetry.logging import get_logger
from parley_runtime.telemetry.metrics import counter

log = get_logger("parley.dialect")

QUIET = frozenset({"input_audio_buffer.append", "response.output_audio.delta"})
"""Kinds that come many times a second."""
EXPIRED = 1000
"""Close code at the end of a session's time."""


class Realtime:
    """One socket. Every response is a turn, in a task of its own."""

    def __init__(self, socket: DialectSocket, model: str, kb: str, *, transcribes: bool = False) -> None:
        settings = socket.hub.settings.realtime
        self._socket = socket
        id = SessionId(socket.hub.sessions.make(socket.identity))
        session = Session(
            id=server.new_id("sess"),
            model=model,
            expires_at=int(time.time() + settings.session_s),
            output_modalities=["audio" if settings.modality == "audio" else "text"],
        )
        bounds = Bounds(
            items=settings.items,
            text=settings.text,
            prompt=settings.prompt,
            max_text=socket.hub.settings.limits.max_text,
            beside=settings.beside,
            dictated=settings.dictated,
            lead_ms=round(settings.lead_s * 1000),
            transcribes=transcribes,
        )
        self._machine = Machine(session, bounds)
        self._taking: str | None = None
        """``event_id`` of the event that is being taken."""
        self.kind = ""
        self.quiet = QUIET
        self.max_message = settings.max_event
        self.bucket = Bucket(settings.event_rate, settings.event_burst, socket.hub.now())
        self._microphone = Microphone(socket, id, kb, self._heard)
        self._dictations = Dictations(socket, id, kb, self._machine.attention, self._carry)
        self._ahead = ahead_of(socket.hub, socket.identity, id, kb or DEFAULT_KB)
        self._asking = Asking(socket, Where(id, kb, model), self._machine, self._carry)
        self._idle = Alarm(lambda: self._carry(self._machine.attention.idle()))
        self._expiry = asyncio.get_running_loop().call_later(settings.session_s, self._expire)

    @property
    def busy(self) -> bool:
        return self._machine.busy

    def greet(self) -> None:
        self._carry(self._machine.greet())

    async def hear(self, data: str | bytes) -> None:
        self.kind, self._taking = "unknown", None
        raw = events.parsed(data)
        self._taking = events.id_of(raw)
        event = events.event_of(raw)
        self.kind = str(event.__struct_config__.tag)
        limit = self._socket.hub.settings.limits.max_message
        if len(data) > limit and not events.brings_audio(event):
            raise ProtocolError(FaultCode.TOO_LARGE, f"an event without audio may have {limit} bytes")
        self._carry(self._machine.take(event))
        self._taking = None

    def refuse(self, error: ProtocolError) -> None:
        event_id, self._taking = self._taking, None
        self._say(refusal(error, event_id))

    def gone(self) -> None:
        self._expiry.cancel()
        self._idle.cancel()
        self._microphone.close()
        self._dictations.close()
        self._ahead.drop()
        self._asking.close()

    # --- effects ------------------------------------------------------------------------------------------------

    def _carry(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            match effect:
                case Say(frame):
                    self._say(frame)
                case Ask():
                    alone = effect.response.plan.alone
                    self._asking.ask(effect, None if alone else self._ahead.take(effect.prompt.question))
                case Cancel(response):
                    self._asking.cancel(response)
                case Hush(response):
                    self._asking.speaker.hush(response, interrupted=True)
                case Kept(response, characters):
                    self._asking.speaker.heard(response, characters)
                case Feed() | Mark() | Anew():
                    self._listen(effect)
                case Dictate(item, data):
                    self._dictations.hear(item, data, hearing_of(self._machine.state.session))
                case Idle(seconds):
                    self._idle.cancel()
                    if seconds is not None:
                        self._idle.after(seconds)
                case Rates():
                    bucket = self.bucket
                    self._say(server.rate_limits(bucket.burst, bucket.left, bucket.full_s()))

    def _say(self, frame: server.Frame) -> None:
        if isinstance(frame, server.ResponseDone):
            details = frame.response.status_details
            reason = (details.reason or (details.error.code if details.error else "")) if details else ""
            counter(names.RESPONSES).labels(frame.response.status, reason).inc()
        self._socket.send(frame.kind, frame)

    # --- audio in -----------------------------------------------------------------------------------------------

    def _listen(self, effect: Feed | Mark | Anew) -> None:
        match effect:
            case Feed(data):
                self._feed(data)
            case Mark(kind):
                self._mark(kind)
            case Anew(size):
                if data := self._microphone.anew(size):
                    self._feed(data)

    def _feed(self, data: bytes) -> None:
        """Raises ProtocolError: nobody hears it, and what waits will not be heard."""
        machine = self._machine
        try:
            self._microphone.feed(data, hearing_of(machine.state.session), machine.attention.opened)
        except ProtocolError as error:
            self._carry(machine.attention.deaf(error.code, str(error), tell=False))
            raise

    def _mark(self, kind: str) -> None:
        if not self._microphone.mark(kind) and kind == "commit":
            self._carry(self._machine.attention.deaf(FaultCode.UNAVAILABLE, "nobody heard this audio; send it again"))

    def _heard(self, event: HearingEvent) -> None:
        match event:
            case Heard() | SpeechStarted() | Partial():
                if not isinstance(event, Heard):
                    self._foresee(event)
                self._carry(self._machine.attention.hears(event))
            case Failed(fault):
                self._carry(self._machine.attention.deaf(fault_code(fault.code), fault.message))
            case _:
                pass

    def _foresee(self, event: SpeechStarted | Partial) -> None:
        prompt = None
        if isinstance(event, Partial) and event.paused and event.text:
            prompt = self._machine.attention.foresee(event.text)
        if prompt is None:
            self._ahead.drop()
        else:
            self._ahead.said(prompt.question, paused=True, messages=prompt.messages)

    def _expire(self) -> None:
        seconds = self._socket.hub.settings.realtime.session_s
        self._say(
            server.error_event(
                f"Your session hit the maximum duration of {seconds / 60:g} minutes.",
                type=INVALID,
                code="session_expired",
            )
        )
        self._socket.close(EXPIRED, "session_expired")


def refusal(error: ProtocolError, event_id: str | None = None) -> server.ErrorEvent:
    """The error event of an event that was not taken."""
    if isinstance(error, Unfit):
        return server.error_event(str(error), type=INVALID, code=error.word, param=error.param, event_id=event_id)
    return server.error_event(str(error), type=kind_of(error.code), code=error.code.value, event_id=event_id)


async def open_socket(socket: DialectSocket, _: Mapping[str, str]) -> Realtime:
    """See :data:`parley_gateway.dialects.dialect.Open`. ``?model=``, or ``?intent=transcription``; and, beyond the
    protocol, ``?kb=``.
    """
    asked: dict[str, list[Any]] = parse_qs(socket.scope.get("query_string", b"").decode("latin-1"))
    model = str(asked.get("model", [MODEL])[0])[:200]
    kb = str(asked.get("kb", [socket.hub.settings.realtime.kb])[0])
    if "call_id" in asked:
        raise ProtocolError(FaultCode.UNSUPPORTED, "calls are not offered: connect with a model")
    return Realtime(socket, model, kb, transcribes="transcription" in asked.get("intent", []))


DIALECT = Dialect(name=NAME, path="/v1/realtime", system=NAME, open=open_socket, error=refusal)
