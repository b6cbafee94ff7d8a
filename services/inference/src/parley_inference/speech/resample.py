"""PCM from one rate to another, as it streams."""

import math
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

TAPS = 16
"""Input samples on either side of an output sample, at equal rates; more where the rate falls."""
MAX_PHASES = 640
"""Filters kept for one pair of rates; between odd rates the nearest one is taken."""

Floats = NDArray[np.float32]


@lru_cache(maxsize=16)
def _filters(source: int, target: int) -> tuple[Floats, int, int]:
    """Windowed sinc filters, one per phase, with the step between output samples as a fraction."""
    common = math.gcd(source, target)
    step, phases = source // common, target // common
    cutoff = min(1.0, target / source) * 0.95
    half = math.ceil(TAPS / min(1.0, target / source))
    kept = min(phases, MAX_PHASES)
    offsets = np.arange(-half + 1, half + 1)[None, :] - (np.arange(kept) / kept)[:, None]
    window = np.cos(np.clip(offsets / half, -1.0, 1.0) * (math.pi / 2)) ** 2
    table = np.sinc(offsets * cutoff) * window
    table /= table.sum(axis=1, keepdims=True)
    return table.astype(np.float32), step, phases


class Resampler:
    """One stream. Not shared between threads."""

    def __init__(self, source: int, target: int) -> None:
        self._same = source == target
        self._odd = b""
        self._table, self._step, self._phases = _filters(source, target)
        self._half = self._table.shape[1] // 2
        self._input: Floats = np.zeros(self._half - 1, dtype=np.float32)
        self._first = -(self._half - 1)
        """Place of ``_input``'s first sample in the stream."""
        self._next = 0
        """Number of the next output sample."""

    def feed(self, pcm: bytes) -> bytes:
        """What can be said of the output by now. ``pcm`` may end within a sample."""
        data = self._odd + pcm
        whole = len(data) // 2 * 2
        self._odd = data[whole:]
        if self._same or not whole:
            return data[:whole]
        fresh = np.frombuffer(data[:whole], dtype="<i2").astype(np.float32)
        self._input = np.concatenate((self._input, fresh))
        return self._ready()

    def end(self) -> bytes:
        """The rest of it. Half a sample at the very end is dropped."""
        if self._same:
            return b""
        self._input = np.concatenate((self._input, np.zeros(self._half, dtype=np.float32)))
        return self._ready()

    def _ready(self) -> bytes:
        last = self._first + len(self._input) - 1 - self._half
        count = (last + 1) * self._phases
        until = max(self._next, -(-count // self._step)) if count > 0 else self._next
        if until <= self._next:
            return b""
        places = np.arange(self._next, until, dtype=np.int64) * self._step
        whole, phase = np.divmod(places, self._phases)
        chosen = phase * len(self._table) // self._phases
        begins = whole - (self._half - 1) - self._first
        windows: NDArray[Any] = np.lib.stride_tricks.sliding_window_view(self._input, 2 * self._half)[begins]
        out = np.einsum("ij,ij->i", windows, self._table[chosen])
        self._next = until
        keep = until * self._step // self._phases - (self._half - 1) - self._first
        self._input = self._input[keep:]
        self._first += keep
        samples: NDArray[np.int16] = np.clip(np.rint(out), -32768, 32767).astype("<i2")
        return samples.tobytes()
