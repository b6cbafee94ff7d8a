"""One response as it is made: from the turn's frames to this protocol's events. Pure.

Text cannot be taken back here. An answer that has to start anew leaves what it had said behind: that item ends
``incomplete`` and is deleted from the conversation, and the answer is told as the next item of the same response.
"""

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from parley_gateway.dialects.realtime import items, server
from parley_gateway.dialects.realtime.aloud import Aloud, heard_of
from parley_gateway.dialects.realtime.config import MAX_METADATA, Format, FunctionTool, Modality
from parley_gateway.dialects.realtime.conversation import Conversation
from parley_gateway.dialects.realtime.faults import Unfit
from parley_gateway.dialects.realtime.items import FunctionCall, Item, ItemStatus, Message, Part
from parley_gateway.dialects.realtime.server import Frame, new_id
from parley_protocol.events import Source, Usage

MAX_ITEM = 32_768
"""Code points of one message: each end of one is told in several events. A longer answer is several messages."""
MAX_OUTPUT = 131_072
"""Code points of all that ``response.done`` repeats; beyond it the messages there have no content."""
End = Literal["completed", "cancelled", "incomplete", "failed"]
Reason = Literal["turn_detected", "client_cancelled", "max_output_tokens", "content_filter"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a response is to be: the session's settings, and the wishes of whoever asked for it."""

    modality: Modality
    instructions: str
    max_output_tokens: int | Literal["inf"]
    format: Format
    voice: str
    speed: float = 1.0
    tools: tuple[FunctionTool, ...] = ()
    tool_choice: str = "auto"
    """``auto``, ``none``, ``required``, or ``=`` and the name of a function."""
    metadata: Mapping[str, str] | None = None
    input: tuple[Item, ...] | None = None
    """In place of the conversation."""
    alone: bool = False
    """It is no part of the conversation."""
    event_id: str | None = None
    """Of the client's event that asked for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How it ended."""

    end: End
    reason: Reason | None = None
    error: server.ResponseError | None = None
    usage: Usage | None = None
    sources: Sequence[Source] = ()
    calls: Sequence[FunctionCall] = ()


class Stage(enum.Enum):
    """``ASKED``: nothing is said of it yet. ``TELLING``: the client knows of it. ``OVER``: it has been told its end."""

    ASKED = "asked"
    TELLING = "telling"
    OVER = "over"


@dataclass(slots=True)
class Saying:
    """The message that is being said."""

    id: str
    index: int
    text: str = ""
    heard: int | None = None
    """Code points that were heard of it, where its client has said so: the item ends with them."""


@dataclass(slots=True, eq=False, repr=False)
class Responding:
    """One response. ``conversation``: None where it is no part of it. Its methods give the events to say. It has no
    representation: that would bring its text into a log.
    """

    plan: Plan
    conversation: Conversation | None
    id: str = field(default_factory=lambda: new_id("resp"))
    stage: Stage = Stage.ASKED
    output: list[Item] = field(default_factory=list)
    saying: Saying | None = None
    reason: Reason | None = None
    """Why it is being cancelled."""
    speaking: bool = False
    """Audio of it is still to come."""
    outcome: Outcome | None = None
    """How its turn ended, while audio of it is still to come."""
    _next: int = 0

    @property
    def spoken(self) -> bool:
        """Whether it is told as audio."""
        return self.plan.modality == "audio"

    @property
    def said_before(self) -> int:
        """Code points of the answer before the message that is being said."""
        return sum(len(item.text) for item in self.output if isinstance(item, Message))

    def created(self) -> list[Frame]:
        """Its turn has been accepted."""
        if self.stage is not Stage.ASKED:
            return []
        self.stage = Stage.TELLING
        return [server.ResponseCreated(response=self._shown("in_progress"))]

    def piece(self, text: str, *, anew: bool = False) -> list[Frame]:
        """More text; ``anew``: what was said of it before is void."""
        if self.stage is Stage.OVER or not text:
            return []
        frames = self.created()
        if anew and self.saying is not None:
            frames += self._abandon()
        if self.saying is not None and len(self.saying.text) + len(text) > MAX_ITEM:
            frames += self._close("completed")
        if self.saying is None:
            frames += self._begin()
        said = self.saying
        assert said is not None
        said.text += text
        kind = server.TranscriptDelta if self.spoken else server.TextDelta
        return [*frames, kind(response_id=self.id, item_id=said.id, output_index=said.index, delta=text)]

    def audio(self, data: str) -> list[Frame]:
        """More audio, base64. It belongs to the message that is being said, and may come before its text."""
        if self.stage is not Stage.TELLING or not self.speaking:
            return []
        frames = self._begin() if self.saying is None else []
        said = self.saying
        assert said is not None
        return [*frames, server.AudioDelta(response_id=self.id, item_id=said.id, output_index=said.index, delta=data)]

    def truncate(self, index: int, heard_ms: int, aloud: Aloud) -> list[Frame]:
        """Of the message that is being said only this much was heard: its item will have no more. Raises Unfit."""
        said = self.saying
        if said is None or index:
            raise Unfit("there is no such part of its content", param="content_index")
        if not self.spoken:
            raise Unfit("this part has no audio: only audio can be truncated", param="content_index")
        aloud.check(heard_ms)
        said.heard = len(heard_of(said.text, aloud.heard(heard_ms)))
        return [server.ItemTruncated(item_id=said.id, content_index=index, audio_end_ms=heard_ms)]

    def ended(self, outcome: Outcome) -> list[Frame]:
        """The one end."""
        if self.stage is Stage.OVER:
            return []
        frames = self.created()
        if self.saying is not None:
            frames += self._close("completed" if outcome.end == "completed" else "incomplete")
        for call in outcome.calls:
            frames += self._call(call)
        self.stage = Stage.OVER
        why = (self.reason or "client_cancelled") if outcome.end == "cancelled" else None
        details = server.StatusDetails(type=outcome.end, reason=outcome.reason or why, error=outcome.error)
        used = outcome.usage or Usage()
        response = self._shown(
            outcome.end,
            None if outcome.end == "completed" else details,
            usage=server.tokens(used.prompt_tokens, used.completion_tokens),
            sources=outcome.sources,
        )
        return [*frames, server.ResponseDone(response=response)]

    # --- items ------------------------------------------------------------------------------------------------

    def _begin(self) -> list[Frame]:
        said = self.saying = Saying(new_id("item"), self._number())
        item = Message(id=said.id, role="assistant", status="in_progress", content=[])
        part = self._part("")[1]
        return [
            server.OutputItemAdded(response_id=self.id, output_index=said.index, item=item),
            *(self.conversation.add(item) if self.conversation is not None else ()),
            server.PartAdded(response_id=self.id, item_id=said.id, output_index=said.index, part=part),
        ]

    def _close(self, status: ItemStatus) -> list[Frame]:
        said, self.saying = self.saying, None
        assert said is not None
        at: dict[str, Any] = {"response_id": self.id, "item_id": said.id, "output_index": said.index}
        frames: list[Frame]
        part, told = self._part(said.text)
        if self.spoken:
            frames = [server.AudioDone(**at), server.TranscriptDone(**at, transcript=said.text)]
        else:
            frames = [server.TextDone(**at, text=said.text)]
        if said.heard is not None:
            part = self._part(heard_of(said.text, said.heard))[0]
        item = Message(id=said.id, role="assistant", status=status, content=[part])
        frames.append(server.PartDone(**at, part=told))
        if self.conversation is not None:
            frames += self.conversation.done(item)
        frames.append(server.OutputItemDone(response_id=self.id, output_index=said.index, item=item))
        self.output.append(item)
        return frames

    def _part(self, text: str) -> tuple[Part, server.ContentPart]:
        """As an item holds it, and as events tell it."""
        if self.spoken:
            return Part(type="output_audio", transcript=text), server.ContentPart(type="audio", transcript=text)
        return Part(type="output_text", text=text), server.ContentPart(type="text", text=text)

    def _abandon(self) -> list[Frame]:
        frames = self._close("incomplete")
        for item in [item for item in self.output if isinstance(item, Message)]:
            self.output.remove(item)
            if self.conversation is not None and self.conversation.holds(item.id):
                frames += self.conversation.delete(item.id)
        return frames

    def _call(self, call: FunctionCall) -> list[Frame]:
        index, kept = self._number(), self.conversation
        if kept is not None and kept.called(call.call_id):  # engines begin to count anew
            call = msgspec.structs.replace(call, call_id=new_id("call"))
        begun = FunctionCall(id=call.id, name=call.name, call_id=call.call_id, arguments="", status="in_progress")
        at: dict[str, Any] = {
            "response_id": self.id,
            "item_id": call.id,
            "output_index": index,
            "call_id": call.call_id,
        }
        self.output.append(call)
        return [
            server.OutputItemAdded(response_id=self.id, output_index=index, item=begun),
            *(kept.add(begun) if kept is not None else ()),
            server.ArgumentsDelta(**at, delta=call.arguments),
            server.ArgumentsDone(**at, name=call.name, arguments=call.arguments),
            *(kept.done(call) if kept is not None else ()),
            server.OutputItemDone(response_id=self.id, output_index=index, item=call),
        ]

    def _number(self) -> int:
        self._next += 1
        return self._next - 1

    def _shown(
        self,
        status: End | Literal["in_progress"],
        details: server.StatusDetails | None = None,
        *,
        usage: server.Tokens | None = None,
        sources: Sequence[Source] = (),
    ) -> server.Response:
        plan = self.plan
        return server.Response(
            id=self.id,
            status=status,
            status_details=details,
            output=repeated(self.output),
            conversation_id=self.conversation.id if self.conversation is not None else None,
            output_modalities=[plan.modality],
            max_output_tokens=plan.max_output_tokens,
            audio=server.ResponseAudio(output=server.OutputAudio(format=plan.format, voice=plan.voice)),
            usage=usage,
            metadata=cited(plan.metadata, sources),
        )


def repeated(output: list[Item]) -> list[Item]:
    """As a response's end tells it: without the texts where they are too much."""
    if sum(items.size(item) for item in output) <= MAX_OUTPUT:
        return list(output)
    return [msgspec.structs.replace(item, content=[]) if isinstance(item, Message) else item for item in output]


def cited(metadata: Mapping[str, str] | None, sources: Sequence[Source]) -> dict[str, str] | None:
    """The client's own metadata and, as far as there is room, ``source_1`` and so on: what ``[1]`` in a text means."""
    found = dict(metadata or {})
    for number, source in enumerate(sources, start=1):
        key = f"source_{number}"
        if len(found) >= MAX_METADATA:
            break
        if key not in found:
            where = source.document if source.title == source.document else f"{source.document} › {source.title}"
            found[key] = where[:512]
    return found if found or metadata is not None else None
