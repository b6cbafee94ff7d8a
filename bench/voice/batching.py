"""Models that hear several streams in one call: with batches and without, in turn, on the same audio.

Engines' models are as small as they load them, of random weights: their text is nonsense, the same each time. What is
compared is the text of each stream, which batches must not change, and the time in which all streams are decoded. Of
voice activity, which is the real model, it is where speech begins and ends.
"""

import asyncio
import importlib.util
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.stack import ROOT
from bench.voice.accuracy import decode
from bench.voice.sound import Clip
from parley_asr.cues import Add, Cue
from parley_asr.cutter import Cutter
from parley_asr.engine import RATE, Hint
from parley_asr.hark import Piece, hark
from parley_asr.intake import open_intake
from parley_asr.registry import ENGINES, EngineSettings
from parley_asr.silero import BATCH, SileroModel
from parley_protocol.audio import Hearing
from parley_runtime import config
from parley_runtime.errors import ParleyError

STREAMS = 8
ROUNDS = 2
BATCHES = {"sherpa": 16, "whisper": 8}
"""The most that a batch holds, as shipped."""
ACTIVITY = "voice activity"
LISTENED = 32
"""Streams whose voice activity is told."""
PIECE = RATE * 2 * 60 // 1000
"""What comes of each of them at a time: 60 ms."""


@dataclass
class Batching:
    """``alone_s``, ``together_s``: seconds until all streams are decoded, the better of :data:`ROUNDS`."""

    engine: str
    most: int
    streams: int
    audio_s: float
    alone_s: float
    together_s: float
    same: int
    """Streams of which the same is heard either way."""


def _models() -> Any:
    """The tiny models are the tests' own."""
    spec = importlib.util.spec_from_file_location("bench_tiny", ROOT / "services" / "asr" / "tests" / "tiny.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def decode_all(name: str, said: Sequence[Clip], model: Path, most: int) -> tuple[list[str], float]:
    """The texts, and how long all of them took at once. Blocks."""
    own = {f"PARLEY_{name.upper()}_MODEL": str(model), f"PARLEY_{name.upper()}_BATCH": str(most)}
    own["PARLEY_WHISPER_PARTIAL_MS"] = "0"  # its last words alone: what it hears on the way is the same work again
    engine = ENGINES[name].open(config.read(EngineSettings, {**os.environ, **own})).engine
    try:
        decode(engine, said[0], Hint())  # whatever the first run loads is not counted
        began = time.perf_counter()
        with ThreadPoolExecutor(len(said)) as pool:
            texts = list(pool.map(lambda one: decode(engine, one, Hint()), said))
        return texts, time.perf_counter() - began
    finally:
        engine.close()


def compare(name: str, said: Sequence[Clip], folder: Path) -> Batching:
    """Without and with, in turn. Raises ParleyError or ImportError where the engine is not to be had. Blocks."""
    model = getattr(_models(), name)(folder / name)
    took: dict[int, list[float]] = {1: [], BATCHES[name]: []}
    texts: dict[int, list[str]] = {}
    for _ in range(ROUNDS):
        for most, times in took.items():
            texts[most], seconds = decode_all(name, said, model, most)
            times.append(seconds)
    alone, together = took.values()
    same = sum(one == other for one, other in zip(texts[1], texts[BATCHES[name]], strict=True))
    audio_s = sum(one.seconds for one in said)
    return Batching(name, BATCHES[name], len(said), audio_s, min(alone), min(together), same)


def cut_all(said: Sequence[Clip], most: int) -> tuple[list[list[Cue]], float]:
    """Where speech is in each of the streams, and the CPU time that finding it took. Blocks."""
    model = SileroModel(most)
    cutters = [Cutter(Hearing(by_silence=True), 0, 0, vad=model.stream, intake=open_intake) for _ in said]
    found: list[list[Cue]] = [[] for _ in said]
    began = time.process_time()
    for at in range(0, max(len(one.pcm) for one in said), PIECE):
        pieces = [Piece(cutter.cut(one.pcm[at : at + PIECE])) for cutter, one in zip(cutters, said, strict=True)]
        hark(model, pieces)
        for cues, piece in zip(found, pieces, strict=True):
            cues += [cue for cue in piece.cues if not isinstance(cue, Add)]
    return found, time.process_time() - began


def compare_activity(said: Sequence[Clip]) -> Batching:
    """As :func:`compare`, of voice activity. Raises ParleyError or ImportError where it is not to be had. Blocks."""
    streams = [said[number % len(said)] for number in range(LISTENED)]
    took: dict[int, list[float]] = {1: [], BATCH: []}
    cues: dict[int, list[list[Cue]]] = {}
    for _ in range(ROUNDS):
        for most, times in took.items():
            cues[most], seconds = cut_all(streams, most)
            times.append(seconds)
    alone, together = took.values()
    same = sum(one == other for one, other in zip(cues[1], cues[BATCH], strict=True))
    return Batching(ACTIVITY, BATCH, LISTENED, sum(one.seconds for one in streams), min(alone), min(together), same)


async def measure(
    folder: Path, said: Sequence[Clip], say: Callable[[str], None]
) -> tuple[list[Batching], dict[str, str]]:
    """Each model that batches; and why others could not be."""
    found, absent = list[Batching](), dict[str, str]()
    for name in BATCHES:
        say(f"voice: {len(said)} streams of {name} with batches and without")
        try:
            found.append(await asyncio.to_thread(compare, name, said, folder))
        except (ParleyError, ImportError) as error:
            absent[f"batching of {name}"] = str(error)
    say(f"voice: {LISTENED} streams of {ACTIVITY} with batches and without")
    try:
        found.append(await asyncio.to_thread(compare_activity, said))
    except (ParleyError, ImportError) as error:
        absent[f"batching of {ACTIVITY}"] = str(error)
    return found, absent
