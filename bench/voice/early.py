"""Early retrieval: how much sooner an answer's sources are there when passages are looked for at a pause in speech.

Two gateways of one installation, one with early retrieval and one without, are asked in turn, hands free, about a base
of 10,000 passages: once with the index that each worker holds, and once with every search made to last 200 ms longer,
as one on another machine might. An utterance ends by silence, so the times begin when the gateway knows what was said.
The pause is known 360 ms before the end; a recogniser that takes time has its words of it later.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.house import House, Layout, Member, Plan, house
from bench.recovery import until
from bench.stack import quantile
from bench.voice.answering import AT_ONCE, QUESTION, Talker
from bench.voice.load import MOONSHINE, SCRIPTED
from bench.voice.sound import Clip, synthesised, tones
from bench.wire import Socket, open_socket
from parley_asr.engines.scripted import WORDS
from parley_protocol.work import DocumentInfo
from parley_runtime.store import open_store
from parley_runtime.store.ports import StoredPassage

PASSAGES = 10_000
OF_DOCUMENT = 100
LENGTH = 120
"""Words of a passage."""
VOCABULARY = 5_000
NAMED = 0.02
"""Share of a passage's words that can be said here."""
SLOWER_S = 0.2
OUTCOME = 'parley_early_retrieval_total{{outcome="{}"}}'


@dataclass
class Sooner:
    """Milliseconds, one for each question. ``used``: how many of them spared their search."""

    hears: str
    index: str
    early: bool
    used: int = 0
    sources: list[float] = field(default_factory=list)
    """From the transcript's end at the socket to the sources there."""
    all: list[float] = field(default_factory=list)
    """From the last sample of speech."""

    @property
    def p50(self) -> float:
        return quantile(self.sources, 0.5)


def written(number: int, rng: random.Random) -> str:
    """A passage: made-up words, common ones more often, and some that the scripted recogniser hears."""
    said = rng.choices(WORDS, k=round(LENGTH * NAMED * 2 * rng.random()))
    other = (f"w{int(VOCABULARY * rng.random() ** 3)}" for _ in range(LENGTH - len(said)))
    words = [*said, *other]
    rng.shuffle(words)
    return f"{number} {' '.join(words)}."


async def stock(url: str, count: int = PASSAGES) -> None:
    """Put the base into the store of an installation that has not been started yet."""
    rng, store = random.Random(7), await open_store(url)
    try:
        for first in range(0, count, OF_DOCUMENT):
            name, at, passages = f"d{first:06}.txt", 0, []
            for number in range(first, min(count, first + OF_DOCUMENT)):
                text = written(number, rng)
                passages.append(StoredPassage(id=f"p{number}", title=name, text=text, start=at, end=at + len(text)))
                at += len(text) + 1
            info = DocumentInfo(path=name, title=name, digest=name, size=at, passages=len(passages), updated_at="")
            await store.put_document("default", "default", info, passages)
    finally:
        await store.aclose()


@asynccontextmanager
async def _parley(
    folder: Path, amqp: str, env: Mapping[str, str], slow: bool
) -> AsyncIterator[tuple[House, list[Member]]]:
    """The gateway with early retrieval, and the one without."""
    folder.mkdir(parents=True)
    await stock(f"sqlite+aiosqlite:///{folder}/parley.db")
    launch = {"rag": ("--slow", str(SLOWER_S))} if slow else {}
    async with house(folder, amqp, Layout(gateways=0), Plan(env=AT_ONCE | dict(env), launch=launch)) as running:
        gateways = [await running.add("gateway", PARLEY_EARLY_RETRIEVAL=value) for value in "10"]
        await running.add("asr")
        await running.ready()
        yield running, gateways


class Asker:
    """One hands-free stream at one gateway."""

    def __init__(self, socket: Socket, row: Sooner) -> None:
        self._talker = Talker(socket, None)
        self._row = row
        socket.send('{"type":"hello"}')
        self._pacing = asyncio.create_task(self._talker.pace("talk"))

    async def ask(self, question: Clip) -> None:
        """Say it and wait for its answer's end."""
        talker = self._talker
        talker.say(question.pcm)
        await until(lambda: talker.problem or talker.ended, "all that was said")
        await until(lambda: talker.problem or talker.last("turn.done", talker.began), "the answer")
        if talker.problem:
            raise RuntimeError(talker.problem)
        heard, sources = (talker.last(kind, talker.began) for kind in ("transcript.final", "retrieval"))
        self._row.sources.append((sources - heard) * 1000)
        self._row.all.append((sources - talker.ended) * 1000)

    async def close(self) -> None:
        self._pacing.cancel()
        await asyncio.wait({self._pacing})


async def compare(
    folder: Path, amqp: str, env: Mapping[str, str], slow: bool, questions: Sequence[Clip]
) -> list[Sooner]:
    """One index, with early retrieval and without; the first question of each is not counted."""
    hears = env["PARLEY_ASR_ENGINE"]
    index = f"in the worker + {SLOWER_S * 1000:.0f} ms" if slow else "in the worker"
    async with _parley(folder, amqp, env, slow) as (running, gateways):
        rows = [Sooner(hears, index, early) for early in (True, False)]
        sockets = [await open_socket(gateway.port, "/v1/connect") for gateway in gateways]
        askers = [Asker(*pair) for pair in zip(sockets, rows, strict=True)]
        (rag,) = running.of("rag")
        used = 0.0
        try:
            for number, question in enumerate(questions):
                for asker in askers if number % 2 else reversed(askers):
                    await asker.ask(question)
                if not number:
                    used = await rag.metric(OUTCOME.format("used"))
        finally:
            for asker, socket in zip(askers, sockets, strict=True):
                await asker.close()
                socket.abort()
        for row in rows:
            del row.sources[0], row.all[0]
        rows[0].used = round(await rag.metric(OUTCOME.format("used")) - used)
    return rows


async def measure(folder: Path, amqp: str, count: int, say: Callable[[str], None]) -> list[Sooner]:
    """Both indexes, with a recogniser that takes no time and with one that does."""
    rows: list[Sooner] = []
    real = await synthesised()
    said = {
        "tones": (SCRIPTED, [tones(QUESTION, number) for number in range(count + 1)]),
        "speech": (MOONSHINE, [real[number % len(real)] for number in range(count + 1)]),
    }
    for name, (env, questions) in said.items():
        for slow in (False, True):
            say(f"voice: {count} questions with early retrieval and without, {SLOWER_S if slow else 0:g} s added")
            rows += await compare(folder / f"{name}-{slow}", amqp, env, slow, questions)
    return rows
