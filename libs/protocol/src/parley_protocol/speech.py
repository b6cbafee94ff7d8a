"""``answer.audio``: the binary frame of a spoken answer.

Two bytes, big-endian: the length of a JSON header; the header (:class:`AnswerAudio`); then PCM, 16 bits, little-endian,
mono. On MessagePack sockets, whose other frames are binary too, audio goes either way as one MessagePack ``bin``, which
no other frame is: server frames hold the same bytes in it.
"""

import msgspec

from parley_protocol.faults import FaultCode, ProtocolError
from parley_protocol.ids import TurnId


class AnswerAudio(msgspec.Struct, frozen=True, kw_only=True):
    """Header of a frame. ``at``: samples of the answer's audio before this frame, which shows a gap or a repetition."""

    turn: TurnId
    sentence: int
    at: int
    rate: int


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(AnswerAudio)


def encode_audio(header: AnswerAudio, pcm: bytes) -> bytes:
    """The frame as bytes."""
    head = _encoder.encode(header)
    return b"".join((len(head).to_bytes(2, "big"), head, pcm))


def decode_audio(frame: bytes) -> tuple[AnswerAudio, bytes]:
    """Header and PCM of a frame. Raises ProtocolError."""
    size = int.from_bytes(frame[:2], "big")
    try:
        return _decoder.decode(frame[2 : 2 + size]), frame[2 + size :]
    except msgspec.DecodeError as error:
        raise ProtocolError(FaultCode.BAD_FRAME, f"no frame of answer.audio: {error}") from None
