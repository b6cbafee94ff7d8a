"""Each fault in each phase of a conversation hands free, one conversation at a time.

Phases: ``speaking`` (in the first sentence), ``silence`` (before the silence has ended it), ``answering`` (at the first
sound of the answer), ``barging`` (somebody speaks over it, and it is not decided), ``interrupted`` (it has been cut
off), ``backchannel`` (it is held up by one), ``between`` (an answer is over, and the next sentence is not begun).
"""

import asyncio
import contextlib
import itertools
import json
import random
import sqlite3
from collections.abc import Callable, Iterable
from typing import Any

from tests.chaos.voice import FAULTS, Cell, at_work
from tests.chaos.world.faults import Aimed
from tests.chaos.world.world import BACKCHANNEL, CHAR_MS, World

from .judge import Scale, judge
from .seen import Line, Lost, Row
from .talker import TALK_S, VOICE, Talker

BARGING_IN = (Line("one two three four"), Line("five six seven eight nine", over=True))
LISTENING = (
    Line("one two three four"),
    Line(BACKCHANNEL, over=True, backchannel=True),
    Line("ten eleven twelve one"),
)
PHASES = {
    "speaking": BARGING_IN,
    "silence": BARGING_IN,
    "answering": BARGING_IN,
    "barging": BARGING_IN,
    "interrupted": BARGING_IN,
    "backchannel": LISTENING,
    "between": LISTENING,
}
"""What is said in the conversation in which each of them comes."""
TELLING = (
    ("kill-asr", "barging"),
    ("kill-gateway", "silence"),
)
"""What CI runs."""
MORTAL = ("kill-gateway", "restart-gateway")
"""Faults that end the client's socket."""
SCALE = Scale(VOICE["rate"], CHAR_MS)
KEPT_S = 10.0
"""Until what was heard of an interrupted answer is stored."""
POLL_S = 0.1


def whole() -> list[tuple[str, str]]:
    """Every cell."""
    return list(itertools.product(FAULTS, PHASES))


class HandsFreeMatrix:
    """Runs cells, one after the other, on a world with recognisers."""

    def __init__(self, world: World, say: Callable[[str], None] = print) -> None:
        self._world = world
        self._say = say
        self._count = 0

    async def run(self, cells: Iterable[tuple[str, str]]) -> list[Cell]:
        """Every cell on an installation that is whole. The fault "": none. What was seen in a conversation in which a
        promise was broken lies beside the logs.
        """
        found = []
        for fault, phase in cells:
            loop = asyncio.get_running_loop()
            began = loop.time()
            broken, ends = await self._fire(fault, phase)
            broken += [f"{name} ended by itself" for name in await self._world.steady()]
            cell = Cell(fault, phase, loop.time() - began, tuple(broken))
            self._say(f"{fault:<16} {phase:<11} {cell.seconds:5.1f} s  {ends:<22}  {'; '.join(broken) or 'kept'}")
            found.append(cell)
        return found

    async def _fire(self, fault: str, phase: str) -> tuple[list[str], str]:
        self._count += 1
        name = f"h{self._count}-{fault}-{phase}"
        reached = asyncio.Event()
        talker = Talker(self._url, name, PHASES[phase], lambda at: reached.set() if at == phase else None)
        talking = asyncio.create_task(talker.run())
        waiting = asyncio.create_task(reached.wait())
        await asyncio.wait({talking, waiting}, timeout=TALK_S, return_when=asyncio.FIRST_COMPLETED)
        if reached.is_set() and fault:
            role, act, lasts_s = FAULTS[fault]
            target = await at_work(self._world, role) if role else None
            async with act(Aimed(self._world, random.Random(name), target)):
                await asyncio.sleep(lasts_s)
        with contextlib.suppress(TimeoutError):
            await talking
        waiting.cancel()
        talk = talker.talk
        lost = any(isinstance(sight, Lost) for sight in talk.sights)
        talk.rows = await self._rows(talker.known.session or "", heard=not lost)
        broken = judge(talk, SCALE, mortal=fault in MORTAL)
        if not reached.is_set():
            broken.append(f"the conversation never came to {phase}")
        if broken:
            lines = [str(one) for one in (*talk.sights, *talk.rows)]
            (self._world.folder / f"{name}.txt").write_text("\n".join(lines), encoding="utf-8")
        return broken, " ".join(row.status for row in talk.rows)

    def _url(self) -> str:
        """Of the first gateway that runs: so that whom a fault hits is known."""
        found = next(member for member in self._world.of("gateway") if member.open() and not member.paused)
        return found.service.url.replace("http", "ws")

    async def _rows(self, session: str, *, heard: bool) -> list[Row]:
        """What is stored of it, once that is whole. ``heard``: how much of interrupted answers is to be known too, as a
        gateway that has died can not tell any more.
        """
        for _ in range(int(KEPT_S / POLL_S)):
            rows = self._read(session)
            known = (row.heard is not None or row.status != "cancelled" or not heard for row in rows)
            if all(known) and all(row.status != "open" for row in rows):
                break
            await asyncio.sleep(POLL_S)
        return rows

    def _read(self, session: str) -> list[Row]:
        path = self._world.stack.store.removeprefix("sqlite+aiosqlite:///")
        query = "SELECT turn, question, status, text, heard FROM turns WHERE session = ? ORDER BY id"
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)) as database:
            rows: list[Any] = database.execute(query, (session,)).fetchall()
        return [
            Row(turn, json.loads(question), status, json.loads(text) if text else "", heard)
            for turn, question, status, text, heard in rows
        ]
