"""Frames of the realtime ASR dialect, in and out. Pure."""

import enum
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from parley_gateway.dialects.talk import Failed
from parley_protocol.faults import FaultCode, ProtocolError

MAX_SESSION = 128
"""Characters of a client's own session id."""
T = TypeVar("T")
Frame = dict[str, Any]


class Code(enum.StrEnum):
    """``code`` of an error frame."""

    INVALID_JSON = "INVALID_JSON"
    UNKNOWN_TYPE = "UNKNOWN_TYPE"
    UNKNOWN_ACTION = "UNKNOWN_ACTION"
    MISSING_FIELD = "MISSING_FIELD"
    INVALID_FIELD = "INVALID_FIELD"
    TOO_LARGE = "TOO_LARGE"
    RATE_LIMITED = "RATE_LIMITED"
    OVERLOADED = "OVERLOADED"
    RAG_FAILED = "RAG_FAILED"
    RAG_TIMEOUT = "RAG_TIMEOUT"
    UNAUTHORIZED = "UNAUTHORIZED"
    """Only before a close."""
    INTERNAL = "INTERNAL"


class Status(enum.StrEnum):
    """``stage`` of a status frame."""

    LISTENING = "listening"
    ANALYZING = "analyzing"
    QUERYING = "querying_rag"
    IDLE = "idle"
    PAUSED = "paused"


class Action(enum.StrEnum):
    """``action`` of a control frame."""

    PAUSE = "pause"
    RESUME = "resume"
    STOP = "stop"


class Unfit(ProtocolError):
    """A frame that cannot be taken, with this dialect's own code."""

    def __init__(self, word: Code, message: str) -> None:
        super().__init__(FaultCode.BAD_FRAME, message)
        self.word = word


@dataclass(frozen=True, slots=True)
class Chunk:
    """The whole hypothesis so far of what is being said. ``session``: the client's own id, where it names one."""

    text: str
    final: bool
    session: str = ""


@dataclass(frozen=True, slots=True)
class Control:
    """What the client wants of the assistant."""

    action: Action


@dataclass(frozen=True, slots=True)
class AudioConfig:
    """Binary frames hold audio from here on."""

    encoding: str
    rate: int
    channels: int


def decoded(data: str, max_text: int) -> Chunk | Control | AudioConfig:
    """One text frame of a client; unknown fields are ignored. Raises Unfit, which says what to do."""
    try:
        raw = msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        raise Unfit(Code.INVALID_JSON, "消息不是有效的 JSON：请发送一个 JSON 对象") from None
    if not isinstance(raw, dict):
        raise Unfit(Code.INVALID_JSON, "消息必须是一个 JSON 对象")
    match _field(raw, "type", str, "字符串"):
        case "asr_chunk":
            return _chunk(raw, max_text)
        case "control":
            return _control(raw)
        case "audio_config":
            return _audio_config(raw)
        case _:
            raise Unfit(Code.UNKNOWN_TYPE, "未知的消息类型：type 应为 asr_chunk 或 control")


NO_ASR = "本网关没有语音识别（ASR）服务，不接受音频：请在客户端识别后发送 asr_chunk 文本"
NO_CONFIG = "没有打开的音频流：请先发送 audio_config，再发送二进制音频"
NO_STREAM = "无法打开音频流：请检查 audio_config 的字段，或稍后再试"
LOST = "语音识别中断：请重新发送 audio_config 后继续"


def transcript(text: str, *, final: bool) -> Frame:
    """What was heard: the whole hypothesis, replaced by the next one until it is final."""
    return {"type": "transcript", "text": text, "is_final": final}


def _audio_config(raw: Frame) -> AudioConfig:
    encoding = _field(raw, "encoding", str, "字符串") if "encoding" in raw else "pcm_s16le"
    rate = _field(raw, "sample_rate", int, "整数") if "sample_rate" in raw else 16_000
    channels = _field(raw, "channels", int, "整数") if "channels" in raw else 1
    if encoding != "pcm_s16le":
        raise Unfit(Code.INVALID_FIELD, "字段 encoding 必须是 pcm_s16le")
    if not 8000 <= rate <= 48_000:
        raise Unfit(Code.INVALID_FIELD, "字段 sample_rate 必须在 8000 到 48000 之间")
    if channels not in (1, 2):
        raise Unfit(Code.INVALID_FIELD, "字段 channels 必须是 1 或 2")
    return AudioConfig(encoding, rate, channels)


def _chunk(raw: Frame, max_text: int) -> Chunk:
    text = _field(raw, "text", str, "字符串")
    final = _field(raw, "is_final", bool, "true 或 false")
    session = raw.get("session_id")
    if session is not None and not isinstance(session, str):
        raise Unfit(Code.INVALID_FIELD, "字段 session_id 必须是字符串")
    if session and len(session) > MAX_SESSION:
        raise Unfit(Code.INVALID_FIELD, f"字段 session_id 最多 {MAX_SESSION} 个字符")
    if len(text) > max_text:
        raise Unfit(Code.TOO_LARGE, f"字段 text 最多 {max_text} 个字符：请分句发送")
    return Chunk(text, final, session or "")


def _control(raw: Frame) -> Control:
    action = _field(raw, "action", str, "字符串")
    try:
        return Control(Action(action))
    except ValueError:
        raise Unfit(Code.UNKNOWN_ACTION, "未知的控制动作：action 应为 pause、resume 或 stop") from None


def _field(raw: Frame, name: str, kind: type[T], what: str) -> T:
    if name not in raw:
        raise Unfit(Code.MISSING_FIELD, f"缺少字段 {name}（{what}）")
    value = raw[name]
    if not isinstance(value, kind):
        raise Unfit(Code.INVALID_FIELD, f"字段 {name} 必须是{what}")
    return value


def connected(session: str) -> Frame:
    """The first frame."""
    return {"type": "ack", "received_type": "connect", "message": "connected", "session_id": session}


def acked(session: str, *, paused: bool) -> Frame:
    """A chunk was received; ``paused``: and is not worked on."""
    frame: Frame = {"type": "ack", "received_type": "asr_chunk", "session_id": session}
    return frame | {"message": "paused"} if paused else frame


def status(stage: Status) -> Frame:
    """Where the assistant is."""
    return {"type": "status", "stage": stage.value}


def answer(index: int, content: str, *, final: bool = False, restarted: bool = False) -> Frame:
    """A piece of an answer. ``restarted``: the pieces before it are void, the answer starts anew with this one."""
    frame: Frame = {"type": "answer", "stream_index": index, "content": content, "final": final}
    return frame | {"restarted": True} if restarted else frame


def error(word: Code, message: str) -> Frame:
    """Something was not taken or not answered."""
    return {"type": "error", "code": word.value, "message": message}


_REFUSALS = {
    FaultCode.TOO_LARGE: (Code.TOO_LARGE, "消息过大，已丢弃"),
    FaultCode.RATE_LIMITED: (Code.RATE_LIMITED, "消息过于频繁：请放慢发送速度"),
    FaultCode.OVERLOADED: (Code.OVERLOADED, "服务繁忙：请稍后再试"),
    FaultCode.UNAUTHORIZED: (Code.UNAUTHORIZED, "令牌缺失或无效：请使用有效的令牌重新连接"),
    FaultCode.FORBIDDEN: (Code.UNAUTHORIZED, "令牌无权访问：请使用有效的令牌重新连接"),
    FaultCode.BAD_FRAME: (Code.INVALID_JSON, "消息不是有效的 JSON"),
    FaultCode.INVALID: (Code.INVALID_FIELD, "字段的值无效"),
}


def refusal(refused: ProtocolError) -> Frame:
    """The error frame of a message that was not taken."""
    if isinstance(refused, Unfit):
        return error(refused.word, str(refused))
    word, said = _REFUSALS.get(refused.code, (Code.INTERNAL, "消息处理失败：请重试"))
    return error(word, f"{said}（{refused}）")


_WORDS = {
    Code.OVERLOADED: ("服务繁忙：请稍后再问一次", "the service is busy; ask again in a moment"),
    Code.RAG_TIMEOUT: ("回答超时：请稍后再问一次", "the answer was not ready in time; ask again"),
    Code.RAG_FAILED: ("暂时无法回答：请稍后再问一次", "this could not be answered; ask again in a moment"),
}
_CODES = {
    FaultCode.OVERLOADED: Code.OVERLOADED,
    FaultCode.RATE_LIMITED: Code.OVERLOADED,
    FaultCode.EXPIRED: Code.RAG_TIMEOUT,
    FaultCode.ENGINE_TIMEOUT: Code.RAG_TIMEOUT,
}
_OWN_WORDS = frozenset({FaultCode.ENGINE_FAILED, FaultCode.ENGINE_TIMEOUT})


def failure(failed: Failed, question: str) -> Frame:
    """The error frame of a question without an answer: an engine's own words as they are, and what to do."""
    word = _CODES.get(failed.code, Code.RAG_FAILED)
    if failed.code in _OWN_WORDS:
        return error(word, failed.message)
    chinese, english = _WORDS[word]
    said = english if question.isascii() else chinese
    frame = error(word, f"{said} ({failed.message})")
    return frame | {"retry_after_ms": failed.retry_after_ms} if failed.retry_after_ms is not None else frame
