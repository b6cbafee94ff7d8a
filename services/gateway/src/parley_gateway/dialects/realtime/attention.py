"""What is heard on one socket, and what follows from it: items, interruptions, responses. Pure."""

from parley_gateway.dialects.realtime import server
from parley_gateway.dialects.realtime.config import ServerVad
from parley_gateway.dialects.realtime.effects import Effect, Idle, Mark, Say, said
from parley_gateway.dialects.realtime.faults import kind_of
from parley_gateway.dialects.realtime.listening import Over, transcribed
from parley_gateway.dialects.realtime.plans import Prompt, plan_of, prompt_of
from parley_gateway.dialects.realtime.response import Plan
from parley_gateway.dialects.realtime.responses import interrupted
from parley_gateway.dialects.realtime.state import State
from parley_protocol.audio import Heard, Partial, SpeechStarted
from parley_protocol.faults import FaultCode

FORESEEN = 8_000
"""Code points of a conversation that passages are looked for with ahead of time: a follow-up leans on its end."""


class Attention:
    """Follows one stream of audio after another."""

    __slots__ = ("_base", "_input", "_responses", "_state")

    def __init__(self, state: State) -> None:
        self._state = state
        self._input = state.input
        self._responses = state.responses
        self._base = 0.0
        """Milliseconds of the session before the stream of audio at hand."""

    def opened(self, size: int) -> None:
        """A new stream of audio has begun with the last so many bytes."""
        self._base = self._input.written - size / self._input.rate

    def hears(self, event: SpeechStarted | Partial | Heard) -> list[Effect]:
        """What the recogniser says."""
        told = self._state.told
        match event:
            case SpeechStarted():
                return self._begun(event)
            case Partial():
                return said(self._input.partial(event, told=told))
            case Heard():
                over = self._input.heard(event, self._base, told=told)
                return [] if over is None else self._over(over)

    def foresee(self, text: str) -> Prompt | None:
        """What will be asked by itself if no more is said than ``text``; None: nothing will."""
        if not self._state.answers or not self._input.speaking or self._input.waiting:
            return None
        return prompt_of(self._plan(), self._state.conversation, FORESEEN, saying=self._input.saying(text))

    def deaf(self, code: FaultCode, message: str, *, tell: bool = True) -> list[Effect]:
        """Nobody hears any more; the next audio begins a new stream. One that ends for want of audio is not missed."""
        missed = self._input.waiting or self._input.speaking or code is not FaultCode.EXPIRED
        effects = said(self._input.deaf(code.value, message, told=self._state.told))
        if missed and tell:
            effects.append(Say(server.error_event(message, type=kind_of(code), code=code.value)))
        return effects if self._state.dictated else [*effects, *self._responses.unheard(code, message)]

    def dictated(self, id: str, text: str, ms: int) -> list[Effect]:
        """The audio of an item, ``ms`` of it, has been heard."""
        self._state.dictated.discard(id)
        done = transcribed(self._state.conversation, id, text, ms)
        effects = said([done] if self._state.told else [])
        return effects if self._state.unheard else [*effects, *self._responses.known()]

    def undictated(self, id: str, code: FaultCode, message: str) -> list[Effect]:
        """The audio of an item will not be heard, nor what waits for its words be answered."""
        self._state.dictated.discard(id)
        error = server.TranscriptionError(type="transcription_error", code=code.value, message=message)
        failed = server.TranscriptionFailed(item_id=id, error=error)
        telling = failed if self._state.told else server.error_event(message, type=kind_of(code), code=code.value)
        return [Say(telling), *self._responses.unheard(code, message)]

    def idle(self) -> list[Effect]:
        """Nobody has said anything for as long as the client has set."""
        if self._patience_ms is None or self._busy or self._state.unheard or self._state.bounds.transcribes:
            return []
        frames = said(self._input.silent())
        return [*frames, Mark("clear"), *self._responses.follow(self._plan())]

    def quiet(self) -> list[Effect]:
        """An answer has been given: once it has been played, the time begins after which something is said unasked."""
        return self._wait(min(self._state.spoken.ms, self._state.bounds.lead_ms))

    def _wait(self, played_ms: int = 0) -> list[Effect]:
        patience_ms = self._patience_ms
        return [] if patience_ms is None or self._busy else [Idle((patience_ms + played_ms) / 1000)]

    @property
    def _patience_ms(self) -> int | None:
        """How long nobody need say anything; None: for ever. It may have been changed since it was last looked at."""
        vad = self._state.session.audio.input.turn_detection
        return vad.idle_timeout_ms if isinstance(vad, ServerVad) else None

    @property
    def _busy(self) -> bool:
        """Whether somebody speaks, or is about to."""
        return self._responses.busy or self._input.speaking

    def _plan(self) -> Plan:
        """Of a response that begins by itself."""
        return plan_of(self._state.session, None, self._state.conversation)

    def _begun(self, event: SpeechStarted) -> list[Effect]:
        vad = self._state.session.audio.input.turn_detection
        if vad is None:
            return []
        prefix = vad.prefix_padding_ms if isinstance(vad, ServerVad) else 0
        frames = self._input.started(event, self._base, prefix)
        if not frames:
            return []
        effects: list[Effect] = [Idle(None), *said(frames)]
        if vad.interrupt_response and self._responses.active is not None:
            effects += interrupted(self._responses, None, "turn_detected")
        return effects

    def _over(self, over: Over) -> list[Effect]:
        effects = said(over.frames)
        if not self._state.unheard:
            effects += self._responses.known()
        if over.mine and over.text and self._state.answers:
            effects += self._responses.follow(self._plan())
        elif over.mine and self._state.answers:
            effects += self._wait()  # what was taken for speech has said nothing
        return effects
