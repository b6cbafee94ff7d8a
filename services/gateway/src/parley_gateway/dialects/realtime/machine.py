"""What this protocol says when: a state machine. Pure: events in, effects out."""

from dataclasses import dataclass

from parley_gateway.dialects.realtime import events, server
from parley_gateway.dialects.realtime.aloud import Aloud, Given
from parley_gateway.dialects.realtime.audio import decoded
from parley_gateway.dialects.realtime.config import Pcm, ServerVad, Session, TranscriptionChange, changed, shown
from parley_gateway.dialects.realtime.conversation import Conversation
from parley_gateway.dialects.realtime.effects import Effect, Feed, Hush, Idle, Kept, Mark, Say, said
from parley_gateway.dialects.realtime.events import Event
from parley_gateway.dialects.realtime.faults import Unfit
from parley_gateway.dialects.realtime.items import Message
from parley_gateway.dialects.realtime.listening import InputBuffer, Over, hearing_of
from parley_gateway.dialects.realtime.plans import Prompt, plan_of, prompt_of
from parley_gateway.dialects.realtime.response import Outcome, Reason, Responding
from parley_gateway.dialects.realtime.responses import Responses
from parley_protocol.audio import Heard, Partial, SpeechStarted
from parley_protocol.faults import FaultCode

FORESEEN = 8_000
"""Code points of a conversation that passages are looked for with ahead of time: a follow-up leans on its end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """``items`` and ``text`` (code points) of a conversation, ``prompt`` of what an engine is told of it, ``max_text``
    of one text; ``beside``: responses that are no part of the conversation, at a time.
    """

    items: int = 1000
    text: int = 1_048_576
    prompt: int = 65_536
    max_text: int = 16_000
    beside: int = 8
    transcribes: bool = False
    """The session only transcribes: there are no responses."""


class Machine:
    """One socket."""

    __slots__ = ("_base", "_bounds", "_played_ms", "_spoken", "conversation", "input", "responses", "session")

    def __init__(self, session: Session, bounds: Bounds) -> None:
        self.session = session
        self._bounds = bounds
        self.conversation = Conversation(bounds.items, bounds.text)
        self.responses = Responses(self.conversation, limit=bounds.beside, prompt=bounds.prompt)
        self.input = InputBuffer(self.conversation, _rate(session))
        self._base = 0.0
        """Milliseconds of the session before the stream of audio at hand."""
        self._spoken: dict[str, Aloud] = {}
        """Of spoken items: how far they have been given as audio."""
        self._played_ms = 0
        """Of the last one."""

    def greet(self) -> list[Effect]:
        """The socket is open."""
        return [Say(server.SessionCreated(session=shown(self.session, transcribes=self._bounds.transcribes)))]

    def take(self, event: Event) -> list[Effect]:
        """One event of the client. Raises Unfit: nothing has changed."""
        match event:
            case events.AudioAppend():
                effects = self._append(event)
            case events.AudioCommit():
                effects = [*said(self.input.commit()), Mark("commit")]
            case events.AudioClear():
                effects = [*said(self.input.clear()), Mark("clear")]
            case events.SessionUpdate():
                effects = self._update(event)
            case events.ItemCreate():
                frames = self.conversation.create(event.item, event.previous_item_id, self._bounds.max_text)
                effects = said(frames)
            case events.ItemRetrieve():
                effects = [Say(server.ItemRetrieved(item=self.conversation.get(event.item_id)))]
            case events.ItemDelete():
                effects = said(self.conversation.delete(event.item_id))
            case events.ItemTruncate():
                effects = self._truncate(event)
            case events.ResponseCreate():
                effects = self._respond(event)
            case events.ResponseCancel():
                effects = self._cancel(event.response_id, "client_cancelled")
            case events.OutputClear():
                effects = self._clear_output()
        return effects

    @property
    def busy(self) -> bool:
        """Whether a response is under way."""
        return self.responses.busy

    # --- what becomes of a response -----------------------------------------------------------------------------

    def piece(self, response: Responding, text: str, *, anew: bool = False) -> list[Effect]:
        """More of its text; ``anew``: what was said of it is void."""
        return said(response.piece(text, anew=anew))

    def audio(self, response: Responding, data: str, given: Given) -> list[Effect]:
        """More of its audio, base64, and how much of it that gives."""
        frames = response.audio(data)
        if frames and response.saying is not None:
            self._played_ms = given.end_ms
            aloud = self._spoken.get(response.saying.id)
            if aloud is None:
                aloud = self._spoken[response.saying.id] = Aloud(response.id, response.said_before)
            aloud.give(given)
            if len(self._spoken) > self._bounds.items:
                del self._spoken[next(iter(self._spoken))]
        return said(frames)

    def ended(self, response: Responding, outcome: Outcome) -> list[Effect]:
        """Its turn is over."""
        return [*self.responses.ended(response, outcome), *self._quiet()]

    def spoken(self, response: Responding, fault: server.ResponseError | None = None) -> list[Effect]:
        """All of its audio is there; with a ``fault``, as much as could be had."""
        return [*self.responses.spoken(response, fault), *self._quiet()]

    def _quiet(self) -> list[Effect]:
        """Nobody speaks: the time begins after which something is said unasked."""
        vad = self.session.audio.input.turn_detection
        if not isinstance(vad, ServerVad) or vad.idle_timeout_ms is None or self.responses.busy or self.input.speaking:
            return []
        return [Idle((vad.idle_timeout_ms + self._played_ms) / 1000)]

    # --- what is heard ------------------------------------------------------------------------------------------

    def opened(self, size: int) -> None:
        """A new stream of audio has begun with the last so many bytes."""
        self._base = self.input.written - size / self.input.rate

    def hears(self, event: SpeechStarted | Partial | Heard) -> list[Effect]:
        """What the recogniser says."""
        given = self.session.audio.input
        told = self._told
        match event:
            case SpeechStarted():
                if given.turn_detection is None:
                    return []
                return self._begun(event)
            case Partial():
                return said(self.input.partial(event, told=told))
            case Heard():
                over = self.input.heard(event, self._base, told=told)
                return [] if over is None else self._over(over)

    def foresee(self, text: str) -> Prompt | None:
        """What will be asked by itself if no more is said than ``text``; None: nothing will."""
        if not self._answers or not self.input.speaking or self.input.waiting:
            return None
        plan = plan_of(self.session, None, self.conversation)
        return prompt_of(plan, self.conversation, FORESEEN, saying=self.input.saying(text))

    def deaf(self, code: FaultCode, message: str, *, tell: bool = True) -> list[Effect]:
        """Nobody hears any more; the next audio begins a new stream. One that ends for want of audio is not missed."""
        missed = self.input.waiting or self.input.speaking or code is not FaultCode.EXPIRED
        effects = said(self.input.deaf(code.value, message, told=self._told))
        if missed and tell:
            effects.append(Say(server.error_event(message, type="server_error", code=code.value)))
        return [*effects, *self.responses.unheard(code, message)]

    def idle(self) -> list[Effect]:
        """Nobody has said anything for as long as the client has set."""
        if self.responses.busy or self.input.speaking or self.input.waiting or self._bounds.transcribes:
            return []
        frames = said(self.input.silent())
        return [*frames, Mark("clear"), *self.responses.follow(plan_of(self.session, None, self.conversation))]

    @property
    def _told(self) -> bool:
        """Whether the client wants to know what was heard."""
        return self._bounds.transcribes or self.session.audio.input.transcription is not None

    @property
    def _answers(self) -> bool:
        """Whether a response begins by itself when silence has ended an utterance."""
        vad = self.session.audio.input.turn_detection
        return vad is not None and vad.create_response and not self._bounds.transcribes

    def _begun(self, event: SpeechStarted) -> list[Effect]:
        vad = self.session.audio.input.turn_detection
        assert vad is not None
        prefix = vad.prefix_padding_ms if isinstance(vad, ServerVad) else 0
        frames = self.input.started(event, self._base, prefix)
        if not frames:
            return []
        effects: list[Effect] = [Idle(None), *said(frames)]
        if vad.interrupt_response and self.responses.active is not None:
            effects += self._cancel(None, "turn_detected")
        return effects

    def _over(self, over: Over) -> list[Effect]:
        effects = said(over.frames)
        if not self.input.waiting:
            effects += self.responses.known()
        if over.mine and over.text and self._answers:
            effects += self.responses.follow(plan_of(self.session, None, self.conversation))
        return effects

    # --- what the client asks -----------------------------------------------------------------------------------

    def _append(self, event: events.AudioAppend) -> list[Effect]:
        data = decoded(event.audio, self.session.audio.input.format)
        self.input.append(len(data))
        return [Feed(data)] if data else []

    def _update(self, event: events.SessionUpdate) -> list[Effect]:
        change = event.session
        if isinstance(change, TranscriptionChange) is not self._bounds.transcribes:
            raise Unfit(
                "a session stays of its type: connect with ?intent=transcription for one that only transcribes",
                param="session.type",
            )
        if isinstance(change, TranscriptionChange):
            change = change.whole()
        before = hearing_of(self.session)
        self.session = changed(self.session, change, self._bounds.max_text)
        effects: list[Effect] = []
        if hearing_of(self.session) != before:
            # What waits is heard as it was said; the rest of the buffer belongs to the format of before.
            effects.append(Mark("end" if self.input.waiting else "drop"))
            self.input.clear()
            self.input.rate = _rate(self.session)
        session = shown(self.session, transcribes=self._bounds.transcribes)
        return [*effects, Say(server.SessionUpdated(session=session))]

    def _respond(self, event: events.ResponseCreate) -> list[Effect]:
        if self._bounds.transcribes:
            raise Unfit("a session that only transcribes has no responses", word="unsupported_value", param="type")
        plan = plan_of(
            self.session, event.response, self.conversation, max_text=self._bounds.max_text, event_id=event.event_id
        )
        return [*self.responses.begin(plan, known=not self.input.waiting), Idle(None)]

    def _truncate(self, event: events.ItemTruncate) -> list[Effect]:
        aloud = self._spoken.get(event.item_id) or Aloud("")
        active = self.responses.active
        if active is not None and active.saying is not None and active.saying.id == event.item_id:
            frames = active.truncate(event.content_index, event.audio_end_ms, aloud)
            return [*said(frames), *_kept(active)]
        frames = self.conversation.truncate(event.item_id, event.content_index, event.audio_end_ms, aloud)
        item = self.conversation.get(event.item_id)
        heard = len(item.text) if isinstance(item, Message) else 0
        return [*said(frames), Kept(aloud.response, aloud.origin + heard)]

    def _cancel(self, id: str | None, reason: Reason) -> list[Effect]:
        """What the client has said of its hearing counts, and not the clock."""
        active = self.responses.active
        kept = [] if active is None else _kept(active)
        return [*self.responses.cancel(id, reason), *kept]

    def _clear_output(self) -> list[Effect]:
        response = self.responses.active
        if response is None or not response.speaking:
            raise Unfit("no audio of a response is under way", param="type")
        return [Hush(response), Say(server.OutputCleared(response_id=response.id)), *self.spoken(response)]


def _kept(response: Responding) -> list[Effect]:
    said = response.saying
    return [] if said is None or said.heard is None else [Kept(response.id, response.said_before + said.heard)]


def _rate(session: Session) -> int:
    """Bytes of a millisecond of the client's audio, as it is fed."""
    return 48 if isinstance(session.audio.input.format, Pcm) else 8
