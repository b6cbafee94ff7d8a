"""Speech for tests, made by espeak-ng's library. Not thread-safe."""

import ctypes
import functools

import espeakng_loader
import numpy as np
import soxr

from parley_asr.engine import RATE, Samples

_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
_SYNCHRONOUS = 2
_UTF8 = 1
_SPEED = 1


@functools.cache
def _library() -> tuple[ctypes.CDLL, int]:
    library = ctypes.CDLL(espeakng_loader.get_library_path())
    return library, library.espeak_Initialize(_SYNCHRONOUS, 0, str(espeakng_loader.get_data_path()).encode(), 0)


def synthesised(
    text: str, *, rate: int = RATE, voice: str = "en-us", speed: int = 140, around_s: float = 0.5
) -> Samples:
    """``text`` spoken, with ``around_s`` of silence before and after."""
    library, native = _library()
    parts: list[np.ndarray] = []

    def take(samples: "ctypes._Pointer[ctypes.c_short]", count: int, _: object) -> int:
        if samples and count > 0:
            parts.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    callback = _Callback(take)
    library.espeak_SetSynthCallback(callback)
    library.espeak_SetVoiceByName(voice.encode())
    library.espeak_SetParameter(_SPEED, speed, 0)
    data = text.encode()
    library.espeak_Synth(data, len(data) + 1, 0, 0, 0, _UTF8, None, None)
    library.espeak_Synchronize()
    voiced = np.concatenate(parts).astype(np.float32) / 32_768
    silence = np.zeros(int(around_s * rate), np.float32)
    return np.concatenate((silence, soxr.resample(voiced, native, rate), silence)).astype(np.float32)
