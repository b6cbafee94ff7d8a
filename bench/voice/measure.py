"""Everything about speech in one run."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from bench.voice import accuracy, failover, load
from bench.voice.accuracy import Accuracy
from bench.voice.failover import Failover
from bench.voice.load import SCRIPTED, SPHINX, Level
from bench.voice.sound import SENTENCES, Clip, synthesised, tones
from parley_asr.engine import RATE

WORDS = 24
"""Tones of one utterance."""


@dataclass
class Voice:
    """The results. ``missing``: what could not be measured, and why."""

    accuracy: Accuracy | None = None
    levels: list[Level] = field(default_factory=list)
    failovers: list[Failover] = field(default_factory=list)
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
    found = Voice()
    tone = [tones(6 if quick else WORDS, number) for number in range(8)]
    speech = await speeches(1 if quick else 4)
    try:
        found.accuracy = await accuracy.measure(quick, say)
    except Exception as error:
        _missed(found, "word error rate", error, say)
    try:
        steps: tuple[int, ...]
        steps, rounds = ((1, 4), 1) if quick else ((1, 40, 120), 2)
        found.levels += await load.ramp(folder / "tones", amqp, SCRIPTED, tone, steps, rounds, say)
        steps, rounds = ((1,), 1) if quick else ((1, 2, 3, 4), 1)
        found.levels += await load.ramp(folder / "speech", amqp, SPHINX, speech, steps, rounds, say)
    except Exception as error:
        _missed(found, "streams", error, say)
    try:
        kills = 1 if quick else 6
        long = tones(WORDS)
        found.failovers.append(await failover.measure(folder / "kill-tones", amqp, SCRIPTED, long, kills, say))
        if not quick:
            clip = speech[0]
            found.failovers.append(await failover.measure(folder / "kill-speech", amqp, SPHINX, clip, kills, say))
    except Exception as error:
        _missed(found, "failover", error, say)
    return found


def _missed(found: Voice, what: str, error: Exception, say: Callable[[str], None]) -> None:
    found.missing[what] = f"{type(error).__name__}: {error}"
    say(f"voice: {what} could not be measured: {found.missing[what]}")
