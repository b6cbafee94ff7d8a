"""What the rest of the installation looks like from here: workers at their queues, sample bases in the store.

Looked up in the background, and only while somebody asks: whoever asks after a pause waits for one look, and no longer
than :data:`WAIT_S`. Workers count as gone
only after they were not there twice in a row, and a base that was found once is not looked for again: readiness does
not flap with a restart.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

from parley_protocol.routes import Stage, stage_queue
from parley_runtime.errors import ParleyError
from parley_runtime.store.ports import KnowledgeStore
from parley_runtime.telemetry.logging import get_logger

log = get_logger(__name__)

EVERY_S = 2.0
"""Between two looks once everything is there."""
SOON_S = 0.25
"""Between two looks before that."""
ASKED_S = 60.0
"""Nobody looks any more after so long without a question: each look opens a channel for every stage."""
STALE_S = 5.0
"""What was looked up longer ago is looked up again before it is told."""
WAIT_S = 1.0
"""Longest wait for that; then it is told as it is known."""
MISSES = 2
"""Looks in a row without a worker before it counts as gone."""
TENANT = "default"
STAGES = (Stage.RETRIEVE, Stage.GENERATE, Stage.RECORD, Stage.KNOWLEDGE)


class Depths(Protocol):
    """Part of a link: messages and consumers of a queue."""

    async def depth(self, queue: str) -> tuple[int, int] | None: ...


class Readiness:
    """``look`` it up; :meth:`run` does so for ever."""

    def __init__(self, link: Depths, store: KnowledgeStore, bases: Sequence[str]) -> None:
        self._link = link
        self._store = store
        self._missing_bases = list(bases)
        self._misses = dict.fromkeys(STAGES, MISSES)
        self._broker = "not looked up yet"
        self._asked = asyncio.Event()
        self._looked = asyncio.Event()
        self._looked_at = float("-inf")

    async def ask(self) -> dict[str, str | None]:
        """:meth:`reasons`, looked up a moment ago; and look on for :data:`ASKED_S`."""
        self._asked.set()
        if asyncio.get_running_loop().time() - self._looked_at > STALE_S:
            self._looked.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(WAIT_S):
                    await self._looked.wait()
        return self.reasons()

    def reasons(self) -> dict[str, str | None]:
        """Why the installation is not ready, by part; None where it is."""
        gone = [stage.value for stage, misses in self._misses.items() if misses >= MISSES]
        workers = self._broker or (f"nobody consumes: {', '.join(gone)}; start rag and inference" if gone else None)
        missing = ", ".join(self._missing_bases)
        return {"workers": workers, "bases": f"not in the store yet: {missing}" if missing else None}

    async def run(self) -> None:
        """For ever: look while :meth:`ask` is called at least every :data:`ASKED_S`."""
        loop = asyncio.get_running_loop()
        until = 0.0
        while True:
            if loop.time() >= until:
                await self._asked.wait()
            if self._asked.is_set():
                self._asked.clear()
                until = loop.time() + ASKED_S
            await self.look()
            await asyncio.sleep(SOON_S if any(self.reasons().values()) else EVERY_S)

    async def look(self) -> None:
        """Once. What cannot be asked counts as not there."""
        for stage in STAGES:
            try:
                depth = await self._link.depth(stage_queue(stage))
            except ParleyError as error:
                self._broker = f"the broker cannot be asked ({type(error).__name__})"
                break
            self._misses[stage] = 0 if depth is not None and depth[1] else min(self._misses[stage] + 1, MISSES)
        else:
            self._broker = ""
        if self._missing_bases:
            await self._look_for_bases()
        self._looked_at = asyncio.get_running_loop().time()
        self._looked.set()

    async def _look_for_bases(self) -> None:
        try:
            there = {base.name for base in await self._store.bases(TENANT)}
        except ParleyError as error:
            log.info("bases cannot be looked up; trying again", error=type(error).__name__)
            return
        self._missing_bases = [name for name in self._missing_bases if name not in there]
