"""N people speaking at once, to Parley and to a plain server over the same engine, in turn on the same machine."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from bench.house import House, Plan, house
from bench.stack import Started, broker_pid, cpu_s, free_port, quantile, stack
from bench.voice.sound import Clip
from bench.voice.speaker import Said, Speaker
from parley_asr.engines.scripted import GAP_S, WORD_S

HOLDS_MS = 500.0
"""A level at which the last word comes later than this (p95) is more than the machine can hear in time."""
FINAL_MS = 300.0
"""What the last word may take after the stop (p95) with one stream."""
SCRIPTED = {"PARLEY_ASR_ENGINE": "scripted", "PARLEY_ASR_VAD": "energy", "PARLEY_ASR_SEATS": "1000"}
SPHINX = {"PARLEY_ASR_ENGINE": "pocketsphinx", "PARLEY_ASR_SEATS": "16", "PARLEY_POCKETSPHINX_DECODERS": "16"}
MOONSHINE = {"PARLEY_ASR_ENGINE": "moonshine", "PARLEY_ASR_SEATS": "16"}
LISTEN_WAIT = 'parley_job_wait_seconds_{}{{stage="listen"}}'


def spent(pids: Sequence[int]) -> float:
    """CPU seconds of processes and of their children."""
    total = 0.0
    for pid in pids:
        family = [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
        total += sum(cpu_s(each) for each in family)
    return total


@dataclass
class System:
    """Something that hears. ``pids``: by what they are called in the table."""

    name: str
    port: int
    native: bool
    pids: Mapping[str, Sequence[int]]
    house: House | None = None

    def cpu(self) -> dict[str, float]:
        return {role: spent(pids) for role, pids in self.pids.items()}

    async def waits(self) -> tuple[float, float]:
        """Seconds in the queue of leases, and leases, so far."""
        if self.house is None:
            return 0.0, 0.0
        found = [0.0, 0.0]
        for member in self.house.of("asr"):
            for index, part in enumerate(("sum", "count")):
                found[index] += await member.metric(LISTEN_WAIT.format(part))
        return found[0], found[1]


@dataclass
class Level:
    """``streams`` speakers at once; times in milliseconds. ``cpu_ms``: per second of audio, by process."""

    system: str
    engine: str
    streams: int
    said: int
    first: tuple[float, float]
    final: tuple[float, float]
    accepted: tuple[float, float]
    lag: tuple[float, float]
    wait: float
    """Mean, in the queue of leases."""
    cpu_ms: dict[str, float]
    factor: float
    """CPU seconds of all its processes per second of audio."""
    wrong: int
    """Transcripts that differ from what was heard of the same clip when it was said alone, or first."""
    late: float
    """The client's own, p95."""
    refused: str = ""

    @property
    def holds(self) -> bool:
        """Whether the last word came in time."""
        return not self.refused and self.final[1] <= HOLDS_MS


@dataclass
class Texts:
    """What each clip has been heard as. A clip of tones is what it says; of speech, the first hearing counts."""

    engine: str
    known: dict[tuple[str, str], str] = field(default_factory=dict)

    def wrong(self, system: str, said: Said) -> bool:
        if self.engine == "scripted":
            return said.text != said.clip.text
        return self.known.setdefault((system, said.clip.text), said.text) != said.text


def both(values: Sequence[float]) -> tuple[float, float]:
    """Median and p95; NaN where there are none."""
    return (quantile(values, 0.5), quantile(values, 0.95)) if values else (float("nan"), float("nan"))


async def level(system: System, clips: Sequence[Clip], streams: int, rounds: int, texts: Texts) -> Level:
    """Everybody says ``rounds`` clips, one after the other."""
    speakers = [await Speaker.open(system.port, native=system.native) for _ in range(streams)]
    wait_s, leases = await system.waits()
    before, said, refused = system.cpu(), list[Said](), ""

    async def talk(number: int, speaker: Speaker) -> None:
        await asyncio.sleep(0.7 * number / streams)  # not all in the same instant
        for turn in range(rounds):
            said.append(await speaker.say(clips[(number + turn) % len(clips)]))

    try:
        await asyncio.gather(*(talk(number, speaker) for number, speaker in enumerate(speakers)))
    except (RuntimeError, TimeoutError) as error:
        refused = str(error) or "not heard in time"
    finally:
        for speaker in speakers:
            speaker.close()
    audio_s = sum(one.clip.seconds for one in said) or float("nan")
    cost = {role: (value - before[role]) / audio_s for role, value in system.cpu().items()}
    after_s, after = await system.waits()
    scripted = texts.engine == "scripted"
    return Level(
        system.name,
        texts.engine,
        streams,
        len(said),
        both([one.first_update_ms for one in said if one.first]),
        both([one.final_after_stop_ms for one in said]),
        both([one.accepted_after_stop_ms for one in said if one.accepted]),
        both([lag for one in said for lag in one.lags_ms(WORD_S, GAP_S)] if scripted else []),
        (after_s - wait_s) / (after - leases) * 1000 if after > leases else 0.0,
        {role: value * 1000 for role, value in cost.items()},
        sum(cost.values()),
        sum(texts.wrong(system.name, one) for one in said),
        both([one.late * 1000 for one in said])[1],
        refused,
    )


@contextlib.asynccontextmanager
async def parley(folder: Path, amqp: str, env: Mapping[str, str], asrs: int = 1) -> AsyncIterator[System]:
    """An installation of its own, with ``asrs`` processes that listen."""
    async with house(folder, amqp, plan=Plan(env=env)) as running:
        for _ in range(asrs):
            await running.add("asr")
        await running.ready()
        pids = {role: [each.pid for each in running.of(role)] for role in ("gateway", "asr", "rag", "inference")}
        pids["broker"] = [broker_pid(urlsplit(amqp).port or 5672)]
        yield System("Parley", running.ports[0], True, pids, running)


@contextlib.asynccontextmanager
async def plain(folder: Path, env: Mapping[str, str]) -> AsyncIterator[System]:
    """The peer."""
    async with stack(folder, env) as running:
        port = free_port()
        engine = env["PARLEY_ASR_ENGINE"]
        arguments = ("--port", str(port), "--engine", engine)
        server: Started = await running.start("plain", "bench.peers.plain_listener", *arguments, pipes=True)
        await server.ready()
        yield System("plain server", port, False, {"server": [server.pid]})


async def ramp(
    folder: Path,
    amqp: str,
    env: Mapping[str, str],
    clips: Sequence[Clip],
    levels: Mapping[int, int],
    say: Callable[[str], None],
) -> list[Level]:
    """Each level (streams, and how many clips each says) on both, one after the other; a system that does not hold a
    level is not asked for more."""
    texts = Texts(env["PARLEY_ASR_ENGINE"])
    found: list[Level] = []
    async with plain(folder / "plain", env) as peer, parley(folder / "parley", amqp, env) as ours:
        over: set[str] = set()
        for streams, rounds in levels.items():
            for system in (peer, ours):
                if system.name in over:
                    continue
                say(f"voice: {streams} streams of {texts.engine}, {system.name}")
                began = time.perf_counter()
                row = await level(system, clips, streams, rounds, texts)
                found.append(row)
                if not row.holds:
                    over.add(system.name)
                if time.perf_counter() - began > 60:
                    over.add(system.name)
    return found
