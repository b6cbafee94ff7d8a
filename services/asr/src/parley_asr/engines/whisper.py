"""Whisper on CTranslate2, with faster-whisper's model handling: many languages, on a GPU or on a strong CPU.

The model hears whole segments. Partial results hear the segment so far anew, at fixed places of its audio, and are
certain where two in a row agree; segments of all streams share the model's batches (``windows``).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from parley_asr.batching import Batcher
from parley_asr.engine import RATE, Abilities, Hint, Outcome, Said, Samples
from parley_asr.engines.inprocess import InProcess
from parley_asr.windows import Window, WindowRecognition
from parley_runtime.config import setting
from parley_runtime.errors import ConfigError, EngineError

NAME = "whisper"
FRAMES = 3000
"""Of a window's features."""
MOST_PROMPT = 200
"""Tokens of a prompt."""
HALLUCINATED = (0.6, -1.0)
"""A window that is no speech with more than this probability, and whose text is less likely than this, says nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WhisperSettings:
    """Which model, and how it is used."""

    model: str = setting(
        "PARLEY_WHISPER_MODEL", "", "Folder of a CTranslate2 Whisper model, or its name on Hugging Face; empty: none"
    )
    local: bool = setting("PARLEY_WHISPER_LOCAL", True, "Use what is on this machine, and download nothing")
    device: str = setting("PARLEY_WHISPER_DEVICE", "auto", "cpu, cuda, or the best there is: auto")
    compute: str = setting("PARLEY_WHISPER_COMPUTE", "default", "Type of the numbers, such as int8 or float16")
    threads: int = setting(
        "PARLEY_WHISPER_THREADS",
        0,
        "Cores that one batch is heard on",
        unit="cores",
        zero="the library's own choice",
        minimum=0,
        maximum=256,
    )
    beam: int = setting("PARLEY_WHISPER_BEAM", 1, "Hypotheses that are followed", minimum=1, maximum=20)
    batch: int = setting(
        "PARLEY_WHISPER_BATCH", 8, "Segments that are heard in one batch", unit="segments", minimum=1, maximum=64
    )
    wait_ms: float = setting(
        "PARLEY_WHISPER_WAIT_MS", 15.0, "How long a segment waits for company", unit="milliseconds", minimum=0
    )
    partial_ms: int = setting(
        "PARLEY_WHISPER_PARTIAL_MS",
        1000,
        "Audio between two partial results; in a long stretch without a pause a third of its length",
        unit="milliseconds",
        zero="no partial results",
        minimum=0,
    )


class Model:
    """faster-whisper's model, used in batches. Raises ConfigError where it cannot be loaded."""

    def __init__(self, settings: WhisperSettings) -> None:
        if not settings.model:
            raise ConfigError("PARLEY_WHISPER_MODEL names no model")
        try:
            import faster_whisper
            from faster_whisper import audio, tokenizer, transcribe
        except ImportError as error:
            raise ConfigError(f"its libraries are not installed ({error}): install parley-asr[whisper]") from error
        self._audio: Any = audio
        self._storage: Any = transcribe.get_ctranslate2_storage
        self._tokenizers: Any = tokenizer
        self._beam = settings.beam
        try:
            self._model: Any = faster_whisper.WhisperModel(
                settings.model,
                device=settings.device,
                compute_type=settings.compute,
                cpu_threads=settings.threads,
                local_files_only=settings.local,
            )
        except (OSError, RuntimeError, ValueError) as error:
            raise ConfigError(f"the model {settings.model!r} cannot be loaded: {error}") from error
        self.languages: tuple[str, ...] = tokenizer._LANGUAGE_CODES if self._model.model.is_multilingual else ("en",)
        self._known: dict[str, Any] = {}

    def hear(self, windows: Sequence[Window]) -> list[Outcome]:
        """The outcomes of ``windows``. Those that are asked for alike share a batch."""
        features = [self._features(window.audio) for window in windows]
        groups: dict[tuple[str, str], list[int]] = {}
        try:
            for index, window in enumerate(windows):
                language = self._language(window, features[index])
                groups.setdefault((language, window.prompt), []).append(index)
            outcomes: dict[int, Outcome] = {}
            for (language, prompt), members in groups.items():
                encoded = self._encode([features[index] for index in members])
                of = [windows[index] for index in members]
                found = self._group(of, encoded, self._tokenizer(language), prompt)
                outcomes.update(zip(members, found, strict=True))
        except RuntimeError as error:
            raise EngineError(f"Whisper failed: {error}") from error
        return [outcomes[index] for index in range(len(windows))]

    def _group(self, windows: Sequence[Window], encoded: Any, words: Any, prompt: str) -> list[Outcome]:
        start: list[int] = []
        if prompt:
            start = [words.sot_prev, *words.encode(" " + prompt.strip())[-MOST_PROMPT:]]
        start += [*words.sot_sequence, words.no_timestamps]
        said = [
            [token for token in tokens if token < words.eot]
            for tokens in self._generate(encoded, [start] * len(windows))
        ]
        placed: list[tuple[Said, ...]] = [()] * len(windows)
        if all(said) and any(window.words for window in windows):
            placed = self._place(windows, encoded, words, said)
        else:
            for index, window in enumerate(windows):
                if window.words and said[index]:
                    alone = self._encode([self._features(window.audio)])
                    placed[index] = self._place([window], alone, words, [said[index]])[0]
        return [Outcome(words.decode(tokens), at) for tokens, at in zip(said, placed, strict=True)]

    def _place(
        self, windows: Sequence[Window], encoded: Any, words: Any, said: list[list[int]]
    ) -> list[tuple[Said, ...]]:
        frames = [max(2, window.audio.size * 100 // RATE) for window in windows]
        return [
            tuple(
                Said(one["word"].strip(), float(one["start"]), float(one["end"]), float(one["probability"]))
                for one in found
                if one["word"].strip()
            )
            for found in self._model.find_alignment(words, said, encoded, frames)
        ]

    def _encode(self, features: list[Any]) -> Any:
        return self._model.model.encode(self._storage(np.stack(features)))

    def _language(self, window: Window, features: Any) -> str:
        if not self._model.model.is_multilingual:
            return "en"
        if window.language:
            return window.language.split("-")[0].lower()
        (ranked,) = self._model.model.detect_language(self._storage(features[np.newaxis]))
        return str(ranked[0][0]).strip("<|>")

    def _features(self, audio: Samples) -> Any:
        return np.ascontiguousarray(self._audio.pad_or_trim(self._model.feature_extractor(audio), FRAMES), np.float32)

    def _tokenizer(self, language: str) -> Any:
        if language not in self._known:
            self._known[language] = self._tokenizers.Tokenizer(
                self._model.hf_tokenizer,
                self._model.model.is_multilingual,
                task="transcribe",
                language=language,
            )
        return self._known[language]

    def _generate(self, features: Any, prompts: list[list[int]]) -> list[list[int]]:
        results = self._model.model.generate(
            features,
            prompts,
            beam_size=self._beam,
            max_length=self._model.max_length,
            return_scores=True,
            return_no_speech_prob=True,
        )
        silent, unlikely = HALLUCINATED
        return [
            [] if one.no_speech_prob > silent and one.scores[0] < unlikely else list(one.sequences_ids[0])
            for one in results
        ]


class WhisperTranscriber(InProcess):
    """See ``engine.Transcriber``."""

    name = NAME

    def __init__(self, settings: WhisperSettings) -> None:
        loaded = Model(settings)
        self.model = settings.model.rstrip("/").rsplit("/", 1)[-1]
        self.abilities = Abilities(languages=loaded.languages, partials=bool(settings.partial_ms), batch=settings.batch)
        self.batcher = Batcher(loaded.hear, most=settings.batch, wait_s=settings.wait_ms / 1000, name=NAME)
        self._step = settings.partial_ms * RATE // 1000

    def open(self, hint: Hint) -> WindowRecognition:
        """See ``engine.Transcriber``."""
        return WindowRecognition(self.batcher, hint, self._step)

    def close(self) -> None:
        """See ``engine.Transcriber``."""
        self.batcher.close()
