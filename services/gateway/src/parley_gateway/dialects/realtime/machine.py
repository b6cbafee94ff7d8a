"""What this protocol says when: a state machine. Pure: events in, effects out.

One response at a time may write to the conversation; others, which are no part of it, run beside it.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from parley_gateway.dialects.realtime import events, items, server
from parley_gateway.dialects.realtime.config import Session, TranscriptionChange, changed
from parley_gateway.dialects.realtime.conversation import Conversation
from parley_gateway.dialects.realtime.events import Event
from parley_gateway.dialects.realtime.faults import Unfit, kind_of
from parley_gateway.dialects.realtime.items import FunctionCall, Item, Message, Reference
from parley_gateway.dialects.realtime.plans import Prompt, plan_of, prompt_of
from parley_gateway.dialects.realtime.response import Outcome, Plan, Responding, Stage
from parley_gateway.dialects.realtime.server import Frame, new_id
from parley_protocol.faults import FaultCode


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


@dataclass(frozen=True, slots=True)
class Say:
    """Write an event."""

    frame: Frame


@dataclass(frozen=True, slots=True)
class Ask:
    """Have it answered; report with ``accepted``, ``piece``, then ``ended`` or ``refused``."""

    response: Responding
    prompt: Prompt


@dataclass(frozen=True, slots=True)
class Cancel:
    """End the turn of this response with exactly what was said of it; report as ever."""

    response: Responding


@dataclass(frozen=True, slots=True)
class Rates:
    """Say what is left of the socket's rate."""


Effect = Say | Ask | Cancel | Rates


class Machine:
    """One socket."""

    __slots__ = ("_bounds", "active", "beside", "conversation", "session")

    def __init__(self, session: Session, bounds: Bounds) -> None:
        self.session = session
        self._bounds = bounds
        self.conversation = Conversation(bounds.items, bounds.text)
        self.active: Responding | None = None
        self.beside: dict[str, Responding] = {}

    @property
    def busy(self) -> bool:
        """Whether a response is under way."""
        return self.active is not None or bool(self.beside)

    def greet(self) -> list[Effect]:
        """The socket is open."""
        return [Say(server.SessionCreated(session=self.session))]

    def take(self, event: Event) -> list[Effect]:
        """One event of the client. Raises Unfit: nothing has changed."""
        match event:
            case events.SessionUpdate():
                effects = self._update(event)
            case events.ItemCreate():
                effects = self._create(event)
            case events.ItemRetrieve():
                effects = [Say(server.ItemRetrieved(item=self.conversation.get(event.item_id)))]
            case events.ItemDelete():
                effects = _said(self.conversation.delete(event.item_id))
            case events.ItemTruncate():
                effects = self._truncate(event)
            case events.ResponseCreate():
                effects = self._respond(event)
            case events.ResponseCancel():
                effects = self._cancel(event)
            case _:
                raise Unfit("audio is not offered here yet", word="unsupported_value", param="type")
        return effects

    # --- what becomes of a response -----------------------------------------------------------------------------

    def accepted(self, response: Responding) -> list[Effect]:
        """Its turn is accepted: it ends in exactly one ``response.done``."""
        frames = response.created()
        return [*_said(frames), Rates()] if frames else []

    def piece(self, response: Responding, text: str, *, anew: bool = False) -> list[Effect]:
        """More of its text; ``anew``: what was said of it is void."""
        return _said(response.piece(text, anew=anew))

    def ended(self, response: Responding, outcome: Outcome) -> list[Effect]:
        """Its turn is over."""
        frames = response.ended(outcome)
        self._over(response)
        return _said(frames)

    def refused(self, response: Responding, code: FaultCode, message: str) -> list[Effect]:
        """It has no answer: an error where the client has not been told of it, else its end."""
        if response.stage is not Stage.ASKED:
            error = server.ResponseError(type=kind_of(code), code=code.value, message=message)
            return self.ended(response, Outcome(end="failed", error=error))
        response.stage = Stage.OVER
        self._over(response)
        return [Say(server.error_event(message, type=kind_of(code), code=code.value, event_id=response.plan.event_id))]

    def _over(self, response: Responding) -> None:
        if response is self.active:
            self.active = None
        self.beside.pop(response.id, None)

    # --- what the client asks -----------------------------------------------------------------------------------

    def _update(self, event: events.SessionUpdate) -> list[Effect]:
        if isinstance(event.session, TranscriptionChange):
            raise Unfit(
                "sessions that only transcribe are not offered: use a realtime session whose turn detection creates "
                "no response",
                word="unsupported_value",
                param="session.type",
            )
        self.session = changed(self.session, event.session, self._bounds.max_text)
        return [Say(server.SessionUpdated(session=self.session))]

    def _create(self, event: events.ItemCreate) -> list[Effect]:
        item = items.read(event.item, "item", self._bounds.max_text)
        if isinstance(item, Reference):
            raise Unfit("a reference is no item: name it in response.input", param="item.type")
        item = self._named(item)
        if isinstance(item, items.FunctionOutput):
            self._check_call(item)
        return _said([*self.conversation.add(item, event.previous_item_id), *self.conversation.done(item)])

    def _named(self, item: Item) -> Item:
        kept = items.kept(item)
        changes = {} if kept.id else {"id": new_id("item")}
        if isinstance(kept, FunctionCall) and not kept.call_id:
            changes["call_id"] = new_id("call")
        return msgspec.structs.replace(kept, **changes) if changes else kept

    def _check_call(self, item: items.FunctionOutput) -> None:
        calls = {each.call_id for each in self.conversation.items if isinstance(each, FunctionCall)}
        if item.call_id not in calls:
            raise Unfit(
                f"no function call of the conversation has the call_id {item.call_id[:80]!r}",
                word="invalid_tool_call_id",
                param="item.call_id",
            )

    def _truncate(self, event: events.ItemTruncate) -> list[Effect]:
        item = self.conversation.get(event.item_id)
        if not isinstance(item, Message) or item.role != "assistant":
            raise Unfit("only a message of the assistant can be truncated", param="item_id")
        if event.content_index >= len(item.content):
            raise Unfit("there is no such part of its content", param="content_index")
        raise Unfit("this part has no audio: only audio can be truncated", param="content_index")

    def _respond(self, event: events.ResponseCreate) -> list[Effect]:
        plan = plan_of(
            self.session, event.response, self.conversation, max_text=self._bounds.max_text, event_id=event.event_id
        )
        return self.begin(plan)

    def begin(self, plan: Plan) -> list[Effect]:
        """Begin a response. Raises Unfit where as many are under way as may be."""
        if plan.modality == "audio":
            raise Unfit(
                'audio is not offered here yet: ask for output_modalities ["text"]',
                word="unsupported_value",
                param="response.output_modalities",
            )
        if plan.alone:
            if len(self.beside) >= self._bounds.beside:
                raise Unfit(f"{len(self.beside)} responses are under way already: wait for one", word="overloaded")
        elif self.active is not None:
            raise Unfit(
                f"Conversation already has an active response in progress: {self.active.id}. Wait until the response "
                "is finished before creating a new one.",
                word="conversation_already_has_active_response",
            )
        response = Responding(plan, None if plan.alone else self.conversation)
        if plan.alone:
            self.beside[response.id] = response
        else:
            self.active = response
        return [Ask(response, prompt_of(plan, self.conversation, self._bounds.prompt))]

    def _cancel(self, event: events.ResponseCancel) -> list[Effect]:
        response = self.active
        if event.response_id is not None and (response is None or response.id != event.response_id):
            response = self.beside.get(event.response_id)
        if response is None:
            raise Unfit(
                "Cancellation failed: no active response found",
                word="response_cancel_not_active",
                param=None if event.response_id is None else "response_id",
            )
        response.reason = response.reason or "client_cancelled"
        return [Cancel(response)]


def _said(frames: Iterable[Frame]) -> list[Effect]:
    return [Say(frame) for frame in frames]
