"""What this protocol says when: a state machine. Pure: events in, effects out."""

from parley_gateway.dialects.realtime import events, server
from parley_gateway.dialects.realtime.aloud import Given
from parley_gateway.dialects.realtime.attention import Attention
from parley_gateway.dialects.realtime.audio import decoded
from parley_gateway.dialects.realtime.config import Session, TranscriptionChange, changed, shown
from parley_gateway.dialects.realtime.effects import Anew, Dictate, Effect, Feed, Hush, Idle, Kept, Mark, Say, said
from parley_gateway.dialects.realtime.events import Event
from parley_gateway.dialects.realtime.faults import Unfit
from parley_gateway.dialects.realtime.items import Message, sound_of
from parley_gateway.dialects.realtime.listening import hearing_of
from parley_gateway.dialects.realtime.plans import plan_of
from parley_gateway.dialects.realtime.response import Outcome, Responding
from parley_gateway.dialects.realtime.responses import interrupted, kept_of
from parley_gateway.dialects.realtime.state import Bounds, State


class Machine:
    """One socket. ``attention`` takes what is heard; what the client says and what becomes of responses comes here."""

    __slots__ = ("_conversation", "_input", "attention", "responses", "state")

    def __init__(self, session: Session, bounds: Bounds) -> None:
        self.state = State(session, bounds)
        self.attention = Attention(self.state)
        self.responses = self.state.responses
        self._conversation = self.state.conversation
        self._input = self.state.input

    def greet(self) -> list[Effect]:
        """The socket is open."""
        session = shown(self.state.session, transcribes=self.state.bounds.transcribes)
        return [Say(server.SessionCreated(session=session))]

    def take(self, event: Event) -> list[Effect]:
        """One event of the client. Raises Unfit: nothing has changed."""
        match event:
            case events.AudioAppend():
                effects = self._append(event)
            case events.AudioCommit():
                effects = [*said(self._input.commit()), Mark("commit")]
            case events.AudioClear():
                effects = [*said(self._input.clear()), Mark("clear")]
            case events.SessionUpdate():
                effects = self._update(event)
            case events.ItemCreate():
                effects = self._create(event)
            case events.ItemRetrieve():
                effects = [Say(server.ItemRetrieved(item=self._conversation.get(event.item_id)))]
            case events.ItemDelete():
                effects = said(self._conversation.delete(event.item_id))
            case events.ItemTruncate():
                effects = self._truncate(event)
            case events.ResponseCreate():
                effects = self._respond(event)
            case events.ResponseCancel():
                effects = interrupted(self.responses, event.response_id, "client_cancelled")
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
        item = response.saying
        if frames and item is not None:
            self.state.spoken.give(item.id, given, response=response.id, origin=response.said_before)
        return said(frames)

    def ended(self, response: Responding, outcome: Outcome) -> list[Effect]:
        """Its turn is over."""
        return [*self.responses.ended(response, outcome), *self.attention.quiet()]

    def spoken(self, response: Responding, fault: server.ResponseError | None = None) -> list[Effect]:
        """All of its audio is there; with a ``fault``, as much as could be had."""
        return [*self.responses.spoken(response, fault), *self.attention.quiet()]

    # --- what the client asks -----------------------------------------------------------------------------------

    def _append(self, event: events.AudioAppend) -> list[Effect]:
        data = decoded(event.audio, self.state.session.audio.input.format)
        self._input.append(len(data))
        return [Feed(data)] if data else []

    def _update(self, event: events.SessionUpdate) -> list[Effect]:
        change = event.session
        if isinstance(change, TranscriptionChange) is not self.state.bounds.transcribes:
            raise Unfit(
                "a session stays of its type: connect with ?intent=transcription for one that only transcribes",
                param="session.type",
            )
        if isinstance(change, TranscriptionChange):
            change = change.whole()
        before = hearing_of(self.state.session)
        self.state.session = changed(self.state.session, change, self.state.bounds.max_text)
        session = shown(self.state.session, transcribes=self.state.bounds.transcribes)
        effects: list[Effect] = [Say(server.SessionUpdated(session=session))]
        if hearing_of(self.state.session) != before:
            effects.append(Anew(self._input.another(self.state.rate)))
        return effects

    def _respond(self, event: events.ResponseCreate) -> list[Effect]:
        state = self.state
        if state.bounds.transcribes:
            raise Unfit("a session that only transcribes has no responses", word="unsupported_value", param="type")
        plan = plan_of(
            state.session,
            event.response,
            state.conversation,
            max_text=state.bounds.max_text,
            event_id=event.event_id,
        )
        return [*self.responses.begin(plan, known=not self.state.unheard), Idle(None)]

    def _create(self, event: events.ItemCreate) -> list[Effect]:
        state = self.state
        item = self._conversation.read(event.item, state.bounds.max_text)
        sound = sound_of(item)
        if sound is None:
            return said(self._conversation.create(item, event.previous_item_id))
        if len(state.dictated) >= state.bounds.dictated:
            raise Unfit(
                f"the audio of {state.bounds.dictated} items is being heard; wait for the transcripts of some",
                param="item.content",
            )
        data = decoded(sound, state.session.audio.input.format)
        frames = self._conversation.create(item, event.previous_item_id)
        state.dictated.add(item.id)
        return [*said(frames), Dictate(item.id, data)]

    def _truncate(self, event: events.ItemTruncate) -> list[Effect]:
        aloud = self.state.spoken.of(event.item_id)
        active = self.responses.active
        if active is not None and active.saying is not None and active.saying.id == event.item_id:
            frames = active.truncate(event.content_index, event.audio_end_ms, aloud)
            return [*said(frames), *kept_of(active)]
        frames = self._conversation.truncate(event.item_id, event.content_index, event.audio_end_ms, aloud)
        item = self._conversation.get(event.item_id)
        heard = len(item.text) if isinstance(item, Message) else 0
        return [*said(frames), Kept(aloud.response, aloud.origin + heard)]

    def _clear_output(self) -> list[Effect]:
        response = self.responses.active
        if response is None or not response.speaking:
            raise Unfit("no audio of a response is under way", param="type")
        return [Hush(response), Say(server.OutputCleared(response_id=response.id)), *self.spoken(response)]
