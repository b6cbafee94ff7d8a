"""A session's configuration: what it is, and what an update makes of it. Pure.

The types are both what a client may send and what it is told; a field that an update leaves out stays as it is.
"""

from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, UnsetType

from parley_gateway.dialects.realtime.faults import Unfit

MAX_TOOLS = 128
MAX_TOOLS_BYTES = 65_536
"""Of all of them as JSON: they go with each question."""
MAX_METADATA = 16
Modality = Literal["text", "audio"]
Modalities = Annotated[list[Modality], Meta(min_length=1, max_length=1)]
MaxTokens = Annotated[int, Meta(ge=1, le=4096)] | Literal["inf"]
Speed = Annotated[float, Meta(ge=0.25, le=1.5)]
T = TypeVar("T", bound=msgspec.Struct)


class Pcm(msgspec.Struct, frozen=True, tag_field="type", tag="audio/pcm"):
    """16 bits, little-endian, mono, 24 kHz."""

    rate: Literal[24000] = 24000


class Pcmu(msgspec.Struct, frozen=True, tag_field="type", tag="audio/pcmu"):
    """G.711 mu-law, 8 kHz."""


class Pcma(msgspec.Struct, frozen=True, tag_field="type", tag="audio/pcma"):
    """G.711 A-law, 8 kHz."""


Format = Pcm | Pcmu | Pcma


class ServerVad(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="server_vad"):
    """Turns end by silence."""

    threshold: Annotated[float, Meta(ge=0, le=1)] = 0.5
    prefix_padding_ms: Annotated[int, Meta(ge=0, le=5_000)] = 300
    silence_duration_ms: Annotated[int, Meta(ge=100, le=10_000)] = 500
    idle_timeout_ms: Annotated[int, Meta(ge=1_000, le=600_000)] | None = None
    create_response: bool = True
    interrupt_response: bool = True


class SemanticVad(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="semantic_vad"):
    """Turns end by silence as well: how long it must last is what ``eagerness`` says."""

    eagerness: Literal["low", "medium", "high", "auto"] = "auto"
    create_response: bool = True
    interrupt_response: bool = True


Vad = ServerVad | SemanticVad


class Transcription(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """That the client is told what was heard. ``model`` names a listening engine, where there is one of that name."""

    model: str | None = None
    language: str | None = None
    prompt: str | None = None
    delay: str | None = None
    keywords: list[str] | None = None
    languages: list[str] | None = None


class NoiseReduction(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Taken and told back; audio is not changed by it."""

    type: Literal["near_field", "far_field"] | None = None
    strength: float | None = None


class VoiceId(msgspec.Struct, frozen=True):
    """A voice by its id."""

    id: str


class FunctionTool(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="type", tag="function"):
    """A function of the client's that the model may ask it to call."""

    name: Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[a-zA-Z0-9_.-]+$")]
    description: str | None = None
    parameters: dict[str, Any] | None = None


class McpTool(msgspec.Struct, frozen=True, tag_field="type", tag="mcp"):
    """Known, and not offered."""


class ChosenFunction(msgspec.Struct, frozen=True, tag_field="type", tag="function"):
    """The function to call."""

    name: str


class ChosenMcp(msgspec.Struct, frozen=True, tag_field="type", tag="mcp"):
    """Known, and not offered."""


ToolChoice = Literal["none", "auto", "required"] | ChosenFunction | ChosenMcp
Tools = Annotated[list[FunctionTool | McpTool], Meta(max_length=MAX_TOOLS)]


class TokenLimits(msgspec.Struct, frozen=True, omit_defaults=True):
    """Of :class:`RetentionRatio`."""

    post_instructions: int | None = None


class RetentionRatio(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="type", tag="retention_ratio"):
    """Taken and told back: how much of a conversation an engine sees is the installation's setting."""

    retention_ratio: Annotated[float, Meta(ge=0, le=1)]
    token_limits: TokenLimits | None = None


class Input(msgspec.Struct, frozen=True, kw_only=True):
    """Audio of the client."""

    format: Format = Pcm()
    transcription: Transcription | None = None
    noise_reduction: NoiseReduction | None = None
    turn_detection: Vad | None = ServerVad()


class Output(msgspec.Struct, frozen=True, kw_only=True):
    """Audio of answers."""

    format: Format = Pcm()
    voice: str | VoiceId = "alloy"
    speed: float = 1.0


class Audio(msgspec.Struct, frozen=True, kw_only=True):
    """Both."""

    input: Input = Input()
    output: Output = Output()


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """The whole object, as it is told. ``model``: what the client asked for."""

    type: Literal["realtime"] = "realtime"
    object: Literal["realtime.session"] = "realtime.session"
    id: str
    model: str
    expires_at: int
    output_modalities: list[Modality]
    instructions: str = ""
    tools: list[FunctionTool] = []
    tool_choice: Literal["none", "auto", "required"] | ChosenFunction = "auto"
    max_output_tokens: int | Literal["inf"] = "inf"
    tracing: Any = None
    truncation: Literal["auto", "disabled"] | RetentionRatio = "auto"
    parallel_tool_calls: bool = True
    include: list[str] | None = None
    audio: Audio = Audio()


class HeardAudio(msgspec.Struct, frozen=True, kw_only=True):
    """Of a session that only transcribes."""

    input: Input


class TranscriptionSession(msgspec.Struct, frozen=True, kw_only=True):
    """A session that only transcribes, as it is told."""

    type: Literal["transcription"] = "transcription"
    object: Literal["realtime.transcription_session"] = "realtime.transcription_session"
    id: str
    expires_at: int
    include: list[str] | None = None
    audio: HeardAudio


def shown(session: Session, *, transcribes: bool) -> Session | TranscriptionSession:
    """The session as its client knows it."""
    if not transcribes:
        return session
    audio = HeardAudio(input=session.audio.input)
    return TranscriptionSession(id=session.id, expires_at=session.expires_at, include=session.include, audio=audio)


# --- updates ----------------------------------------------------------------------------------------------------


class InputChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of :class:`Input`."""

    format: Format | UnsetType = UNSET
    transcription: Transcription | UnsetType | None = UNSET
    noise_reduction: NoiseReduction | UnsetType | None = UNSET
    turn_detection: Vad | UnsetType | None = UNSET


class OutputChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of :class:`Output`."""

    format: Format | UnsetType = UNSET
    voice: str | VoiceId | UnsetType = UNSET
    speed: Speed | UnsetType = UNSET


class AudioChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of :class:`Audio`."""

    input: InputChange | UnsetType = UNSET
    output: OutputChange | UnsetType = UNSET


class SessionChange(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="realtime"
):
    """``session`` of an update. What it cannot change may be said as it is."""

    object: str | UnsetType = UNSET
    id: str | UnsetType = UNSET
    model: str | UnsetType = UNSET
    expires_at: int | UnsetType = UNSET
    output_modalities: Modalities | UnsetType = UNSET
    instructions: str | UnsetType = UNSET
    tools: Tools | UnsetType = UNSET
    tool_choice: ToolChoice | UnsetType = UNSET
    max_output_tokens: MaxTokens | UnsetType = UNSET
    tracing: Literal["auto"] | dict[str, Any] | UnsetType | None = UNSET
    truncation: Literal["auto", "disabled"] | RetentionRatio | UnsetType = UNSET
    parallel_tool_calls: bool | UnsetType = UNSET
    include: list[Literal["item.input_audio_transcription.logprobs"]] | UnsetType | None = UNSET
    audio: AudioChange | UnsetType = UNSET
    prompt: dict[str, Any] | UnsetType | None = UNSET
    reasoning: dict[str, Any] | UnsetType | None = UNSET


class HeardAudioChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of :class:`HeardAudio`."""

    input: InputChange | UnsetType = UNSET


class TranscriptionChange(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="transcription"
):
    """``session`` of an update of one that only transcribes."""

    object: str | UnsetType = UNSET
    id: str | UnsetType = UNSET
    expires_at: int | UnsetType = UNSET
    include: list[Literal["item.input_audio_transcription.logprobs"]] | UnsetType | None = UNSET
    audio: HeardAudioChange | UnsetType = UNSET

    def whole(self) -> SessionChange:
        """The same for a session as it is held."""
        audio = UNSET if self.audio is UNSET else AudioChange(input=self.audio.input)
        return SessionChange(include=self.include, audio=audio)


def changed(session: Session, change: SessionChange, max_text: int) -> Session:
    """What an update makes of ``session``. Raises Unfit, which names the field; then nothing has changed."""
    _check_fixed(session, change)
    if isinstance(change.instructions, str) and len(change.instructions) > max_text:
        raise Unfit(
            f"instructions have {len(change.instructions)} characters; {max_text} are the most",
            word="string_above_max_length",
            param="session.instructions",
        )
    if change.tools is not UNSET:
        check_tools(change.tools, "session.tools")
    if change.tool_choice is not UNSET:
        check_choice(change.tool_choice, "session.tool_choice")
    unknown = ("audio", "object", "id", "model", "expires_at", "prompt", "reasoning")
    values = {name: value for name, value in _given(change).items() if name not in unknown}
    audio = session.audio
    if change.audio is not UNSET:
        audio = Audio(
            input=_replaced(audio.input, change.audio.input), output=_replaced(audio.output, change.audio.output)
        )
    result = msgspec.structs.replace(session, audio=audio, **values)
    check_named(result.tools, result.tool_choice, "session.tool_choice")
    return result


def _check_fixed(session: Session, change: SessionChange) -> None:
    if change.model is not UNSET and change.model != session.model:
        raise Unfit(f"the model of a session stays what it is: {session.model}", param="session.model")
    if change.prompt is not UNSET and change.prompt is not None:
        raise Unfit(
            "stored prompts are not offered: put the text into session.instructions",
            word="unsupported_parameter",
            param="session.prompt",
        )


def check_tools(tools: list[FunctionTool | McpTool], where: str) -> list[FunctionTool]:
    """The functions. Raises Unfit for what is no function, and for a name that comes twice."""
    found: dict[str, FunctionTool] = {}
    for index, tool in enumerate(tools):
        if isinstance(tool, McpTool):
            raise Unfit(
                "MCP servers are not offered: declare functions, and call the server yourself",
                word="unsupported_parameter",
                param=f"{where}[{index}].type",
            )
        if tool.name in found:
            raise Unfit(f"two tools are named {tool.name}", param=f"{where}[{index}].name")
        found[tool.name] = tool
    if len(msgspec.json.encode(tools)) > MAX_TOOLS_BYTES:
        raise Unfit(f"tools may have {MAX_TOOLS_BYTES} bytes in all", word="string_above_max_length", param=where)
    return list(found.values())


def check_choice(choice: Any, where: str) -> None:
    """Raises Unfit for a choice that is not offered."""
    if isinstance(choice, ChosenMcp):
        raise Unfit("MCP servers are not offered", word="unsupported_parameter", param=f"{where}.type")


def check_named(tools: list[FunctionTool], choice: Any, where: str) -> None:
    """Raises Unfit where a function is chosen that is none of ``tools``."""
    if isinstance(choice, ChosenFunction) and all(tool.name != choice.name for tool in tools):
        raise Unfit(f"no tool is named {choice.name[:80]}", param=f"{where}.name")


def _given(change: msgspec.Struct) -> dict[str, Any]:
    values = ((name, getattr(change, name)) for name in change.__struct_fields__)
    return {name: value for name, value in values if value is not UNSET}


def _replaced(old: T, change: Any) -> T:
    return old if change is UNSET else msgspec.structs.replace(old, **_given(change))
