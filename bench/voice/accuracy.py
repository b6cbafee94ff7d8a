"""Word error rate and work of each engine that can be opened here, on the same clips; with a knowledge base's words
and without. The engines are the listening stage's own, behind its own interface; nothing is between them and the audio.
"""

import asyncio
import os
import re
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from bench.stack import ROOT
from bench.voice import errors
from bench.voice.sound import SENTENCES, VOICES, Clip, noisy, recorded, synthesised
from parley_asr.engine import RATE, Base, Hint, Transcriber
from parley_asr.engines import scripted
from parley_asr.registry import ENGINES, EngineSettings
from parley_runtime import config
from parley_runtime.errors import ParleyError

BASE = Base("bench", "voice")
SNR_DB = 10.0


@dataclass
class Heard:
    """One engine on one set of clips. ``factor``: CPU seconds of work per second of audio."""

    engine: str
    model: str
    clips: str
    words: bool
    """With the words of the knowledge base."""
    count: int
    seconds: float
    wer: float
    factor: float


@dataclass
class Accuracy:
    """``absent``: engines that cannot be used here, and why. ``recordings``: where recorded speech is from."""

    rows: list[Heard]
    absent: dict[str, str]
    recordings: str


async def clips(quick: bool) -> tuple[dict[str, list[Clip]], str]:
    """By what they are called in the table."""
    said, where = await recorded()
    if quick:
        return {"synthesised": await synthesised(SENTENCES[:2])} | ({"recorded": said[:2]} if said else {}), where
    plain = await synthesised(SENTENCES, VOICES[::2])
    sets = {
        "synthesised, 2 voices": plain,
        f"with noise, {SNR_DB:g} dB": [noisy(each, SNR_DB, seed) for seed, each in enumerate(plain[: len(SENTENCES)])],
        "slower, x0.75": await synthesised(SENTENCES, VOICES[:1], 0.75),
        "faster, x1.3": await synthesised(SENTENCES, VOICES[:1], 1.3),
    }
    return sets | ({"recorded": said} if said else {}), where


def passages() -> list[str]:
    """A knowledge base about what is asked: the project's documents, in paragraphs of prose."""
    texts = [(ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "ARCHITECTURE.md")]
    parts = [part for text in texts for part in re.split(r"\n\s*\n", text)]
    return [part for part in parts if not part.lstrip().startswith(("|", "`", "#", "```"))]


def decode(engine: Transcriber, one: Clip, hint: Hint) -> str:
    """What it hears, in pieces of 100 ms. Blocks."""
    samples = one.samples
    recognition = engine.open(hint)
    try:
        for start in range(0, samples.size, RATE // 10):
            recognition.feed(samples[start : start + RATE // 10])
        return recognition.finish().text
    finally:
        recognition.close()


def hear(engine: Transcriber, name: str, said: Sequence[Clip], hint: Hint, threads: int) -> Heard:
    """One row. Blocks."""
    before = engine.spent_s()
    with ThreadPoolExecutor(threads) as pool:
        texts = list(pool.map(lambda one: decode(engine, one, hint), said))
    seconds = sum(one.seconds for one in said)
    wer = errors.rate([(one.text, text) for one, text in zip(said, texts, strict=True)])
    spent = (engine.spent_s() - before) / seconds
    return Heard(engine.name, engine.model, name, hint.base is not None, len(said), seconds, wer, spent)


def _engine(name: str, sets: dict[str, list[Clip]], folder: Path, found: Accuracy, say: Callable[[str], None]) -> None:
    cores = os.cpu_count() or 1
    own = {"PARLEY_POCKETSPHINX_PROCESSES": str(cores), "PARLEY_ASR_VOCABULARIES": str(folder)}
    environ = {**os.environ, **own}
    opened = ENGINES[name].open(config.read(EngineSettings, environ))
    engine = opened.engine
    try:
        began = time.perf_counter()
        engine.prepare(BASE, "1", passages())
        say(f"voice: {name} knows a knowledge base's words after {time.perf_counter() - began:.1f} s")
        hints = (Hint(), Hint(base=BASE))
        found.rows += [hear(engine, kind, said, hint, cores) for kind, said in sets.items() for hint in hints]
    finally:
        engine.close()


async def measure(folder: Path, quick: bool, say: Callable[[str], None]) -> Accuracy:
    """Every engine but the scripted one, which hears tones only. ``folder``: for what is made of a base."""
    sets, where = await clips(quick)
    found = Accuracy([], {}, where)
    for name in ENGINES:
        if name == scripted.NAME:
            continue
        say(f"voice: word error rate of {name}")
        try:
            await asyncio.to_thread(_engine, name, sets, folder, found, say)
        except (ParleyError, ImportError) as error:
            found.absent[name] = str(error)
    return found
