"""Opus packets, each behind its length in two bytes, by FFmpeg's decoder. An optional part: PyAV brings the library."""

from bisect import bisect_right
from typing import Any

import numpy as np

from parley_asr.engine import RATE, Samples
from parley_asr.intake import Resampler, Unsupported, mixed
from parley_protocol.audio import Hearing
from parley_runtime.errors import Invalid

DECODED = 48_000
LONGEST = 0.12
"""Seconds of a packet, at most."""
HEAD = 2
_FRAME_MS = (10, 20, 40, 60, 10, 20, 40, 60, 10, 20, 40, 60, 10, 20, 10, 20)
"""By the first half byte's upper configurations of SILK and hybrid packets."""
WHOLE = "send each packet whole, as its encoder gives it, without a container such as Ogg or WebM"


def load() -> Any:
    """The library. Raises Unsupported where it is not installed."""
    try:
        import av
    except ImportError:
        raise Unsupported("Opus is not taken here: send pcm_s16le, or have parley-asr[opus] installed.") from None
    return av


def samples_of(packet: bytes) -> int:
    """Samples at 48 kHz in a packet, by its first bytes (RFC 6716, 3.1). Raises Invalid for one that is none."""
    if not packet:
        raise Invalid(f"An Opus packet is empty: {WHOLE}.")
    config, code = packet[0] >> 3, packet[0] & 3
    size = 48 * _FRAME_MS[config] if config < 16 else 120 << (config & 3)
    if code == 3 and len(packet) < 2:
        raise Invalid(f"An Opus packet is cut off: {WHOLE}.")
    count = (1, 2, 2, packet[1] & 63 if code == 3 else 0)[code]
    total = size * count
    if not 0 < total <= DECODED * LONGEST:
        raise Invalid(f"This is no Opus packet: {WHOLE}.")
    return total


class Opus:
    """See ``intake.Intake``. Positions are beginnings of packets."""

    def __init__(self, hearing: Hearing) -> None:
        av = load()
        self._av = av
        self._channels = hearing.channels
        self._codec = av.CodecContext.create("opus" if "opus" in av.codecs_available else "libopus", "r")
        self._codec.sample_rate = DECODED
        self._codec.layout = "stereo" if hearing.channels == 2 else "mono"
        self._resampler = Resampler(DECODED)
        self._starts = [0]
        self._samples = [0]
        """Beginnings of packets, in bytes and in samples of 48 kHz."""

    def whole(self, raw: bytearray, at: int) -> int:
        """See ``intake.Intake``."""
        if len(raw) - at < HEAD:
            return 0
        size = HEAD + int.from_bytes(raw[at : at + HEAD], "big")
        if size == HEAD:
            raise Invalid("An Opus packet is empty: each one goes behind its length in two bytes, big-endian.")
        return size if len(raw) - at >= size else 0

    def push(self, block: bytes) -> Samples:
        """See ``intake.Intake``. What the decoder gives of a packet is as long as the packet says."""
        packet = block[HEAD:]
        wanted = samples_of(packet)
        self._count(block, wanted)
        decoded = self._decode(packet)[:wanted]
        if decoded.size < wanted:
            decoded = np.concatenate((decoded, np.zeros(wanted - decoded.size, np.float32)))
        return self._resampler.push(decoded)

    def skip(self, block: bytes) -> None:
        """See ``intake.Intake``."""
        self._count(block, samples_of(block[HEAD:]))

    def ms(self, position: int) -> float:
        """See ``intake.Intake``."""
        index = bisect_right(self._starts, position) - 1
        return self._samples[index] / DECODED * 1000

    def flush(self, rest: bytes) -> tuple[int, Samples]:  # noqa: ARG002 - the protocol's
        """See ``intake.Intake``. A packet that is not whole is left."""
        return 0, self._resampler.push(np.zeros(0, np.float32), last=True)

    def position(self, sample: int) -> int:
        """See ``intake.Intake``."""
        return self._starts[bisect_right(self._samples, max(0, sample) * DECODED // RATE) - 1]

    def _count(self, block: bytes, samples: int) -> None:
        self._starts.append(self._starts[-1] + len(block))
        self._samples.append(self._samples[-1] + samples)

    def _decode(self, packet: bytes) -> Samples:
        try:
            frames = self._codec.decode(self._av.Packet(packet))
        except self._av.error.FFmpegError as error:
            raise Invalid(f"An Opus packet cannot be decoded: {WHOLE}.") from error
        parts = [_mono(frame) for frame in frames]
        return np.concatenate(parts) if parts else np.zeros(0, np.float32)


def _mono(frame: Any) -> Samples:
    values = frame.to_ndarray()
    if values.dtype != np.float32:
        values = values.astype(np.float32) / np.float32(32_768)
    channels = len(frame.layout.channels)
    if values.shape[0] == channels and channels > 1:  # planes
        whole: Samples = values.mean(axis=0, dtype=np.float32)
        return whole
    return mixed(values.reshape(-1), channels)
