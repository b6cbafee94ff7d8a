"""``ws://host/v1/realtime``: one socket of the OpenAI Realtime protocol."""

import asyncio
import secrets
import time
from collections.abc import Iterable, Mapping
from typing import Any, Literal
from urllib.parse import parse_qs

from parley_gateway.dialects.dialect import Dialect
from parley_gateway.dialects.realtime import events, server
from parley_gateway.dialects.realtime.aloud import Given
from parley_gateway.dialects.realtime.config import Session
from parley_gateway.dialects.realtime.effects import Ask, Cancel, Effect, Feed, Hush, Idle, Kept, Mark, Rates, Say
from parley_gateway.dialects.realtime.faults import INVALID, Unfit, kind_of
from parley_gateway.dialects.realtime.items import FunctionCall
from parley_gateway.dialects.realtime.listening import hearing_of
from parley_gateway.dialects.realtime.machine import Bounds, Machine
from parley_gateway.dialects.realtime.microphone import Microphone
from parley_gateway.dialects.realtime.response import Outcome, Plan, Responding, Stage
from parley_gateway.dialects.realtime.speaker import Speaker, Told
from parley_gateway.dialects.socket import DialectSocket
from parley_gateway.dialects.talk import Answered, Question, answer, cancel, fault_code
from parley_gateway.dialects.talk import Failed as NoAnswer
from parley_gateway.limits import Bucket
from parley_gateway.turns import DEFAULT_KB
from parley_gateway.voice.early import ahead_of
from parley_gateway.voice.events import HearingEvent
from parley_protocol.audio import Failed, Heard, Partial, SpeechStarted
from parley_protocol.client import Done
from parley_protocol.events import Ending, TurnStatus
from parley_protocol.faults import FaultCode, ProtocolError
from parley_protocol.ids import SessionId, TurnId
from parley_protocol.work import Sampling, Tool
from parley_runtime.telemetry import names
from parley_runtime.telemetry.logging import get_logger
from parley_runtime.telemetry.metrics import counter

log = get_logger("parley.dialect")

NAME = "realtime"
MODEL = "parley"
PIECE = 16_384
"""Code points of one delta: what a slow client has not read yet comes in one text."""
CUTS: dict[str, Literal["max_output_tokens", "content_filter"]] = {
    "length": "max_output_tokens",
    "filter": "content_filter",
}
"""Why a response is incomplete, by what the engine says of its end."""
QUIET = frozenset({"input_audio_buffer.append", "response.output_audio.delta"})
"""Kinds that come many times a second."""
EXPIRED = 1000
"""Close code at the end of a session's time."""


class Realtime:
    """One socket. Every response is a turn, in a task of its own."""

    def __init__(self, socket: DialectSocket, model: str, kb: str, *, transcribes: bool = False) -> None:
        settings = socket.hub.settings.realtime
        self._socket = socket
        self._model = model
        self._kb = kb
        self._session = socket.hub.sessions.make(socket.identity)
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
            transcribes=transcribes,
        )
        self._machine = Machine(session, bounds)
        self._turns: dict[Responding, tuple[Question, asyncio.Task[None]]] = {}
        self._taking: str | None = None
        """``event_id`` of the event that is being taken."""
        self.kind = ""
        self.quiet = QUIET
        self.max_message = settings.max_event
        self.bucket = Bucket(settings.event_rate, settings.event_burst, socket.hub.now())
        self._microphone = Microphone(socket, SessionId(self._session), kb, self._heard)
        self._ahead = ahead_of(socket.hub, socket.identity, SessionId(self._session), kb or DEFAULT_KB)
        self._speaker = Speaker(socket.hub, Told(self._sound, self._void, self._spoken))
        self._idle: asyncio.TimerHandle | None = None
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
        if len(data) > limit and not isinstance(event, events.AudioAppend):
            raise ProtocolError(FaultCode.TOO_LARGE, f"an event without audio may have {limit} bytes")
        self._carry(self._machine.take(event))
        self._taking = None

    def refuse(self, error: ProtocolError) -> None:
        event_id, self._taking = self._taking, None
        self._say(refusal(error, event_id))

    def gone(self) -> None:
        self._expiry.cancel()
        self._wait_idle(None)
        self._microphone.close()
        self._ahead.drop()
        self._speaker.close()
        for _, task in self._turns.values():
            task.cancel()  # nobody reads it here; the turn runs on and is stored

    # --- effects ------------------------------------------------------------------------------------------------

    def _carry(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            match effect:
                case Say(frame):
                    self._say(frame)
                case Ask():
                    self._ask(effect)
                case Cancel(response):
                    self._cancel(response)
                case Hush(response):
                    self._speaker.hush(response, interrupted=True)
                case Kept(response, characters):
                    self._speaker.heard(response, characters)
                case Feed(data):
                    self._feed(data)
                case Mark(kind):
                    self._mark(kind)
                case Idle(seconds):
                    self._wait_idle(seconds)
                case Rates():
                    bucket = self.bucket
                    self._say(server.rate_limits(bucket.burst, bucket.left, bucket.full_s()))

    def _say(self, frame: server.Frame) -> None:
        if isinstance(frame, server.ResponseDone):
            details = frame.response.status_details
            reason = (details.reason or (details.error.code if details.error else "")) if details else ""
            counter(names.RESPONSES).labels(frame.response.status, reason).inc()
        self._socket.send(frame.kind, frame)

    def _ask(self, asked: Ask) -> None:
        plan = asked.response.plan
        question = Question(
            text=asked.prompt.question,
            session=self._socket.hub.sessions.make(self._socket.identity) if plan.alone else SessionId(self._session),
            kb=self._kb or None,
            turn=TurnId(f"r{secrets.token_hex(10)}"),
            messages=asked.prompt.messages,
            sampling=sampling_of(plan, self._model),
            early=None if plan.alone else self._ahead.take(asked.prompt.question),
        )
        task = asyncio.get_running_loop().create_task(self._answer(asked.response, question), name="realtime response")
        self._turns[asked.response] = (question, task)

    async def _answer(self, response: Responding, question: Question) -> None:
        """One response to its end. What is not written yet waits in the turn, not here."""
        socket, machine = self._socket, self._machine

        def accepted() -> None:
            self._carry(machine.responses.accepted(response))
            if response.spoken:
                assert question.turn is not None
                self._speaker.say(response, question.session, question.turn)

        async def told(text: str, anew: bool) -> None:
            for start in range(0, len(text), PIECE):
                await socket.room()
                self._carry(machine.piece(response, text[start : start + PIECE], anew=anew and not start))

        try:
            outcome = await answer(
                socket.hub,
                socket.identity,
                question,
                told,
                accepted=accepted,
            )
        except Exception:
            log.exception("response failed on a defect", dialect=NAME)
            outcome = NoAnswer(FaultCode.FAILED, "this response could not be worked on; ask again")
        finally:
            self._turns.pop(response, None)
        await socket.room()
        if isinstance(outcome, Answered):
            self._carry(machine.ended(response, outcome_of(outcome.done)))
        else:
            self._carry(machine.responses.refused(response, outcome.code, outcome.message))
        if response.stage is Stage.OVER:
            self._speaker.hush(response)

    def _cancel(self, response: Responding) -> None:
        """The turn's end is told by its task. One that has not been begun never will be."""
        question, task = self._turns[response]
        if not cancel(self._socket.hub, question):
            task.cancel()
            self._turns.pop(response, None)
            self._carry(self._machine.ended(response, Outcome(end="cancelled")))

    def _sound(self, response: Responding, data: str, given: Given) -> None:
        self._carry(self._machine.audio(response, data, given))

    def _void(self, response: Responding) -> None:
        if response.stage is Stage.TELLING:
            self._say(server.OutputCleared(response_id=response.id))

    def _spoken(self, response: Responding, error: server.ResponseError | None) -> None:
        self._speaker.hush(response)
        self._carry(self._machine.spoken(response, error))

    # --- audio in -----------------------------------------------------------------------------------------------

    def _feed(self, data: bytes) -> None:
        """Raises ProtocolError: nobody hears it, and what waits will not be heard."""
        machine = self._machine
        try:
            self._microphone.feed(data, hearing_of(machine.session), machine.opened)
        except ProtocolError as error:
            self._carry(machine.deaf(error.code, str(error), tell=False))
            raise

    def _mark(self, kind: str) -> None:
        if not self._microphone.mark(kind) and kind == "commit":
            self._carry(self._machine.deaf(FaultCode.UNAVAILABLE, "nobody heard this audio; send it again"))

    def _heard(self, event: HearingEvent) -> None:
        match event:
            case Heard() | SpeechStarted() | Partial():
                if not isinstance(event, Heard):
                    self._foresee(event)
                self._carry(self._machine.hears(event))
            case Failed(fault):
                self._carry(self._machine.deaf(fault_code(fault.code), fault.message))
            case _:
                pass

    def _foresee(self, event: SpeechStarted | Partial) -> None:
        prompt = None
        if isinstance(event, Partial) and event.paused and event.text:
            prompt = self._machine.foresee(event.text)
        if prompt is None:
            self._ahead.drop()
        else:
            self._ahead.said(prompt.question, paused=True, messages=prompt.messages)

    def _wait_idle(self, seconds: float | None) -> None:
        if self._idle is not None:
            self._idle.cancel()
        self._idle = None if seconds is None else asyncio.get_running_loop().call_later(seconds, self._on_idle)

    def _on_idle(self) -> None:
        self._idle = None
        self._carry(self._machine.idle())

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


def sampling_of(plan: Plan, model: str) -> Sampling:
    """What the engine is asked for."""
    tools = tuple(Tool(tool.name, tool.description or "", tool.parameters) for tool in plan.tools)
    return Sampling(
        model=None if model == MODEL else model,
        max_tokens=None if plan.max_output_tokens == "inf" else plan.max_output_tokens,
        tools=tools,
        tool_choice="" if plan.tool_choice == "auto" or not tools else plan.tool_choice,
    )


def outcome_of(done: Done) -> Outcome:
    """How a response ends whose turn was answered, or cancelled."""
    if done.status is TurnStatus.CANCELLED:
        return Outcome(end="cancelled", usage=done.usage, sources=done.sources)
    ending = done.ending or Ending()
    calls = [
        FunctionCall(id=server.new_id("item"), name=call.name, arguments=call.arguments, call_id=call.id)
        for call in ending.calls
    ]
    reason = CUTS.get(ending.finish)
    end: Literal["completed", "incomplete"] = "completed" if reason is None else "incomplete"
    return Outcome(end=end, reason=reason, usage=done.usage, sources=done.sources, calls=calls)


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
