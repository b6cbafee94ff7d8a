"""Moonshine's tiny English model, which comes within its package: no download, no key, any x86-64 Linux.

The model hears whole segments, as Whisper does (``windows``). The library's own cutting by pauses is turned off: it is
done before, and the library carries what it has heard from one call into the next, so that the same audio would not
always be heard as the same text.

Source: Jeffries et al., "Moonshine: Speech Recognition for Live Transcription and Voice Commands", 2024.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from parley_asr.batching import Batcher
from parley_asr.engine import RATE, Abilities, Hint, Outcome, Samples
from parley_asr.engines.inprocess import InProcess
from parley_asr.windows import Window, WindowRecognition
from parley_runtime.config import setting
from parley_runtime.errors import ConfigError, EngineError

NAME = "moonshine"
MODEL = "tiny-en"
SHORTEST = RATE // 2
"""Samples. Less than about a tenth of a second cannot be heard at all, and little more is taken for words."""
QUIET = 0.005
"""Root mean square (full scale: 1) of the loudest tenth of a second, below which nothing is said. The model would find
words in silence.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class MoonshineSettings:
    """How the model is used."""

    partial_ms: int = setting(
        "PARLEY_MOONSHINE_PARTIAL_MS",
        1000,
        "Audio between two partial results; in a long stretch without a pause a third of its length",
        unit="milliseconds",
        zero="no partial results",
        minimum=0,
    )


class Model:
    """The library's model. One call at a time. Raises ConfigError where it cannot be loaded."""

    def __init__(self) -> None:
        try:
            import moonshine_voice
        except (ImportError, OSError) as error:
            raise ConfigError(f"its library cannot be loaded ({error}): install moonshine-voice 0.0.73") from error
        folder = Path(moonshine_voice.__file__).parent / "assets" / MODEL
        if not (folder / "encoder_model.ort").exists():
            raise ConfigError(f"the package moonshine-voice here has no model in {folder}: install version 0.0.73")
        options = {"vad_threshold": "0.0", "identify_speakers": "false", "return_audio_data": "false"}
        try:
            self._loaded: Any = moonshine_voice.Transcriber(
                model_path=folder, model_arch=moonshine_voice.ModelArch.TINY, options=options
            )
        except Exception as error:  # the library has errors of its own, none of which is a common one's child
            raise ConfigError(f"its model cannot be loaded: {error}") from error

    def hear(self, windows: Sequence[Window]) -> list[Outcome]:
        """The outcomes of ``windows``, one after another."""
        return [self._one(window.audio) for window in windows]

    def _one(self, audio: Samples) -> Outcome:
        if _quiet(audio):
            return Outcome("")
        padded = np.pad(audio, (0, max(0, SHORTEST - audio.size)))
        try:
            heard = self._loaded.transcribe_without_streaming(padded.tolist(), RATE)
        except Exception as error:
            raise EngineError(f"Moonshine failed: {error}") from error
        return Outcome(" ".join(filter(None, (line.text.strip() for line in heard.lines))))

    def close(self) -> None:
        """Free the model. Idempotent."""
        self._loaded.close()


def _quiet(audio: Samples) -> bool:
    frame = RATE // 10
    whole = np.pad(audio, (0, -audio.size % frame)).reshape(-1, frame)
    return not whole.size or float(np.sqrt(np.mean(whole * whole, axis=1)).max()) < QUIET


class MoonshineTranscriber(InProcess):
    """See ``engine.Transcriber``."""

    name = NAME
    model = MODEL

    def __init__(self, settings: MoonshineSettings) -> None:
        self._loaded = Model()
        self.abilities = Abilities(languages=("en",), partials=bool(settings.partial_ms), words=False)
        self._line = Batcher(self._loaded.hear, most=1, wait_s=0.0, name=NAME)
        self._step = settings.partial_ms * RATE // 1000

    def open(self, hint: Hint) -> WindowRecognition:
        """See ``engine.Transcriber``."""
        return WindowRecognition(self._line, hint, self._step)

    def close(self) -> None:
        """See ``engine.Transcriber``."""
        self._line.close()
        self._loaded.close()
