"""Looks out for turns that stand still, and writes down what the installation looks like while they do.

A turn that nobody works on ends at its deadline, and by then its traces are gone: its job is no longer in a queue, and
whoever held it has moved on. So the picture is taken while it is missed. It goes to a file beside the logs; the checker
is given none of it.
"""

import asyncio
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

import httpx

from .history import Asked, Happening, History, Received, Sent
from .world.world import World

STILL_S: Final = 12.0
"""Without any frame for so long a client that waits for a turn is missed. Longer than any fault of the matrix lasts."""
EVERY_S: Final = 1.0
AGAIN_S: Final = 10.0
"""Between two pictures."""
QUEUES: Final = ("name", "messages_ready", "messages_unacknowledged", "consumers")
CHANNELS: Final = ("connection", "number", "consumer_count", "prefetch_count", "messages_unacknowledged")
ROWS: Final = "select session, turn, base, fence, status, opened_at from turns where text is null order by id desc"
MOST_ROWS: Final = 50


class Still:
    """Which clients wait, and since when they have been told nothing."""

    def __init__(self) -> None:
        self._open: dict[str, dict[str, float]] = {}
        self._heard: dict[str, float] = {}
        self._read = 0

    def look(self, happenings: list[Happening], now: float, held: Callable[[str], bool] = lambda _: False) -> list[str]:
        """What is missed at ``now``: ``client turn, asked at ..., nothing since ...``. One that is ``held`` is not."""
        for one in happenings[self._read :]:
            self._take(one)
        self._read = len(happenings)
        return [
            f"{client} {turn}, asked at {at:.1f} s, nothing since {self._heard[client]:.1f} s"
            for client, turns in self._open.items()
            if turns and now - self._heard[client] > STILL_S
            for turn, at in turns.items()
            if not held(turn)
        ]

    def _take(self, one: Happening) -> None:
        if not isinstance(one, Asked | Sent | Received):
            return
        client = one.client.partition("+")[0]
        turns = self._open.setdefault(client, {})
        if isinstance(one, Asked):
            self._heard[client] = one.at
        elif isinstance(one, Sent):
            if one.frame.get("type") == "turn.start":
                turns.setdefault(str(one.frame["turn"]), one.at)
                self._heard[client] = one.at
        elif "turn" in one.frame:
            self._heard[client] = one.at
            if one.frame["type"] in ("turn.done", "error"):
                turns.pop(str(one.frame["turn"]), None)


class Lookout:
    """``run`` it beside a run, for as long as that lasts. ``path`` is not made where nothing is missed."""

    def __init__(self, world: World, history: History, path: Path) -> None:
        self._world = world
        self._history = history
        self._path = path
        self._still = Still()

    async def run(self) -> None:
        """Until cancelled. A turn that goes on standing still is not taken again: asking a broker costs it much."""
        taken: set[str] = set()
        while True:
            await asyncio.sleep(EVERY_S)
            missed = self._still.look(self._history.happenings, self._history.now(), self._world.stops.holds)
            if not taken.issuperset(missed):
                taken.update(missed)
                await asyncio.to_thread(self._picture, missed)
                await asyncio.sleep(AGAIN_S)

    def _picture(self, missed: list[str]) -> None:
        stamp = f"=== {self._history.now():.1f} s, {time.strftime('%H:%M:%S', time.gmtime())} UTC"
        with self._path.open("a", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in [stamp, *missed, *self._broker(), *self._rows(), *self._members()])

    def _broker(self) -> Iterator[str]:
        for command, columns in (("list_queues", QUEUES), ("list_channels", CHANNELS)):
            yield f"--- {command} {' '.join(columns)}"
            try:
                yield self._world.broker.ctl(command, *columns)
            except Exception as error:
                yield f"{type(error).__name__}: {error}"

    def _rows(self) -> Iterator[str]:
        yield "--- open rows"
        store = self._world.folder / "parley.db"
        if not store.exists():
            yield "the store is not a file here"
            return
        try:
            with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True, timeout=5)) as rows:
                yield from (str(row) for row in rows.execute(ROWS).fetchmany(MOST_ROWS))
        except sqlite3.Error as error:
            yield f"{type(error).__name__}: {error}"

    def _members(self) -> Iterator[str]:
        for member in self._world.members:
            for path in ("/readyz", "/statusz"):
                try:
                    yield f"--- {member.name} {path}\n{member.service.get(path).text}"
                except httpx.HTTPError as error:
                    yield f"--- {member.name} {path}\n{type(error).__name__}: {error}"
