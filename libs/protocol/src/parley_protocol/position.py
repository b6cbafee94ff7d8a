"""The resume cursor: what a gateway must know to go on exactly where a client stopped reading."""

import base64
import hashlib

import msgspec

from parley_protocol.faults import FaultCode, ProtocolError
from parley_protocol.ids import TurnId

MAX_POSITION = 512
"""Characters of an encoded position."""


class Position(msgspec.Struct, frozen=True, array_like=True):
    """Everything up to and including frame ``seq`` of ``turn`` was read.

    ``fence`` and ``n`` name the next item expected, ``at`` the code points of answer text read, and ``check`` is
    :func:`text_check` of that text, so that a gateway that has the whole text can tell a continuation from a restart.
    """

    turn: TurnId
    seq: int
    fence: int
    n: int
    at: int
    check: int
    done: bool = False


class TextCheck:
    """A 64-bit hash of a growing text; feeding parts equals feeding the whole (UTF-8, BLAKE2b)."""

    __slots__ = ("_hash",)

    def __init__(self) -> None:
        self._hash = hashlib.blake2b(digest_size=8)

    def feed(self, part: str) -> None:
        """Append ``part``."""
        self._hash.update(part.encode())

    def value(self) -> int:
        """The hash of all that was fed; more may be fed afterwards."""
        return int.from_bytes(self._hash.digest(), "big")


def text_check(text: str) -> int:
    """64-bit hash of ``text``."""
    check = TextCheck()
    check.feed(text)
    return check.value()


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Position)


def encode_position(position: Position) -> str:
    """URL-safe text, without padding."""
    return base64.urlsafe_b64encode(_encoder.encode(position)).rstrip(b"=").decode("ascii")


def decode_position(text: str) -> Position:
    """The inverse of :func:`encode_position`.

    Raises:
        ProtocolError: ``bad_frame``: the text was not made by a gateway of this protocol.
    """
    if len(text) > MAX_POSITION:
        raise ProtocolError(FaultCode.BAD_FRAME, f"position is longer than {MAX_POSITION} characters")
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        return _decoder.decode(raw)
    except (ValueError, msgspec.MsgspecError) as error:
        raise ProtocolError(
            FaultCode.BAD_FRAME, "position is not one that a server gave; leave it out to start afresh"
        ) from error
