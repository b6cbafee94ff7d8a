"""What there is of one socket: its session, its conversation, and what is under way. Pure."""

from dataclasses import dataclass

from parley_gateway.dialects.realtime.aloud import Spoken
from parley_gateway.dialects.realtime.config import Pcm, Session
from parley_gateway.dialects.realtime.conversation import Conversation
from parley_gateway.dialects.realtime.listening import InputBuffer
from parley_gateway.dialects.realtime.responses import Responses


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """``items`` and ``text`` (code points) of a conversation, ``prompt`` of what an engine is told of it, ``max_text``
    of one text; ``beside``: responses that are no part of the conversation, at a time; ``dictated``: items whose audio
    is being heard, at a time; ``lead_ms``: audio of an answer that has been given and is still to be played, at most.
    """

    items: int = 1000
    text: int = 1_048_576
    prompt: int = 65_536
    max_text: int = 16_000
    beside: int = 8
    dictated: int = 4
    lead_ms: int = 5000
    transcribes: bool = False
    """The session only transcribes: there are no responses."""


class State:
    """``session`` is what the client has asked for; it may change at any time."""

    __slots__ = ("bounds", "conversation", "dictated", "input", "responses", "session", "spoken")

    def __init__(self, session: Session, bounds: Bounds) -> None:
        self.session = session
        self.bounds = bounds
        self.conversation = Conversation(bounds.items, bounds.text)
        self.responses = Responses(self.conversation, limit=bounds.beside, prompt=bounds.prompt)
        self.input = InputBuffer(self.conversation, self.rate)
        self.dictated: set[str] = set()
        """Items whose audio is still to be heard."""
        self.spoken = Spoken(bounds.items)

    @property
    def rate(self) -> int:
        """Bytes of a millisecond of the client's audio, as it is fed."""
        return 48 if isinstance(self.session.audio.input.format, Pcm) else 8

    @property
    def unheard(self) -> bool:
        """Whether words of an item are still to come."""
        return self.input.waiting or bool(self.dictated)

    @property
    def told(self) -> bool:
        """Whether the client wants to know what was heard."""
        return self.bounds.transcribes or self.session.audio.input.transcription is not None

    @property
    def answers(self) -> bool:
        """Whether a response begins by itself when silence has ended an utterance."""
        vad = self.session.audio.input.turn_detection
        return vad is not None and vad.create_response and not self.bounds.transcribes
