"""Events of a client: decoded, or refused with the name of what is wrong. Pure."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from parley_gateway.dialects.realtime.config import (
    MAX_METADATA,
    Format,
    MaxTokens,
    Modalities,
    SessionChange,
    ToolChoice,
    Tools,
    TranscriptionChange,
    VoiceId,
)
from parley_gateway.dialects.realtime.faults import Unfit
from parley_gateway.dialects.realtime.items import converted

Metadata = Annotated[
    dict[Annotated[str, Meta(max_length=64)], Annotated[str, Meta(max_length=512)]], Meta(max_length=MAX_METADATA)
]


class _Event(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type"):
    event_id: Annotated[str, Meta(max_length=512)] | None = None


class SessionUpdate(_Event, frozen=True, kw_only=True, tag="session.update"):
    session: SessionChange | TranscriptionChange


class ItemCreate(_Event, frozen=True, kw_only=True, tag="conversation.item.create"):
    item: dict[str, Any]
    previous_item_id: str | None = None


class ItemRetrieve(_Event, frozen=True, kw_only=True, tag="conversation.item.retrieve"):
    item_id: str


class ItemDelete(_Event, frozen=True, kw_only=True, tag="conversation.item.delete"):
    item_id: str


class ItemTruncate(_Event, frozen=True, kw_only=True, tag="conversation.item.truncate"):
    item_id: str
    content_index: Annotated[int, Meta(ge=0)]
    audio_end_ms: Annotated[int, Meta(ge=0)]


class AudioAppend(_Event, frozen=True, kw_only=True, tag="input_audio_buffer.append"):
    audio: str


class AudioCommit(_Event, frozen=True, kw_only=True, tag="input_audio_buffer.commit"):
    pass


class AudioClear(_Event, frozen=True, kw_only=True, tag="input_audio_buffer.clear"):
    pass


class OutputClear(_Event, frozen=True, kw_only=True, tag="output_audio_buffer.clear"):
    pass


class ResponseOutput(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    format: Format | None = None
    voice: str | VoiceId | None = None


class ResponseAudio(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    output: ResponseOutput | None = None


class ResponseWishes(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``response`` of ``response.create``: None is what the session says."""

    audio: ResponseAudio | None = None
    conversation: Literal["auto", "none"] | None = None
    input: list[dict[str, Any]] | None = None
    instructions: str | None = None
    max_output_tokens: MaxTokens | None = None
    metadata: Metadata | None = None
    output_modalities: Modalities | None = None
    parallel_tool_calls: bool | None = None
    prompt: dict[str, Any] | None = None
    reasoning: dict[str, Any] | None = None
    tool_choice: ToolChoice | None = None
    tools: Tools | None = None


class ResponseCreate(_Event, frozen=True, kw_only=True, tag="response.create"):
    response: ResponseWishes | None = None


class ResponseCancel(_Event, frozen=True, kw_only=True, tag="response.cancel"):
    response_id: str | None = None


Event = (
    SessionUpdate
    | ItemCreate
    | ItemRetrieve
    | ItemDelete
    | ItemTruncate
    | AudioAppend
    | AudioCommit
    | AudioClear
    | OutputClear
    | ResponseCreate
    | ResponseCancel
)
_KINDS: dict[str, Any] = {kind.__struct_config__.tag: kind for kind in Event.__args__}
KINDS = frozenset(_KINDS)


def brings_audio(event: Event) -> bool:
    """Whether audio is part of it, which may be long."""
    if not isinstance(event, ItemCreate):
        return isinstance(event, AudioAppend)
    content = event.item.get("content") if isinstance(event.item, dict) else None
    return isinstance(content, list) and any(isinstance(part, dict) and "audio" in part for part in content)


def parsed(data: str | bytes) -> dict[str, Any]:
    """The JSON object of a frame. Raises Unfit."""
    if isinstance(data, bytes):
        raise Unfit("binary frames are not taken: audio comes as base64 in input_audio_buffer.append")
    try:
        raw = msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        raise Unfit("the event is not valid JSON", word="invalid_json") from None
    if not isinstance(raw, dict):
        raise Unfit("an event is a JSON object", word="invalid_json")
    return raw


def event_of(raw: dict[str, Any]) -> Event:
    """One event. Raises Unfit, which names the field."""
    kind = raw.get("type")
    if kind is None:
        raise Unfit("an event needs a type", word="missing_required_parameter", param="type")
    known = _KINDS.get(kind) if isinstance(kind, str) else None
    if known is None:
        shown = kind[:80] if isinstance(kind, str) else type(kind).__name__
        raise Unfit(f"no event of a client has the type {shown!r}; known: {', '.join(sorted(KINDS))}", param="type")
    event: Event = converted(raw, known, "")
    return event


def id_of(raw: dict[str, Any]) -> str | None:
    """What the client calls an event that cannot be taken."""
    found = raw.get("event_id")
    return found[:512] if isinstance(found, str) else None
