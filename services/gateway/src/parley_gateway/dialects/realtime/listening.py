"""The input audio buffer: what a client says, utterance by utterance, and the items that it becomes. Pure.

An utterance that the client commits becomes an item at once and its transcript follows; one that ends by silence
becomes an item when it has been heard.
"""

from collections import deque
from dataclasses import dataclass, field

from parley_gateway.dialects.realtime import server
from parley_gateway.dialects.realtime.config import Pcm, SemanticVad, ServerVad, Session
from parley_gateway.dialects.realtime.conversation import Conversation
from parley_gateway.dialects.realtime.faults import Unfit
from parley_gateway.dialects.realtime.items import Message, Part, worded
from parley_gateway.dialects.realtime.server import Frame, new_id
from parley_protocol.audio import Endpointing, Heard, Hearing, Partial, SpeechStarted

EAGER_MS = {"low": 1500, "medium": 800, "auto": 800, "high": 400}
"""Silence that ends a turn, by ``eagerness``: there is no model that tells a pause from an end."""
SHORTEST_MS = 100
"""Of audio that can be committed."""
MAX_PROMPT = 2000


def hearing_of(session: Session) -> Hearing:
    """How the session's audio is to be heard. A-law is turned into mu-law on the way."""
    given = session.audio.input
    asked = given.transcription
    wide = isinstance(given.format, Pcm)
    prompt = ", ".join(part for part in ((asked.prompt or ""), *(asked.keywords or ())) if part) if asked else ""
    return Hearing(
        encoding="pcm_s16le" if wide else "pcm_mulaw",
        rate=24_000 if wide else 8_000,
        language=(asked.language or "")[:35] if asked else "",
        prompt=prompt[:MAX_PROMPT],
        by_silence=given.turn_detection is not None,
        endpointing=_endpointing(given.turn_detection),
    )


def _endpointing(vad: ServerVad | SemanticVad | None) -> Endpointing:
    match vad:
        case ServerVad():
            silence = vad.silence_duration_ms
            return Endpointing(
                threshold=min(0.99, max(0.01, vad.threshold)),
                prefix_ms=vad.prefix_padding_ms,
                pause_ms=min(Endpointing().pause_ms, silence),
                silence_ms=silence,
            )
        case SemanticVad():
            return Endpointing(silence_ms=EAGER_MS[vad.eagerness])
        case None:
            return Endpointing()


@dataclass(slots=True)
class Utterance:
    """What is being said, or waits to be heard. ``told``: code points of its transcript that the client has."""

    id: str = field(default_factory=lambda: new_id("item"))
    told: int = 0
    started: bool = False
    text: list[str] = field(default_factory=list)
    """Of its parts, where it was longer than an utterance may be."""

    def more(self, text: str) -> list[Frame]:
        """Tell of its transcript as far as it is sure."""
        delta, self.told = text[self.told :], max(len(text), self.told)
        return [server.TranscriptionDelta(item_id=self.id, delta=delta)] if delta else []


@dataclass(frozen=True, slots=True)
class Over:
    """An utterance has been heard: ``frames`` tell of it, ``text`` may be empty. ``mine``: it ended by silence."""

    frames: list[Frame]
    text: str
    mine: bool


class InputBuffer:
    """``rate``: bytes of a millisecond."""

    __slots__ = ("_conversation", "_current", "_pending", "_since", "rate", "written")

    def __init__(self, conversation: Conversation, rate: int) -> None:
        self._conversation = conversation
        self.rate = rate
        self.written = 0.0
        """Milliseconds of audio, of the whole session."""
        self._since = 0.0
        """Where what can be committed begins."""
        self._current = Utterance()
        self._pending: deque[Utterance] = deque()
        """Committed by the client, and not heard yet."""

    @property
    def speaking(self) -> bool:
        """Whether the user is speaking."""
        return self._current.started

    def saying(self, text: str) -> str:
        """What has been said of the utterance at hand, ``text`` being the last part of it."""
        return " ".join([*self._current.text, text])

    @property
    def waiting(self) -> bool:
        """Whether an item's transcript is still to come."""
        return bool(self._pending)

    def append(self, size: int) -> None:
        """Audio has come."""
        self.written += size / self.rate

    def another(self, rate: int) -> int:
        """It is heard in another way from here on. Returns the bytes of it that are heard so too: none of them where
        the rate is another one, since they mean something else then, and are forgotten.
        """
        if rate == self.rate:
            return round((self.written - self._since) * rate)
        self.clear()
        self.rate = rate
        return 0

    def commit(self) -> list[Frame]:
        """The client says that the utterance ends here. Raises Unfit where there is next to nothing."""
        length = self.written - self._since
        if length < SHORTEST_MS:
            raise Unfit(
                f"Error committing input audio buffer: buffer too small. Expected at least {SHORTEST_MS}ms of audio, "
                f"but buffer only has {length:.2f}ms of audio.",
                word="input_audio_buffer_commit_empty",
            )
        utterance, self._current = self._current, Utterance()
        self._since = self.written
        self._pending.append(utterance)
        return self._added(utterance)

    def clear(self) -> list[Frame]:
        """The client says that nothing was said."""
        self._current = Utterance()
        self._since = self.written
        return [server.BufferCleared()]

    def started(self, event: SpeechStarted, base: float, prefix_ms: int) -> list[Frame]:
        """The user speaks; ``base``: milliseconds of the session before this stream of audio."""
        if self._current.started or self._pending:
            return []
        self._current.started = True
        at = max(0, round(base + event.ms - prefix_ms))
        return [server.SpeechStarted(audio_start_ms=at, item_id=self._current.id)]

    def partial(self, event: Partial, *, told: bool) -> list[Frame]:
        """More of it is sure. It is told of utterances that end by silence: the client knows their item."""
        utterance = self._current
        if self._pending or not told or not utterance.started or utterance.text or event.stable <= utterance.told:
            return []
        return utterance.more(event.text[: event.stable])

    def heard(self, event: Heard, base: float, *, told: bool) -> Over | None:
        """The last word on an utterance. None where it goes on, or nothing was said."""
        utterance = self._pending[0] if self._pending else self._current
        if event.text:
            utterance.text.append(event.text)
        if event.cut or (self._pending and not event.marked):
            return None  # a commit takes all that was said before it
        text = " ".join(utterance.text)
        if self._pending:
            self._pending.popleft()
            return Over(self._transcribed(utterance, text, event, told=told), text, mine=False)
        self._current = Utterance()
        if not utterance.started and not text:
            return None
        self._since = min(self.written, max(self._since, base + event.end_ms))
        frames: list[Frame] = []
        if utterance.started:
            frames.append(server.SpeechStopped(audio_end_ms=max(0, round(base + event.end_ms)), item_id=utterance.id))
        frames += self._added(utterance)
        return Over([*frames, *self._transcribed(utterance, text, event, told=told)], text, mine=True)

    def deaf(self, code: str, message: str, *, told: bool) -> list[Frame]:
        """What waits will not be heard."""
        failed = [*self._pending]
        self._pending.clear()
        self._current = Utterance()
        self._since = self.written
        error = server.TranscriptionError(type="transcription_error", code=code, message=message)
        return [server.TranscriptionFailed(item_id=each.id, error=error) for each in failed] if told else []

    def silent(self) -> list[Frame]:
        """Nobody has said anything for long: an item of silence."""
        utterance, self._current = self._current, Utterance()
        begin, self._since = self._since, self.written
        triggered = server.TimeoutTriggered(
            audio_start_ms=round(begin), audio_end_ms=round(self.written), item_id=utterance.id
        )
        return [triggered, *self._added(utterance)]

    # --- items ------------------------------------------------------------------------------------------------

    def _added(self, utterance: Utterance) -> list[Frame]:
        before = self._conversation.last
        item = Message(id=utterance.id, role="user", content=[Part(type="input_audio")])
        return [
            server.BufferCommitted(previous_item_id=before, item_id=utterance.id),
            *self._conversation.add(item),
            *self._conversation.done(item),
        ]

    def _transcribed(self, utterance: Utterance, text: str, event: Heard, *, told: bool) -> list[Frame]:
        done = transcribed(self._conversation, utterance.id, text, event.end_ms - event.start_ms)
        return [*utterance.more(text), done] if told else []


def transcribed(conversation: Conversation, id: str, text: str, ms: int) -> Frame:
    """The words of an item's audio, ``ms`` of it, are known; told of one that has been deleted meanwhile as well."""
    if conversation.holds(id):
        item = conversation.get(id)
        assert isinstance(item, Message)
        conversation.replace(worded(item, text))
    used = server.Duration(seconds=max(0.0, ms / 1000))
    return server.TranscriptionCompleted(item_id=id, transcript=text, usage=used)
