"""Responses of one socket as they are spoken."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from parley_gateway.dialects.realtime import server
from parley_gateway.dialects.realtime.aloud import Given
from parley_gateway.dialects.realtime.audio import encoded, rate_of
from parley_gateway.dialects.realtime.faults import kind_of
from parley_gateway.dialects.realtime.response import Responding
from parley_gateway.dialects.talk import fault_code
from parley_gateway.hub import Hub
from parley_gateway.voice.mouth import AudioChunk, Mouth
from parley_protocol.client import Voice
from parley_protocol.events import Fault
from parley_protocol.faults import FaultCode
from parley_protocol.ids import SessionId, TurnId, TurnKey

FRAME_MS = 200
"""Longest audio of one event."""
KEPT = 16
"""Spoken responses of which a client may still say how much was heard."""
UNSPOKEN = Fault(FaultCode.UNAVAILABLE.value, "this answer cannot be spoken at present; its text is whole", True)


@dataclass(frozen=True, slots=True)
class Told:
    """Who hears of it: audio as base64, and how much of the answer it gives; that what has not been played is void; the
    end of it, and why it is not whole.
    """

    audio: Callable[[Responding, str, Given], None]
    void: Callable[[Responding], None]
    spoken: Callable[[Responding, server.ResponseError | None], None]


class Voiced:
    """One response, as its mouth's listener. See :class:`parley_gateway.voice.mouth.Speaks`."""

    def __init__(self, response: Responding, told: Told) -> None:
        self._response = response
        self._told = told

    def on_audio(self, chunk: AudioChunk) -> None:
        begin, end = chunk.at_samples, chunk.at_samples + len(chunk.pcm) // 2
        given = Given(chunk.sentence, begin * 1000 // chunk.rate, end * 1000 // chunk.rate, chunk.said)
        self._told.audio(self._response, encoded(chunk.pcm, self._response.plan.format), given)

    def on_flush(self, turn: TurnId, ms: int, ended: bool) -> None:  # noqa: ARG002 - of Speaks
        """At the end of a response other events tell its client to forget audio."""
        if not ended:
            self._told.void(self._response)

    def on_spoken(self, turn: TurnId, ms: int, fault: Fault | None) -> None:  # noqa: ARG002 - of Speaks
        self._told.spoken(self._response, None if fault is None else error_of(fault))


class Speaker:
    """Mouths of the responses under way."""

    def __init__(self, hub: Hub, told: Told) -> None:
        self._hub = hub
        self._told = told
        self._mouths: dict[Responding, Mouth] = {}
        self._keys: dict[str, TurnKey] = {}
        """Of the last spoken responses, by their ids."""

    def say(self, response: Responding, session: SessionId, turn: TurnId) -> None:
        """Have the answer of an accepted turn spoken. What becomes of it is always told."""
        plan = response.plan
        response.speaking = True
        held = self._hub.registry.sessions.get(session)
        if held is None:
            self._told.spoken(response, error_of(UNSPOKEN))
            return
        settings = replace(self._hub.settings.mouths, lead_s=self._hub.settings.realtime.lead_s, frame_ms=FRAME_MS)
        voice = Voice(voice=plan.voice[:64], rate=rate_of(plan.format), speed=plan.speed)
        mouth = self._hub.mouths.open(held, voice, Voiced(response, self._told), settings=settings)
        self._mouths[response] = mouth
        self._keys[response.id] = held.key(turn)
        if len(self._keys) > KEPT:
            del self._keys[next(iter(self._keys))]
        mouth.say(turn)
        if mouth.speaking is None:
            self._told.spoken(response, error_of(UNSPOKEN))

    def hush(self, response: Responding, *, interrupted: bool = False) -> None:
        """No more of it. ``interrupted``: what was heard of it, by the clock, goes on record."""
        response.speaking = False
        mouth = self._mouths.pop(response, None)
        if mouth is not None:
            if interrupted:
                mouth.interrupt()
            mouth.close()

    def heard(self, response: str, characters: int) -> None:
        """The client says how much of a response was heard."""
        key = self._keys.get(response)
        if key is not None:
            self._hub.mouths.heard.keep(key, characters)

    def close(self) -> None:
        """The socket is gone."""
        for response in tuple(self._mouths):
            self.hush(response)


def error_of(fault: Fault) -> server.ResponseError:
    """A fault as a response tells it."""
    code = fault_code(fault.code)
    return server.ResponseError(type=kind_of(code), code=code.value, message=fault.message)
