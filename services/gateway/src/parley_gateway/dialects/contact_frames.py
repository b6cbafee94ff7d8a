"""The frames of the contact chat: what clients may send, and what they are told. Pure."""

from datetime import UTC, datetime
from typing import Any

import msgspec

from parley_gateway.dialects.fitting import fitting
from parley_gateway.dialects.words import in_chinese
from parley_protocol.contact import ContactMessage
from parley_protocol.faults import FaultCode, ProtocolError

FALLBACK = "抱歉，我暂时无法处理您的请求，请稍后再试。"
"""The assistant's words where no answer can be had."""
AWAY = "访客当前不在线：消息已保存，但没有送达。"
MAX_CLIENT = 64
MAX_AGENT = 1024

_WORDS = {
    FaultCode.BAD_FRAME: "消息格式错误",
    FaultCode.UNKNOWN_TYPE: "未知的消息类型",
    FaultCode.INVALID: "消息内容无效",
    FaultCode.TOO_LARGE: "消息过大",
    FaultCode.RATE_LIMITED: "消息发送过快，请稍后再试",
    FaultCode.OVERLOADED: "等待回答的消息过多，请稍后再试",
    FaultCode.UNAVAILABLE: "服务暂时不可用，请稍后再试",
    FaultCode.UNAUTHORIZED: "需要有效的令牌",
    FaultCode.FORBIDDEN: "需要所有者的令牌",
}


class Request(msgspec.Struct, tag="contact_request"):
    """A visitor wants to be contacted."""

    message: str
    timestamp: str
    userAgent: str


class Chat(msgspec.Struct, tag="chat_message"):
    """A visitor asks something."""

    message: str
    timestamp: str


class Ping(msgspec.Struct, tag="ping"):
    """Are you there?"""


class OwnerReply(msgspec.Struct, tag="owner_reply"):
    """The owner answers a visitor."""

    client_id: str
    message: str


_visitor = msgspec.json.Decoder(Request | Chat | Ping)
_owner = msgspec.json.Decoder(OwnerReply | Ping)


def from_visitor(data: str | bytes, most: int) -> Request | Chat | Ping:
    """A visitor's frame; its message has at most ``most`` characters. Raises ProtocolError."""
    frame: Request | Chat | Ping = _decoded(_visitor, data)
    if isinstance(frame, Request | Chat):
        _check(frame.message, most)
    if isinstance(frame, Request) and len(frame.userAgent) > MAX_AGENT:
        raise ProtocolError(FaultCode.INVALID, f"userAgent has more than {MAX_AGENT} characters")
    return frame


def from_owner(data: str | bytes, most: int) -> OwnerReply | Ping:
    """An owner's frame. Raises ProtocolError."""
    frame: OwnerReply | Ping = _decoded(_owner, data)
    if isinstance(frame, OwnerReply):
        _check(frame.message, most)
        if not 1 <= len(frame.client_id) <= MAX_CLIENT or not frame.client_id.isprintable():
            raise ProtocolError(FaultCode.INVALID, f"client_id must be 1 to {MAX_CLIENT} printable characters")
    return frame


def _decoded(decoder: "msgspec.json.Decoder[Any]", data: str | bytes) -> Any:
    try:
        return decoder.decode(data)
    except msgspec.ValidationError as error:
        text = str(error)
        unknown = text.startswith("Invalid value") and "$.type" in text
        raise ProtocolError(FaultCode.UNKNOWN_TYPE if unknown else FaultCode.BAD_FRAME, text[:200]) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(FaultCode.BAD_FRAME, f"not valid JSON: {str(error)[:150]}") from None


def _check(text: str, most: int) -> None:
    if not text.strip():
        raise ProtocolError(FaultCode.INVALID, "message is empty")
    if len(text) > most:
        raise ProtocolError(FaultCode.INVALID, f"message has more than {most} characters")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ProtocolError(FaultCode.INVALID, "message holds half of a surrogate pair")


def now() -> str:
    """The time as frames tell it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def established(client: str) -> dict[str, Any]:
    """The greeting."""
    return {
        "type": "connection_established",
        "message": "WebSocket连接已建立",
        "client_id": client,
        "timestamp": now(),
    }


def request_received(client: str) -> dict[str, Any]:
    """A contact request has been kept."""
    return {"type": "contact_request_received", "message": "联系请求已收到", "client_id": client, "timestamp": now()}


def message_received() -> dict[str, Any]:
    """A message has been kept; its answer follows."""
    return {"type": "chat_message_received", "message": "消息已收到", "timestamp": now()}


def pong() -> dict[str, Any]:
    """The answer to a ping."""
    return {"type": "pong", "timestamp": now()}


def answer(text: str) -> dict[str, Any]:
    """The assistant's words."""
    frame = {"type": "chat_message", "message": text, "timestamp": now(), "sender": "assistant"}
    return fitting(frame, "message")


def from_store(message: ContactMessage) -> dict[str, Any]:
    """A kept message as an owner sees it, and a visitor where it is for him."""
    frame = {
        "type": message.kind,
        "message": message.message,
        "timestamp": message.timestamp,
        "sender": message.sender,
        "client_id": message.client_id,
        "id": message.id,
    }
    if message.user_agent:
        frame["userAgent"] = message.user_agent
    return fitting(frame, "message")


def error(code: FaultCode, detail: str) -> dict[str, Any]:
    """What was wrong, in words."""
    words = _WORDS.get(code, "消息无法处理，请稍后再试")
    return {"type": "error", "message": f"{words}：{in_chinese(detail)}", "code": code.value}
