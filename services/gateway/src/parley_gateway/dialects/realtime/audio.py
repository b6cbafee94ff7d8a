"""Samples as this protocol carries them: base64 of PCM, 16 bits, 24 kHz, or of G.711 at 8 kHz. Pure."""

import base64
import binascii
import sys
from array import array
from functools import cache

from parley_gateway.dialects.realtime.config import Format, Pcm, Pcma
from parley_gateway.dialects.realtime.faults import Unfit

_BIAS, _CLIP = 33, 8_158
"""Of mu-law, in its 14 bits."""


def decoded(text: str, form: Format) -> bytes:
    """A client's audio: PCM, or mu-law. Raises Unfit."""
    try:
        data = binascii.a2b_base64(text.encode(), strict_mode=True)
    except (binascii.Error, ValueError):
        raise Unfit("audio is not valid base64", param="audio") from None
    return data.translate(_a_to_mu()) if isinstance(form, Pcma) else data


def encoded(pcm: bytes, form: Format) -> str:
    """PCM at the format's rate, as an event carries it."""
    if isinstance(form, Pcm):
        return base64.b64encode(pcm).decode()
    samples = array("H")
    samples.frombytes(pcm[: len(pcm) & ~1])
    if sys.byteorder == "big":
        samples.byteswap()
    table = _codes(isinstance(form, Pcma))
    return base64.b64encode(bytes(map(table.__getitem__, samples))).decode()


def rate_of(form: Format) -> int:
    """Hz."""
    return 24_000 if isinstance(form, Pcm) else 8_000


def mu_law(sample: int) -> int:
    """A sample of 16 bits as its code."""
    value = sample >> 2
    sign, size = (0x80, -value) if value < 0 else (0, value)
    size = min(size, _CLIP) + _BIAS
    exponent = size.bit_length() - 6
    return ~(sign | exponent << 4 | (size >> (exponent + 1)) & 0x0F) & 0xFF


def a_law(sample: int) -> int:
    """A sample of 16 bits as its code."""
    sign, size = (0, -sample - 1) if sample < 0 else (0x80, sample)
    size = min(size, 0x7FFF) >> 4
    exponent = max(0, size.bit_length() - 4)
    code = size & 0x0F if exponent == 0 else exponent << 4 | (size >> (exponent - 1)) & 0x0F
    return (code | sign) ^ 0x55


def from_a_law(code: int) -> int:
    """The sample of 16 bits that a code stands for: the middle of its step."""
    code ^= 0x55
    exponent, mantissa = code >> 4 & 0x07, code & 0x0F
    size = mantissa << 4 | 0x08 if exponent == 0 else (mantissa << 4 | 0x108) << (exponent - 1)
    return size if code & 0x80 else -size


@cache
def _a_to_mu() -> bytes:
    return bytes(mu_law(from_a_law(code)) for code in range(256))


@cache
def _codes(a: bool) -> bytes:
    law = a_law if a else mu_law
    return bytes(law(value - 65_536 if value > 32_767 else value) for value in range(65_536))
