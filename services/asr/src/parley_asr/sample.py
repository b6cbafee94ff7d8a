"""A sentence to measure engines with: espeak-ng's, or, where its library cannot be used, something like speech."""

import ctypes

import numpy as np
import soxr

from parley_asr.engine import RATE, Samples
from parley_runtime.telemetry.logging import get_logger

TEXT = b"how does the recorder work, and what happens when a worker dies"
_SYNCHRONOUS, _UTF8 = 2, 1

log = get_logger(__name__)


def sentence() -> Samples:
    """Some seconds of speech. Not for several threads at once."""
    try:
        return _spoken()
    except (ImportError, OSError, ValueError) as error:
        log.info("capacity is measured with a sound that is no speech", reason=str(error))
        return babble(2.0)


def _spoken() -> Samples:
    import espeakng_loader  # type: ignore[import-untyped]  # it has no types

    library = ctypes.CDLL(espeakng_loader.get_library_path())
    native = library.espeak_Initialize(_SYNCHRONOUS, 0, str(espeakng_loader.get_data_path()).encode(), 0)
    if native <= 0:
        raise OSError("espeak-ng's library finds no voices")
    parts: list[Samples] = []
    kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)

    def take(samples: "ctypes._Pointer[ctypes.c_short]", count: int, _: object) -> int:
        if samples and count > 0:
            parts.append(np.ctypeslib.as_array(samples, (count,)).astype(np.float32) / np.float32(32_768))
        return 0

    callback = kind(take)  # kept until the library is done with it
    library.espeak_SetSynthCallback(callback)
    library.espeak_SetVoiceByName(b"en-us")
    library.espeak_Synth(TEXT, len(TEXT) + 1, 0, 0, 0, _UTF8, None, None)
    library.espeak_Synchronize()
    whole: Samples = soxr.resample(np.concatenate(parts), native, RATE).astype(np.float32)
    return whole


def babble(seconds: float) -> Samples:
    """Voiced sounds that change as syllables do. The same each time."""
    time_s = np.arange(int(seconds * RATE), dtype=np.float64) / RATE
    pitch = 120 + 20 * np.sin(2 * np.pi * 0.7 * time_s)
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    formant = 500 + 300 * np.sin(2 * np.pi * 1.9 * time_s)
    second = 1500 + 600 * np.sin(2 * np.pi * 1.3 * time_s + 1)
    voice = np.zeros_like(time_s)
    for harmonic in range(1, 30):
        hz = harmonic * pitch
        gain = np.exp(-(((hz - formant) / 120) ** 2)) + 0.5 * np.exp(-(((hz - second) / 200) ** 2)) + 0.02
        voice += gain * np.sin(harmonic * phase)
    syllables = 0.55 + 0.45 * np.sin(2 * np.pi * 4.0 * time_s)
    noise = np.random.default_rng(1).standard_normal(time_s.size) * 0.01
    loud = voice * syllables
    audio: Samples = (0.3 * loud / np.abs(loud).max() + noise).astype(np.float32)
    return audio
