"""A process that listens is killed with SIGKILL in mid-sentence, beside another one that can take over.

The same sentence is said undisturbed first. *Gap*: from the kill to the end of the longest time without a new word
that follows, since what was under way may still arrive; that time in the undisturbed run stands beside it.
"""

import asyncio
import itertools
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench.house import House, Member
from bench.recovery import until
from bench.stack import quantile
from bench.voice.load import parley
from bench.voice.sound import Clip
from bench.voice.speaker import Said, Speaker

BAR_S = 2.0
BUSY = 'parley_seats_busy{stage="listen"}'


@dataclass
class Failover:
    """Seconds, one of each for a kill. ``same``: transcripts that equal the undisturbed one's, word for word."""

    engine: str
    undisturbed: str
    usual_s: float
    usual_final_s: float
    gaps: list[float] = field(default_factory=list)
    finals: list[float] = field(default_factory=list)
    same: int = 0

    @property
    def kills(self) -> int:
        return len(self.gaps)

    @property
    def worst_s(self) -> float:
        return max(self.gaps)

    @property
    def p50_s(self) -> float:
        return quantile(self.gaps, 0.5)


def longest(said: Said, since: float) -> float:
    """Seconds from ``since`` to the end of the longest silence that began then or later, by its updates."""
    at = [since, *(when for when, _ in said.updates if when > since)]
    if len(at) < 2:
        return said.final - since
    ends = max(range(1, len(at)), key=lambda index: at[index] - at[index - 1])
    return at[ends] - since


def usual(said: Said) -> float:
    """The longest time between two updates."""
    at = [when for when, _ in said.updates]
    return max((b - a for a, b in itertools.pairwise(at)), default=0.0)


async def _holder(running: House) -> Member:
    for member in running.of("asr"):
        if await member.metric(BUSY):
            return member
    raise RuntimeError("no process listens to the stream: it was over before the kill")


async def _killed(running: House, speaker: Speaker, clip: Clip, found: Failover) -> None:
    said = speaker.begin(clip)
    talking = asyncio.create_task(speaker.pace(said))
    at = said.began + clip.seconds * random.uniform(0.35, 0.65)
    await until(lambda: said.updates, "a first word")
    member = await _holder(running)
    await asyncio.sleep(max(0.0, at - time.perf_counter()))
    killed = await running.kill(member)
    await talking
    await speaker.over(said)
    found.gaps.append(longest(said, killed))
    found.finals.append(said.final - said.stopped)
    found.same += said.text == found.undisturbed
    await running.again(member)


async def measure(
    folder: Path, amqp: str, env: Mapping[str, str], clip: Clip, kills: int, say: Callable[[str], None]
) -> Failover:
    """Two processes; each kill is followed by a new start of the one that was killed."""
    async with parley(folder, amqp, env, asrs=2) as system:
        assert system.house is not None
        speaker = await Speaker.open(system.port, native=True)
        first = await speaker.say(clip)
        found = Failover(env["PARLEY_ASR_ENGINE"], first.text, usual(first), first.final - first.stopped)
        for number in range(kills):
            say(f"voice: kill {number + 1} of {kills} of {found.engine} in mid-sentence")
            await _killed(system.house, speaker, clip, found)
        speaker.close()
    return found
