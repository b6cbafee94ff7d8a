"""The only encoders and decoders. Built once; safe to share within one event loop.

Between processes everything is MessagePack; on the socket frames are JSON or MessagePack as the client chose.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from parley_protocol.audio import AudioBatch, GatewayMessage, Listen, Speak
from parley_protocol.client import ClientFrame, ServerFrame
from parley_protocol.contact import ContactNotice
from parley_protocol.control import Control
from parley_protocol.faults import FaultCode, ProtocolError
from parley_protocol.reviews import ReviewJob
from parley_protocol.work import AnyJob, KnowledgeCommand

T = TypeVar("T")
D = TypeVar("D", bytes, str)

_pack = msgspec.msgpack.Encoder()
_json = msgspec.json.Encoder()

_jobs: msgspec.msgpack.Decoder[AnyJob] = msgspec.msgpack.Decoder(AnyJob)
_gateway: msgspec.msgpack.Decoder[GatewayMessage] = msgspec.msgpack.Decoder(GatewayMessage)
_control: msgspec.msgpack.Decoder[Control] = msgspec.msgpack.Decoder(Control)
_knowledge: msgspec.msgpack.Decoder[KnowledgeCommand] = msgspec.msgpack.Decoder(KnowledgeCommand)
_reviews: msgspec.msgpack.Decoder[ReviewJob] = msgspec.msgpack.Decoder(ReviewJob)
_notices: msgspec.msgpack.Decoder[ContactNotice] = msgspec.msgpack.Decoder(ContactNotice)
_listens: msgspec.msgpack.Decoder[Listen] = msgspec.msgpack.Decoder(Listen)
_audio: msgspec.msgpack.Decoder[AudioBatch] = msgspec.msgpack.Decoder(AudioBatch)
_speaks: msgspec.msgpack.Decoder[Speak] = msgspec.msgpack.Decoder(Speak)
_client_json: msgspec.json.Decoder[ClientFrame] = msgspec.json.Decoder(ClientFrame)
_client_pack: msgspec.msgpack.Decoder[ClientFrame] = msgspec.msgpack.Decoder(ClientFrame)
_server_json: msgspec.json.Decoder[ServerFrame] = msgspec.json.Decoder(ServerFrame)
_server_pack: msgspec.msgpack.Decoder[ServerFrame] = msgspec.msgpack.Decoder(ServerFrame)


def _decode(decode: Callable[[D], T], data: D) -> T:
    """Decode or raise :class:`ProtocolError` with a message that names the field."""
    try:
        return decode(data)
    except msgspec.ValidationError as error:
        text = _short(str(error))
        code = (
            FaultCode.UNKNOWN_TYPE if text.startswith("Invalid value '") and "$.type" in text else FaultCode.BAD_FRAME
        )
        raise ProtocolError(code, text) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ProtocolError(FaultCode.BAD_FRAME, f"cannot be decoded: {error}") from error
    except RecursionError:
        raise ProtocolError(FaultCode.BAD_FRAME, "nested too deeply") from None


def _short(text: str) -> str:
    """An error quotes what it was given; keep both ends: what is wrong and where."""
    return text if len(text) <= 200 else f"{text[:100]} … {text[-60:]}"


def pack(message: Any) -> bytes:
    """Any wire message as MessagePack."""
    return _pack.encode(message)


def unpack_job(data: bytes) -> AnyJob:
    """A job from a stage queue. Raises ProtocolError."""
    return _decode(_jobs.decode, data)


def unpack_gateway(data: bytes) -> GatewayMessage:
    """A message from a gateway's event queue. Raises ProtocolError."""
    return _decode(_gateway.decode, data)


def unpack_control(data: bytes) -> Control:
    """A control message. Raises ProtocolError."""
    return _decode(_control.decode, data)


def unpack_knowledge(data: bytes) -> KnowledgeCommand:
    """A knowledge-base command. Raises ProtocolError."""
    return _decode(_knowledge.decode, data)


def unpack_review(data: bytes) -> ReviewJob:
    """A job of a review stage. Raises ProtocolError."""
    return _decode(_reviews.decode, data)


def unpack_notice(data: bytes) -> ContactNotice:
    """A notice to the owner. Raises ProtocolError."""
    return _decode(_notices.decode, data)


def unpack_listen(data: bytes) -> Listen:
    """A job of the listening stage. Raises ProtocolError."""
    return _decode(_listens.decode, data)


def unpack_audio(data: bytes) -> AudioBatch:
    """Audio from a worker's queue. Raises ProtocolError."""
    return _decode(_audio.decode, data)


def unpack_speak(data: bytes) -> Speak:
    """A job of the speaking stage. Raises ProtocolError."""
    return _decode(_speaks.decode, data)


def unpack(data: bytes, kind: type[T]) -> T:
    """MessagePack of a known type. Raises ProtocolError. Not for hot paths: builds a decoder."""
    return _decode(msgspec.msgpack.Decoder(kind).decode, data)


def encode_json(frame: ServerFrame | ClientFrame) -> str:
    """A frame as the text of a JSON frame."""
    return _json.encode(frame).decode()


def encode_pack(frame: ServerFrame | ClientFrame) -> bytes:
    """A frame as the bytes of a MessagePack frame."""
    return _pack.encode(frame)


def decode_client(data: str | bytes) -> ClientFrame:
    """A client's frame: text is JSON, bytes are MessagePack. Raises ProtocolError."""
    return _decode(_client_json.decode, data) if isinstance(data, str) else _decode(_client_pack.decode, data)


def decode_server(data: str | bytes) -> ServerFrame:
    """A server's frame: text is JSON, bytes are MessagePack. Raises ProtocolError."""
    return _decode(_server_json.decode, data) if isinstance(data, str) else _decode(_server_pack.decode, data)
