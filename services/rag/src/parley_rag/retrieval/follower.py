"""Keeps a retriever level with the store's change log: the same contents in every process and after every restart."""

import asyncio

from parley_rag.retrieval.ports import Retriever
from parley_runtime.errors import ParleyError
from parley_runtime.ports import Clock
from parley_runtime.store.ports import Change, KnowledgeStore
from parley_runtime.telemetry import metrics, names
from parley_runtime.telemetry.logging import get_logger

log = get_logger(__name__)

PAGE = 32
"""Changed documents read at a time."""


class IndexFollower:
    """Applies changes in order of their number, one reader at a time. The log is read from its beginning at start."""

    def __init__(self, store: KnowledgeStore, retriever: Retriever, clock: Clock, *, poll_s: float = 0.25) -> None:
        self._store = store
        self._retriever = retriever
        self._clock = clock
        self._poll_s = poll_s
        self._seq = 0
        self._level_at: float | None = None
        self._failing = False
        self._reading = asyncio.Lock()

    async def catch_up(self) -> None:
        """Returns when everything stored before the call is in the retriever. Raises Unavailable."""
        async with self._reading:
            begun = self._clock.monotonic()
            while changes := await self._store.changes(self._seq, limit=PAGE):
                for change in changes:
                    await self._apply(change)
                    self._seq = change.seq
                if len(changes) < PAGE:
                    break
            self._level_at = begun
        metrics.gauge(names.PASSAGES).set(self._retriever.size())

    async def run(self) -> None:
        """Follow for ever. A store that cannot be reached is logged once, and tried again at the next poll."""
        while True:
            try:
                await self.catch_up()
                if self._failing:
                    log.info("index follows the store again", seq=self._seq)
                self._failing = False
            except ParleyError as error:
                if not self._failing:
                    log.warning("index cannot follow the store", error=str(error))
                self._failing = True
            metrics.gauge(names.INDEX_LAG_SECONDS).set(self.lag_s() or 0.0)
            await asyncio.sleep(self._poll_s)

    def lag_s(self) -> float | None:
        """Seconds since the index was known to be level with the store; None before the first time."""
        return None if self._level_at is None else self._clock.monotonic() - self._level_at

    def problem(self) -> str | None:
        """For readiness: why questions cannot be answered from the index yet."""
        return "the index is still being built from the store" if self._level_at is None else None

    async def _apply(self, change: Change) -> None:
        if change.passages:
            await self._retriever.upsert(change.tenant, change.kb, change.document, change.title, change.passages)
        else:
            await self._retriever.remove(change.tenant, change.kb, change.document)
