"""espeak-ng through ctypes. Its state is global and its own: one thread calls it, and never two of these are open."""

import ctypes
from collections.abc import Callable

from parley_runtime.errors import EngineError, Unavailable
from parley_runtime.telemetry.logging import get_logger

log = get_logger(__name__)

BUFFER_MS = 100
"""Audio of one callback, after which a stop is looked at."""
WORDS_PER_MINUTE = (80, 450)

_RETRIEVE_IN_PLACE = 2
_NEVER_EXIT = 0x8000
_UTF8 = 1
_BY_CHARACTER = 1
_RATE = 1

_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)


class EspeakLibrary:
    """The loaded library. ``rate`` is what it speaks at. Raises Unavailable where it cannot be loaded."""

    def __init__(self) -> None:
        try:
            import espeakng_loader  # type: ignore[import-untyped]  # it has no types

            self._library = ctypes.CDLL(espeakng_loader.get_library_path())
            data = espeakng_loader.get_data_path()
        except (ImportError, OSError, RuntimeError) as error:
            raise Unavailable(f"espeak-ng cannot be loaded ({error}): install espeakng-loader") from error
        self._sink: Callable[[bytes], bool] = _nowhere
        # Kept as long as the library is: it is called from within.
        self._callback = _Callback(self._heard)
        self.rate = int(self._library.espeak_Initialize(_RETRIEVE_IN_PLACE, BUFFER_MS, data.encode(), _NEVER_EXIT))
        if self.rate <= 0:
            raise Unavailable(f"espeak-ng does not start with the data in {data}: install espeakng-loader anew")
        self._library.espeak_SetSynthCallback(self._callback)
        self._library.espeak_SetVoiceByName.argtypes = [ctypes.c_char_p]
        self._library.espeak_Synth.argtypes = [
            ctypes.c_char_p,
            ctypes.c_size_t,
            ctypes.c_uint,
            ctypes.c_int,
            ctypes.c_uint,
            ctypes.c_uint,
            ctypes.c_void_p,
            ctypes.c_void_p,
        ]

    def voice(self, name: str) -> bool:
        """Speak with this voice from now on. False: there is none of that name, and nothing has changed."""
        return bool(self._library.espeak_SetVoiceByName(name.encode()) == 0)

    def say(self, text: str, words_per_minute: int, sink: Callable[[bytes], bool]) -> None:
        """Give the audio of ``text`` to ``sink``, piece by piece, until that returns False.

        Raises:
            EngineError: the library would not.
        """
        low, high = WORDS_PER_MINUTE
        self._library.espeak_SetParameter(_RATE, max(low, min(high, words_per_minute)), 0)
        data = text.encode()
        self._sink = sink
        try:
            status = self._library.espeak_Synth(data, len(data) + 1, 0, _BY_CHARACTER, 0, _UTF8, None, None)
        finally:
            self._sink = _nowhere
        if status != 0:
            raise EngineError(f"espeak-ng refused a text with status {status}")

    def close(self) -> None:
        """Free what it holds."""
        self._library.espeak_Terminate()

    def _heard(self, samples: int | None, count: int, _: int | None) -> int:
        if not samples or count <= 0:
            return 0
        try:
            return 0 if self._sink(ctypes.string_at(samples, 2 * count)) else 1
        except Exception as error:  # nothing may be raised into the library
            log.warning("speech ended: nobody takes its audio", reason=type(error).__name__)
            return 1


def _nowhere(_: bytes) -> bool:
    return False
