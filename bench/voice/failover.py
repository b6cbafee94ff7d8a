"""A process that listens is killed with SIGKILL in mid-sentence, beside another one that can take over.

The same sentence is said undisturbed first. A *new word* is one more than any hypothesis before has had. *Gap*: the
longest wait for one that ends after the kill, so the wait in which the kill falls counts from the new word before it;
people pause and engines take words together, so the longest wait of the undisturbed run stands beside it. *Later*: how
much later than in the undisturbed run a word was known, of those that came after the kill.
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
    undisturbed: Said
    gaps: list[float] = field(default_factory=list)
    laters: list[float] = field(default_factory=list)
    finals: list[float] = field(default_factory=list)
    same: int = 0

    @property
    def kills(self) -> int:
        return len(self.gaps)

    @property
    def usual_s(self) -> float:
        """The longest wait for a new word in the undisturbed run."""
        return gap(self.undisturbed, 0.0)

    @property
    def usual_final_s(self) -> float:
        return self.undisturbed.final - self.undisturbed.stopped

    @property
    def worst_s(self) -> float:
        return max(self.gaps)

    @property
    def latest_s(self) -> float:
        return max(self.laters)

    @property
    def p50_s(self) -> float:
        return quantile(self.gaps, 0.5)


def news(said: Said) -> list[tuple[float, int]]:
    """(when, how many words were known then), for each time at which there were more than before."""
    found = [(said.began, 0)]
    for when, text in said.updates:
        if (count := len(text.split())) > found[-1][1]:
            found.append((when, count))
    return found


def gap(said: Said, since: float) -> float:
    """Seconds of the longest wait for a new word that ended after ``since``; the last word ends the last one."""
    at = [when for when, _ in news(said)]
    at.append(max(said.final, at[-1]))
    return max((b - a for a, b in itertools.pairwise(at) if b > since), default=0.0)


def later(said: Said, than: Said, since: float) -> float:
    """Seconds by which a word known after ``since`` came later than in the other run, at most."""
    worst, undisturbed = 0.0, news(than)
    for when, count in news(said):
        if when > since:
            usual = next((at for at, known in undisturbed if known >= count), than.final) - than.began
            worst = max(worst, when - said.began - usual)
    return worst


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
    found.gaps.append(gap(said, killed))
    found.laters.append(later(said, found.undisturbed, killed))
    found.finals.append(said.final - said.stopped)
    found.same += said.text == found.undisturbed.text
    await running.again(member)


async def measure(
    folder: Path, amqp: str, env: Mapping[str, str], clip: Clip, kills: int, say: Callable[[str], None]
) -> Failover:
    """Two processes; each kill is followed by a new start of the one that was killed."""
    async with parley(folder, amqp, env, asrs=2) as system:
        assert system.house is not None
        speaker = await Speaker.open(system.port, native=True)
        found = Failover(env["PARLEY_ASR_ENGINE"], await speaker.say(clip))
        for number in range(kills):
            say(f"voice: kill {number + 1} of {kills} of {found.engine} in mid-sentence")
            await _killed(system.house, speaker, clip, found)
        speaker.close()
    return found
