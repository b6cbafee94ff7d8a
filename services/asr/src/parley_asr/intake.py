"""Audio as clients send it, into what engines hear: mono, 16 kHz, floats. Pure.

An intake begins at a boundary and works on blocks of a fixed size counted from there, so that what comes out never
depends on how the bytes were cut on their way.
"""

from typing import Protocol

import numpy as np
import soxr

from parley_asr.engine import RATE, Samples
from parley_protocol.audio import Hearing
from parley_protocol.faults import FaultCode
from parley_runtime.errors import Invalid

BLOCKS_PER_S = 50
QUALITY = "MQ"
TOO_LOUD = 4.0
"""Floats beyond this are no audio between -1 and 1 but something else."""

OPUS = "opus"
OPUS_BYTES_PER_S = 6000
WIDTHS = {"pcm_s16le": 2, "pcm_f32le": 4, "pcm_mulaw": 1}


class Unsupported(Invalid):
    """A format that is not taken here."""

    code = FaultCode.UNSUPPORTED


class Intake(Protocol):
    """From the boundary on. Positions are bytes and samples since then."""

    def whole(self, raw: bytearray, at: int) -> int:
        """Bytes of the block that begins at ``raw[at]``; 0 where it is not whole yet. Raises Invalid."""
        ...

    def push(self, block: bytes) -> Samples:
        """The samples that have become ready with this block. Raises Invalid."""
        ...

    def skip(self, block: bytes) -> None:
        """Count the block, and hear nothing of it."""
        ...

    def ms(self, position: int) -> float:
        """Milliseconds of audio before ``position``."""
        ...

    def flush(self, rest: bytes) -> tuple[int, Samples]:
        """Nothing follows: bytes taken of the last, incomplete block, and all samples that are left."""
        ...

    def position(self, sample: int) -> int:
        """Bytes before the frame that holds ``sample``."""
        ...


def _mulaw_table() -> Samples:
    codes = ~np.arange(256, dtype=np.uint8)
    exponent = (codes >> 4) & 7
    mantissa = (codes & 15).astype(np.int32)
    magnitude = ((mantissa << 3) + 132 << exponent) - 132
    table: Samples = (np.where(codes & 128, -magnitude, magnitude) / 32_768).astype(np.float32)
    return table


_MULAW = _mulaw_table()


class Pcm:
    """Samples of a fixed width."""

    def __init__(self, hearing: Hearing) -> None:
        self._encoding = hearing.encoding
        self._channels = hearing.channels
        self._rate = hearing.rate
        self.frame = WIDTHS[hearing.encoding] * hearing.channels
        self._block = hearing.rate // BLOCKS_PER_S * self.frame
        self._resampler = Resampler(hearing.rate)

    def whole(self, raw: bytearray, at: int) -> int:
        """See :class:`Intake`."""
        return self._block if len(raw) - at >= self._block else 0

    def push(self, block: bytes) -> Samples:
        """See :class:`Intake`."""
        return self._resampler.push(self._decode(block))

    def skip(self, block: bytes) -> None:
        """See :class:`Intake`."""

    def ms(self, position: int) -> float:
        """See :class:`Intake`."""
        return position / self.frame / self._rate * 1000

    def flush(self, rest: bytes) -> tuple[int, Samples]:
        """See :class:`Intake`."""
        taken = len(rest) // self.frame * self.frame
        return taken, self._resampler.push(self._decode(rest[:taken]), last=True)

    def position(self, sample: int) -> int:
        """See :class:`Intake`."""
        return sample * self._rate // RATE * self.frame

    def _decode(self, data: bytes) -> Samples:
        if self._encoding == "pcm_s16le":
            samples = np.frombuffer(data, "<i2").astype(np.float32) / np.float32(32_768)
        elif self._encoding == "pcm_mulaw":
            samples = _MULAW[np.frombuffer(data, np.uint8)]
        else:
            samples = _checked(np.frombuffer(data, "<f4"))
        return mixed(samples, self._channels)


def mixed(samples: Samples, channels: int) -> Samples:
    """Interleaved channels as one."""
    if channels == 1:
        return samples
    both: Samples = samples.reshape(-1, channels).mean(axis=1, dtype=np.float32)
    return both


def _checked(samples: Samples) -> Samples:
    if samples.size and not np.abs(samples).max() <= TOO_LOUD:  # also where there is a NaN
        raise Invalid("The samples are not floats between -1 and 1: say with which encoding they are sent.")
    return np.clip(samples, -1.0, 1.0)


class Resampler:
    """To 16 kHz; the sum of what it gives is as long as what it was given, and nothing is shifted in time."""

    def __init__(self, rate: int) -> None:
        self._stream = None if rate == RATE else soxr.ResampleStream(rate, RATE, 1, dtype="float32", quality=QUALITY)

    def push(self, samples: Samples, *, last: bool = False) -> Samples:
        """What has become ready."""
        if self._stream is None:
            return samples
        ready: Samples = self._stream.resample_chunk(samples, last=last)
        return ready


def open_intake(hearing: Hearing) -> Intake:
    """A fresh intake. Raises Unsupported."""
    if hearing.encoding == OPUS:
        from parley_asr.opus import Opus

        return Opus(hearing)
    return Pcm(hearing)


def check(hearing: Hearing) -> None:
    """Raises Unsupported for a hearing that no intake can be made for."""
    if not 8_000 <= hearing.rate <= 48_000:
        raise Unsupported(f"Audio of {hearing.rate} Hz is not taken: send 8,000 to 48,000 Hz.")
    if hearing.channels not in (1, 2):
        raise Unsupported(f"Audio of {hearing.channels} channels is not taken: send 1 or 2.")
    if hearing.encoding == OPUS:
        from parley_asr.opus import load

        load()
    elif hearing.encoding not in WIDTHS:
        raise Unsupported(f"The encoding {hearing.encoding[:20]!r} is not taken: send {', '.join((*WIDTHS, OPUS))}.")


def bytes_per_s(hearing: Hearing) -> int:
    """How many bytes a second of audio has; of Opus: what much of it has."""
    if hearing.encoding == OPUS:
        return OPUS_BYTES_PER_S
    return WIDTHS[hearing.encoding] * hearing.rate * hearing.channels


def ms_at(hearing: Hearing, position: int) -> float | None:
    """Milliseconds of audio before ``position``; None where the encoding does not tell."""
    if hearing.encoding not in WIDTHS:
        return None
    return position / bytes_per_s(hearing) * 1000


class Leveller:
    """Takes a constant offset out of frames of one size: their running mean, without a step between frames."""

    FOLLOWS = 0.05

    def __init__(self) -> None:
        self._mean: float | None = None

    def push(self, frame: Samples) -> Samples:
        """The frame without it."""
        now = float(frame.mean(dtype=np.float64))
        before = now if self._mean is None else self._mean
        after = before + self.FOLLOWS * (now - before)
        self._mean = after
        if abs(before) < 1e-4 and abs(after) < 1e-4:
            return frame
        level = np.linspace(before, after, frame.size, endpoint=False, dtype=np.float32)
        clean: Samples = frame - level
        return clean
