"""Spoken answers: how soon they are heard, and how soon they are silent when somebody speaks.

*Interrupted*: the user begins to speak, hands free, while an answer is generated and spoken. Times run from the first
sample of their speech. Two things happen: the answer's audio stops as soon as speech is known of (``speech.started``),
and the answer itself as soon as the speech is known to say something, half a second of it at the earliest.
"""

import asyncio
import contextlib
import json
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from bench.cancel import read_stamps
from bench.house import House, Plan, house
from bench.recovery import until
from bench.stack import quantile
from bench.voice.load import SCRIPTED
from bench.voice.sound import tones
from bench.voice.speaker import FRAME, FRAME_S, Frame, Said, Speaker
from bench.wire import Socket, open_socket
from parley_protocol.client import Voice
from parley_protocol.speech import decode_audio

SEAT_MS = 100.0
FRAME_MS = 100.0
"""Of the answer's audio, as shipped: what may still be under way when speech is known of."""
VOICE = Voice(rate=24_000)
SPEECH = {"PARLEY_SPEECH_ENGINE": "espeak"}
AT_ONCE = SCRIPTED | SPEECH | {"PARLEY_SCRIPT_TOKENS": "4"}
LONG = SCRIPTED | SPEECH | {"PARLEY_SCRIPT_TOKENS": "6000", "PARLEY_SCRIPT_INTERVAL_MS": "10"}
QUESTION = 4
"""Words that are said."""

_frame = msgspec.json.Decoder(Frame)


@dataclass
class Soon:
    """Milliseconds, one for each time. ``bar``: what the worst must not exceed (0: none)."""

    what: str
    bar: float = 0.0
    ms: list[float] = field(default_factory=list)

    @property
    def p50(self) -> float:
        return quantile(self.ms, 0.5)

    @property
    def p95(self) -> float:
        return quantile(self.ms, 0.95)

    @property
    def worst(self) -> float:
        return max(self.ms)


@contextlib.asynccontextmanager
async def _parley(folder: Path, amqp: str, env: Mapping[str, str], stamps: Path | None = None) -> AsyncIterator[House]:
    launch = {"inference": ("--stamps", str(stamps))} if stamps else {}
    async with house(folder, amqp, plan=Plan(env=env, launch=launch)) as running:
        await running.add("asr")
        await running.ready()
        yield running


# ---- answers that are heard


async def first_audio(folder: Path, amqp: str, count: int) -> list[Soon]:
    """Push to talk; the answer's text is there at once, so that what is timed is the way of its sound."""
    token, stop = (
        Soon("first token to first audio, text there at once"),
        Soon("audio.stop to first audio, push to talk"),
    )
    async with _parley(folder, amqp, AT_ONCE) as running:
        speaker = await Speaker.open(running.ports[0], native=True)
        for number in range(count + 1):
            said, heard = await _spoken(speaker, number)
            if not number:
                continue  # the first one loads the voice
            text = next(at for at, kind in said.frames if kind == "answer.delta")
            token.ms.append((heard - text) * 1000)
            stop.ms.append((heard - said.stopped) * 1000)
        speaker.close()
    return [token, stop]


async def _spoken(speaker: Speaker, number: int) -> tuple[Said, float]:
    """One spoken question; when the first audio of its answer came."""
    first: list[float] = []
    speaker.socket.on_bytes = lambda _: first.append(time.perf_counter())
    said = await speaker.say(tones(QUESTION, number), speak=VOICE)
    await until(lambda: first, "audio of the answer")
    await until(lambda: any(kind == "answer.spoken" for _, kind in said.frames), "the answer's last audio")
    return said, first[0]


# ---- answers that are interrupted


class Talker:
    """Speaks hands free: silence, but for what it is told to say; keeps what comes back, with its time."""

    def __init__(self, socket: Socket, voice: Voice | None = VOICE) -> None:
        """``voice`` None: answers are text alone."""
        self._socket = socket
        self._voice = voice
        self._left = b""
        self._began = self._ended = 0.0
        self.events: list[tuple[float, str, str]] = []
        """Time, type and turn of each frame; of ``answer.flush`` with ``ended``, ``answer.flush.ended``."""
        self.problem = ""
        socket.on_frame = self._take
        socket.on_bytes = self._audio

    @property
    def began(self) -> float:
        """When the first sample was said of what it was last told to say; 0: not yet."""
        return self._began

    @property
    def ended(self) -> float:
        """And the last one."""
        return self._ended

    def say(self, pcm: bytes) -> None:
        """From the next frame on."""
        self._left, self._began, self._ended = pcm, 0.0, 0.0

    def last(self, kind: str, since: float) -> float:
        """When the first frame of that kind came after ``since``; 0: not yet."""
        return next((at for at, what, _ in self.events if what == kind and at > since), 0.0)

    def count(self, kind: str, since: float) -> int:
        return sum(what == kind and at > since for at, what, _ in self.events)

    async def pace(self, turn: str) -> None:
        """Until it is cancelled."""
        start = {"type": "audio.start", "turn": turn, "hands_free": True}
        if self._voice is not None:
            start["speak"] = msgspec.to_builtins(self._voice)
        self._socket.send(json.dumps(start))
        due = time.perf_counter()
        while not self.problem:
            due += FRAME_S
            speaks, said = bool(self._left), self._left[:FRAME]
            self._left = self._left[FRAME:]
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            if speaks:
                self._began = self._began or due - FRAME_S
                self._ended = due - FRAME_S + len(said) / FRAME * FRAME_S
            self._socket.send_bytes(said.ljust(FRAME, b"\0"))

    def _take(self, data: bytes) -> None:
        frame = _frame.decode(data)
        kind = f"{frame.type}.ended" if frame.type == "answer.flush" and b'"ended":true' in data else frame.type
        if frame.type == "error":
            self.problem = f"{frame.code}: {frame.message}"
        self.events.append((time.perf_counter(), kind, frame.turn))

    def _audio(self, data: bytes) -> None:
        self.events.append((time.perf_counter(), "audio", decode_audio(data)[0].turn))


@dataclass
class Interruptions:
    """What is seen of them. ``seats``: turns, and when each was told to be over."""

    silent: Soon = field(default_factory=lambda: Soon("user's first sample to the answer's last audio at the socket"))
    late: Soon = field(
        default_factory=lambda: Soon("speech known at the socket to the answer's last audio there", FRAME_MS)
    )
    known: Soon = field(default_factory=lambda: Soon("user's first sample to speech known at the socket"))
    decided: Soon = field(default_factory=lambda: Soon("user's first sample to the answer's end at the socket"))
    seat: Soon = field(default_factory=lambda: Soon("the answer's end at the socket to its seat being free", SEAT_MS))
    all: Soon = field(default_factory=lambda: Soon("user's first sample to the answer's seat being free"))
    again: Soon = field(default_factory=lambda: Soon("user's last sample to the next answer's audio (600 ms silence)"))

    def rows(self) -> list[Soon]:
        return [self.known, self.silent, self.late, self.decided, self.seat, self.all, self.again]


async def _interrupt(talker: Talker, number: int, since: float) -> tuple[float, float, float]:
    """Speak over the answer. When the first sample was said, when the answer ended, and when the last sample was."""
    await until(lambda: talker.problem or talker.count("audio", since) >= 8, "some audio of the answer")
    await asyncio.sleep(random.random() * 0.3)
    talker.say(tones(QUESTION + 2, number).pcm)
    began = time.perf_counter()
    await until(lambda: talker.problem or talker.last("answer.flush.ended", began), "the answer's end")
    await until(
        lambda: talker.problem or (talker.ended and time.perf_counter() > talker.ended + 0.1), "all that was said"
    )
    if talker.problem:
        raise RuntimeError(talker.problem)
    return talker.began, talker.last("answer.flush.ended", began), talker.ended


def _read(talker: Talker, began: float, over: float, found: Interruptions) -> str:
    """Take the times of one interruption; returns the turn that ended."""
    known = talker.last("speech.started", began)
    before = [at for at, what, _ in talker.events if what == "audio" and at < over]
    last = max(before)
    found.known.ms.append((known - began) * 1000)
    found.silent.ms.append(max(0.0, last - began) * 1000)
    found.late.ms.append(max(0.0, last - known) * 1000)
    found.decided.ms.append((over - began) * 1000)
    return next(turn for at, what, turn in talker.events if what == "answer.flush.ended" and at == over)


async def _next_audio(talker: Talker, since: float) -> float:
    await until(lambda: talker.problem or talker.last("audio", since), "the next answer's audio")
    return talker.last("audio", since)


async def interruptions(folder: Path, amqp: str, count: int) -> list[Soon]:
    """One after the other: each interrupting utterance is a question itself, and its answer is interrupted next."""
    folder.mkdir(parents=True)
    stamps, found = folder / "stamps", Interruptions()
    ends: dict[str, tuple[float, float]] = {}
    async with _parley(folder / "house", amqp, LONG, stamps) as running:
        socket = await open_socket(running.ports[0], "/v1/connect")
        talker = Talker(socket)
        socket.send('{"type":"hello"}')
        pacing = asyncio.create_task(talker.pace("talk"))
        try:
            talker.say(tones(QUESTION).pcm)
            since = time.perf_counter()
            for number in range(count):
                began, over, ended = await _interrupt(talker, number, since)
                ends[_read(talker, began, over, found)] = (began, over)
                since = ended
                found.again.ms.append((await _next_audio(talker, ended) - ended) * 1000)
        finally:
            pacing.cancel()
            await asyncio.wait({pacing})
            socket.abort()
        await until(lambda: ends.keys() <= read_stamps(stamps).keys(), "every seat being free")
    freed = read_stamps(stamps)
    for turn, (began, over) in ends.items():
        found.seat.ms.append(max(0.0, freed[turn] - over) * 1000)
        found.all.ms.append((freed[turn] - began) * 1000)
    return found.rows()


async def measure(folder: Path, amqp: str, count: int, say: Callable[[str], None]) -> list[Soon]:
    """Both."""
    say(f"voice: {count} spoken answers")
    rows: list[Soon] = await first_audio(folder / "first", amqp, count)
    say(f"voice: {count} interruptions")
    return rows + await interruptions(folder / "interrupted", amqp, count)
