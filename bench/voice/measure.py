"""Everything about speech in one run."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from bench.voice import accuracy, answering, batching, early, failover, load
from bench.voice.accuracy import Accuracy
from bench.voice.answering import Soon
from bench.voice.batching import Batching
from bench.voice.early import Sooner
from bench.voice.failover import Failover
from bench.voice.load import MOONSHINE, SCRIPTED, SPHINX, Level
from bench.voice.sound import SENTENCES, Clip, noisy, synthesised, tones
from parley_asr.engine import RATE

WORDS = 24
"""Tones of one utterance."""


@dataclass
class Voice:
    """The results. ``missing``: what could not be measured, and why."""

    accuracy: Accuracy | None = None
    levels: list[Level] = field(default_factory=list)
    failovers: list[Failover] = field(default_factory=list)
    batches: list[Batching] = field(default_factory=list)
    answers: list[Soon] = field(default_factory=list)
    early: list[Sooner] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)


async def speeches(count: int) -> list[Clip]:
    """Longer ones: three sentences each, with pauses of 300 ms."""
    parts = await synthesised()
    pause = bytes(2 * int(0.3 * RATE))
    made = []
    for number in range(count):
        three = [parts[(number + index * 3) % len(SENTENCES)] for index in range(3)]
        made.append(Clip("speech", " ".join(one.text for one in three), pause.join(one.pcm for one in three)))
    return made


async def run(folder: Path, amqp: str, quick: bool, say: Callable[[str], None]) -> Voice:
    """What one part cannot do keeps no other from being done."""
    found, speech = Voice(), await speeches(1 if quick else 4)
    tone = [tones(6 if quick else WORDS, number) for number in range(8)]

    async def accuracies() -> None:
        found.accuracy = await accuracy.measure(folder / "words", quick, say)

    async def batches() -> None:
        short = (await synthesised(SENTENCES[:1]))[0]
        said = [noisy(short, 30, seed) for seed in range(2 if quick else batching.STREAMS)]
        found.batches, absent = await batching.measure(folder / "models", said, say)
        found.missing |= absent

    async def streams() -> None:
        levels = {1: 1, 4: 1} if quick else {1: 3, 40: 1, 100: 1}
        found.levels += await load.ramp(folder / "tones", amqp, SCRIPTED, tone, levels, say)
        levels = {1: 1} if quick else {1: 2, 2: 1, 4: 1, 8: 1, 10: 1, 12: 1}
        found.levels += await load.ramp(folder / "moonshine", amqp, MOONSHINE, speech, levels, say)
        levels = {1: 1} if quick else {1: 2, 2: 1, 3: 1, 4: 1}
        found.levels += await load.ramp(folder / "speech", amqp, SPHINX, speech, levels, say)

    async def kills() -> None:
        count, long = (1 if quick else 5), tones(WORDS)
        found.failovers.append(await failover.measure(folder / "kill-tones", amqp, SCRIPTED, long, count, say))
        if not quick:
            for name, env, times in (("moonshine", MOONSHINE, 5), ("speech", SPHINX, 3)):
                one = await failover.measure(folder / f"kill-{name}", amqp, env, speech[0], times, say)
                found.failovers.append(one)

    async def answers() -> None:
        found.answers += await answering.measure(folder / "answers", amqp, 2 if quick else 10, say)

    async def sooner() -> None:
        found.early += await early.measure(folder / "early", amqp, 2 if quick else 10, say)

    parts = {
        "word error rate": accuracies,
        "batches": batches,
        "streams": streams,
        "failover": kills,
        "spoken answers": answers,
        "early retrieval": sooner,
    }
    for what, part in parts.items():
        try:
            await part()
        except Exception as error:
            found.missing[what] = f"{type(error).__name__}: {error}"
            say(f"voice: {what} could not be measured: {found.missing[what]}")
    return found
