"""Events to a client. ``type`` names each; every one has an ``event_id`` of its own."""

import secrets
from typing import Literal

import msgspec

from parley_gateway.dialects.realtime.config import Format, Modality, Session, TranscriptionSession
from parley_gateway.dialects.realtime.items import Item


def new_id(kind: str) -> str:
    """``kind`` and enough randomness to be met once."""
    return f"{kind}_{secrets.token_hex(10)}"


class Frame(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """Any of them."""

    event_id: str = msgspec.field(default_factory=lambda: new_id("event"))

    @property
    def kind(self) -> str:
        """Its ``type``."""
        return str(self.__struct_config__.tag)


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """What was wrong. ``event_id``: of the client's event, where it named one."""

    type: str
    code: str | None = None
    message: str
    param: str | None = None
    event_id: str | None = None


class ErrorEvent(Frame, frozen=True, kw_only=True, tag="error"):
    error: Fault


class SessionCreated(Frame, frozen=True, kw_only=True, tag="session.created"):
    session: Session | TranscriptionSession


class SessionUpdated(Frame, frozen=True, kw_only=True, tag="session.updated"):
    session: Session | TranscriptionSession


# --- the conversation -------------------------------------------------------------------------------------------


class ItemAdded(Frame, frozen=True, kw_only=True, tag="conversation.item.added"):
    previous_item_id: str | None
    item: Item


class ItemDone(Frame, frozen=True, kw_only=True, tag="conversation.item.done"):
    previous_item_id: str | None
    item: Item


class ItemRetrieved(Frame, frozen=True, kw_only=True, tag="conversation.item.retrieved"):
    item: Item


class ItemDeleted(Frame, frozen=True, kw_only=True, tag="conversation.item.deleted"):
    item_id: str


class ItemTruncated(Frame, frozen=True, kw_only=True, tag="conversation.item.truncated"):
    item_id: str
    content_index: int
    audio_end_ms: int


# --- what the client says ---------------------------------------------------------------------------------------


class BufferCommitted(Frame, frozen=True, kw_only=True, tag="input_audio_buffer.committed"):
    previous_item_id: str | None
    item_id: str


class BufferCleared(Frame, frozen=True, kw_only=True, tag="input_audio_buffer.cleared"):
    pass


class SpeechStarted(Frame, frozen=True, kw_only=True, tag="input_audio_buffer.speech_started"):
    audio_start_ms: int
    item_id: str


class SpeechStopped(Frame, frozen=True, kw_only=True, tag="input_audio_buffer.speech_stopped"):
    audio_end_ms: int
    item_id: str


class TimeoutTriggered(Frame, frozen=True, kw_only=True, tag="input_audio_buffer.timeout_triggered"):
    audio_start_ms: int
    audio_end_ms: int
    item_id: str


class TranscriptionDelta(Frame, frozen=True, kw_only=True, tag="conversation.item.input_audio_transcription.delta"):
    item_id: str
    content_index: int = 0
    delta: str


class Duration(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="duration"):
    seconds: float


class TranscriptionCompleted(
    Frame, frozen=True, kw_only=True, tag="conversation.item.input_audio_transcription.completed"
):
    item_id: str
    content_index: int = 0
    transcript: str
    usage: Duration


class TranscriptionError(msgspec.Struct, frozen=True, kw_only=True):
    type: str
    code: str
    message: str
    param: str | None = None


class TranscriptionFailed(Frame, frozen=True, kw_only=True, tag="conversation.item.input_audio_transcription.failed"):
    item_id: str
    content_index: int = 0
    error: TranscriptionError


class OutputCleared(Frame, frozen=True, kw_only=True, tag="output_audio_buffer.cleared"):
    response_id: str


# --- responses --------------------------------------------------------------------------------------------------


class ResponseError(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    type: str
    code: str
    message: str | None = None


class StatusDetails(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    type: str
    reason: Literal["turn_detected", "client_cancelled", "max_output_tokens", "content_filter"] | None = None
    error: ResponseError | None = None


class InputDetails(msgspec.Struct, frozen=True, kw_only=True):
    text_tokens: int
    audio_tokens: int = 0
    cached_tokens: int = 0


class OutputDetails(msgspec.Struct, frozen=True, kw_only=True):
    text_tokens: int
    audio_tokens: int = 0


class Tokens(msgspec.Struct, frozen=True, kw_only=True):
    total_tokens: int
    input_tokens: int
    output_tokens: int
    input_token_details: InputDetails
    output_token_details: OutputDetails


class OutputAudio(msgspec.Struct, frozen=True, kw_only=True):
    format: Format
    voice: str


class ResponseAudio(msgspec.Struct, frozen=True, kw_only=True):
    output: OutputAudio


class Response(msgspec.Struct, frozen=True, kw_only=True):
    object: Literal["realtime.response"] = "realtime.response"
    id: str
    status: Literal["in_progress", "completed", "cancelled", "incomplete", "failed"]
    status_details: StatusDetails | None = None
    output: list[Item] = []
    conversation_id: str | None = None
    output_modalities: list[Modality]
    max_output_tokens: int | Literal["inf"]
    audio: ResponseAudio
    usage: Tokens | None = None
    metadata: dict[str, str] | None = None


class ResponseCreated(Frame, frozen=True, kw_only=True, tag="response.created"):
    response: Response


class ResponseDone(Frame, frozen=True, kw_only=True, tag="response.done"):
    response: Response


class RateLimit(msgspec.Struct, frozen=True, kw_only=True):
    name: Literal["requests", "tokens"]
    limit: int
    remaining: int
    reset_seconds: float


class RateLimits(Frame, frozen=True, kw_only=True, tag="rate_limits.updated"):
    rate_limits: list[RateLimit]


class _OutputItem(Frame, frozen=True, kw_only=True):
    response_id: str
    output_index: int
    item: Item


class OutputItemAdded(_OutputItem, frozen=True, kw_only=True, tag="response.output_item.added"):
    pass


class OutputItemDone(_OutputItem, frozen=True, kw_only=True, tag="response.output_item.done"):
    pass


class _OfItem(Frame, frozen=True, kw_only=True):
    response_id: str
    item_id: str
    output_index: int


class _OfPart(_OfItem, frozen=True, kw_only=True):
    content_index: int = 0


class ContentPart(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    type: Literal["text", "audio"]
    text: str | None = None
    transcript: str | None = None


class PartAdded(_OfPart, frozen=True, kw_only=True, tag="response.content_part.added"):
    part: ContentPart


class PartDone(_OfPart, frozen=True, kw_only=True, tag="response.content_part.done"):
    part: ContentPart


class TextDelta(_OfPart, frozen=True, kw_only=True, tag="response.output_text.delta"):
    delta: str


class TextDone(_OfPart, frozen=True, kw_only=True, tag="response.output_text.done"):
    text: str


class TranscriptDelta(_OfPart, frozen=True, kw_only=True, tag="response.output_audio_transcript.delta"):
    delta: str


class TranscriptDone(_OfPart, frozen=True, kw_only=True, tag="response.output_audio_transcript.done"):
    transcript: str


class AudioDelta(_OfPart, frozen=True, kw_only=True, tag="response.output_audio.delta"):
    delta: str


class AudioDone(_OfPart, frozen=True, kw_only=True, tag="response.output_audio.done"):
    pass


class ArgumentsDelta(_OfItem, frozen=True, kw_only=True, tag="response.function_call_arguments.delta"):
    call_id: str
    delta: str


class ArgumentsDone(_OfItem, frozen=True, kw_only=True, tag="response.function_call_arguments.done"):
    call_id: str
    name: str
    arguments: str


def error_event(
    message: str, *, type: str, code: str | None = None, param: str | None = None, event_id: str | None = None
) -> ErrorEvent:
    """An error as an event."""
    return ErrorEvent(error=Fault(type=type, code=code, message=message, param=param, event_id=event_id))


def tokens(prompt: int, completion: int) -> Tokens:
    """Usage of a response."""
    return Tokens(
        total_tokens=prompt + completion,
        input_tokens=prompt,
        output_tokens=completion,
        input_token_details=InputDetails(text_tokens=prompt),
        output_token_details=OutputDetails(text_tokens=completion),
    )


def rate_limits(limit: int, remaining: int, reset_s: float) -> RateLimits:
    """What is left of the events that the socket may send."""
    requests = RateLimit(name="requests", limit=limit, remaining=remaining, reset_seconds=round(reset_s, 3))
    return RateLimits(rate_limits=[requests])
