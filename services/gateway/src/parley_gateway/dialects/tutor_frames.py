"""The frames of tutor sessions, and the address that a session's client is given. Pure."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from parley_gateway.dialects.fitting import fitting
from parley_protocol.faults import FaultCode, ProtocolError
from parley_runtime.store.tutor_ports import SessionState

EXPIRED = "会话已过期"
DELETED = "the session has been deleted; begin a new one"
NO_EARS = "speech cannot be understood here yet: no speech recognition is running; send the question as text"
NO_WORDS = "no words were heard; check the microphone and the format of the audio, and say it again"
NO_VOICE = "the answer could not be spoken to its end; its text is whole"


class Said(msgspec.Struct, tag="text"):
    """The student asks something."""

    content: str


class Heard(msgspec.Struct, tag="audio"):
    """The student says something: base64 of a WAV file, or of PCM s16le."""

    content: str
    sample_rate: int | None = None


_frames = msgspec.json.Decoder(Said | Heard)


def decoded(data: str | bytes, most: int) -> Said | Heard:
    """A student's frame; one of text has at most ``most`` bytes. Raises ProtocolError."""
    try:
        frame: Said | Heard = _frames.decode(data)
    except msgspec.ValidationError as error:
        text = str(error)
        unknown = text.startswith("Invalid value") and "$.type" in text
        raise ProtocolError(FaultCode.UNKNOWN_TYPE if unknown else FaultCode.BAD_FRAME, text[:200]) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(FaultCode.BAD_FRAME, f"not valid JSON: {str(error)[:150]}") from None
    if isinstance(frame, Said):
        if len(data) > most:
            raise ProtocolError(FaultCode.TOO_LARGE, f"a text frame may have {most} bytes; this one was dropped")
        if not frame.content.strip():
            raise ProtocolError(FaultCode.INVALID, "content is empty; ask something")
    return frame


def answer(text: str) -> dict[str, Any]:
    """The whole answer in one frame."""
    return fitting({"type": "text", "content": text}, "content")


def error(message: str, retry_after_ms: int | None = None) -> dict[str, Any]:
    """What was wrong."""
    frame: dict[str, Any] = {"type": "error", "content": message}
    if retry_after_ms is not None:
        frame["retry_after_ms"] = retry_after_ms
    return frame


def words(state: SessionState) -> str:
    """What is said of a session that is over."""
    return EXPIRED if state is SessionState.EXPIRED else DELETED


def session_token(query: bytes) -> str:
    """The first ``token`` of a query; a second ``?token=`` that a client has appended is no part of it."""
    for name, text in parse_qsl(query.decode("latin-1")):
        if name == "token":
            return text.partition("?")[0]
    return ""


def engine_url(base: str, headers: Mapping[str, str], scheme: str, session: str, token: str) -> str:
    """Where the client connects. ``base``: WEBSOCKET_URL, whose trailing ``/`` or ``/ws`` counts as the address's first
    ``/ws``; without it scheme and host are those of the request.
    """
    if base:
        where = base.strip().rstrip("/").removesuffix("/ws").rstrip("/")
        for web, socket in (("https://", "wss://"), ("http://", "ws://")):
            if where.startswith(web):
                where = socket + where.removeprefix(web)
    else:
        where = f"{'wss' if scheme in ('https', 'wss') else 'ws'}://{headers.get('host', '')}"
    return f"{where}/ws/ws/{session}?token={token}"
