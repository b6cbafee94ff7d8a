"""sherpa-onnx's streaming recognisers: models that hear as one speaks, and decode the streams of all sessions together.

A folder holds the model as its publishers ship it: ``tokens.txt`` with encoder, decoder and joiner (transducer), with
encoder and decoder (paraformer), or with one model (CTC).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from parley_asr.batching import Batcher
from parley_asr.engine import RATE, Abilities, Hint, Hypothesis, Outcome, Said, Samples
from parley_asr.engines.inprocess import InProcess
from parley_runtime.config import setting
from parley_runtime.errors import ConfigError

NAME = "sherpa"
TAIL_S = 0.66
"""Silence after the segment, so that the model gives what it still holds back."""
LAST_WORD_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class SherpaSettings:
    """Which model, and how streams share it."""

    model: str = setting("PARLEY_SHERPA_MODEL", "", "Folder of a streaming sherpa-onnx model; empty: none")
    provider: str = setting("PARLEY_SHERPA_PROVIDER", "cpu", "cpu or cuda")
    threads: int = setting(
        "PARLEY_SHERPA_THREADS", 2, "Cores that one batch is decoded on", unit="cores", minimum=1, maximum=64
    )
    batch: int = setting(
        "PARLEY_SHERPA_BATCH", 16, "Streams that are decoded together", unit="streams", minimum=1, maximum=256
    )
    wait_ms: float = setting(
        "PARLEY_SHERPA_WAIT_MS", 5.0, "How long a stream waits for company", unit="milliseconds", minimum=0
    )


def load(settings: SherpaSettings) -> Any:
    """The recogniser of the folder. Raises ConfigError."""
    if not settings.model:
        raise ConfigError("PARLEY_SHERPA_MODEL names no folder")
    try:
        import sherpa_onnx
    except ImportError as error:
        raise ConfigError(f"its library is not installed ({error}): install parley-asr[sherpa]") from error
    folder = Path(settings.model)
    parts = {part: _file(folder, part) for part in ("encoder", "decoder", "joiner", "model")}
    tokens = folder / "tokens.txt"
    if not tokens.is_file():
        raise ConfigError(f"{folder} holds no tokens.txt")
    common: dict[str, Any] = {
        "tokens": str(tokens),
        "num_threads": settings.threads,
        "provider": settings.provider,
        "sample_rate": RATE,
    }
    try:
        if parts["encoder"] and parts["decoder"] and parts["joiner"]:
            paths = {part: parts[part] for part in ("encoder", "decoder", "joiner")}
            return sherpa_onnx.OnlineRecognizer.from_transducer(**paths, **common)
        if parts["encoder"] and parts["decoder"]:
            return sherpa_onnx.OnlineRecognizer.from_paraformer(
                encoder=parts["encoder"], decoder=parts["decoder"], **common
            )
        if parts["model"]:
            return sherpa_onnx.OnlineRecognizer.from_zipformer2_ctc(model=parts["model"], **common)
    except (RuntimeError, ValueError) as error:
        raise ConfigError(f"the model in {folder} cannot be loaded: {error}") from error
    raise ConfigError(f"{folder} holds neither encoder, decoder and joiner, nor encoder and decoder, nor model (.onnx)")


def _file(folder: Path, part: str) -> str:
    """The file of a part: a name that begins so or ends so; eight-bit weights where there are some."""
    found = sorted(path for path in folder.glob("*.onnx") if part in path.name)
    small = [path for path in found if ".int8." in path.name]
    return str((small or found)[0]) if found else ""


class SherpaRecognition:
    """See ``engine.Recognition``. What a greedy search has said it never takes back."""

    def __init__(self, recogniser: Any, batcher: Batcher[Any, str]) -> None:
        self._recogniser = recogniser
        self._batcher = batcher
        self._stream = recogniser.create_stream()
        self._text = ""
        self._closed = False
        batcher.enter()

    def feed(self, samples: Samples) -> None:
        """See ``engine.Recognition``."""
        self._stream.accept_waveform(RATE, samples)
        if self._recogniser.is_ready(self._stream):
            self._text = self._batcher.ask(self._stream)

    def partial(self) -> Hypothesis:
        """See ``engine.Recognition``."""
        return Hypothesis(self._text, len(self._text))

    def finish(self) -> Outcome:
        """See ``engine.Recognition``."""
        self._stream.accept_waveform(RATE, np.zeros(int(TAIL_S * RATE), np.float32))
        self._stream.input_finished()
        text = self._batcher.ask(self._stream)
        tokens = self._recogniser.tokens(self._stream)
        return Outcome(text, words(tokens, self._recogniser.timestamps(self._stream)))

    def close(self) -> None:
        """See ``engine.Recognition``."""
        if not self._closed:
            self._closed = True
            self._batcher.leave()


def words(tokens: Sequence[str], times: Sequence[float]) -> tuple[Said, ...]:
    """Tokens as words: one that begins with a space or its sign begins a word; others go on with it."""
    found: list[tuple[str, float]] = []
    for token, at in zip(tokens, times, strict=False):
        begins = token[:1] in (" ", "▁") or not token.isascii()
        bare = token.lstrip(" ▁")
        if begins or not found:
            found.append((bare, at))
        else:
            found[-1] = (found[-1][0] + bare, found[-1][1])
    ends = [at for _, at in found[1:]] + [found[-1][1] + LAST_WORD_S if found else 0.0]
    return tuple(Said(text, at, end) for (text, at), end in zip(found, ends, strict=False) if text)


class SherpaTranscriber(InProcess):
    """See ``engine.Transcriber``."""

    name = NAME

    def __init__(self, settings: SherpaSettings) -> None:
        self._recogniser = load(settings)
        self.model = Path(settings.model).name
        self.abilities = Abilities(batch=settings.batch)
        self.batcher = Batcher(self._decode, most=settings.batch, wait_s=settings.wait_ms / 1000, name=NAME)

    def open(self, _: Hint) -> SherpaRecognition:
        """See ``engine.Transcriber``."""
        return SherpaRecognition(self._recogniser, self.batcher)

    def close(self) -> None:
        """See ``engine.Transcriber``."""
        self.batcher.close()

    def _decode(self, streams: Sequence[Any]) -> list[str]:
        while ready := [stream for stream in streams if self._recogniser.is_ready(stream)]:
            self._recogniser.decode_streams(ready)
        return [self._recogniser.get_result(stream).strip() for stream in streams]
