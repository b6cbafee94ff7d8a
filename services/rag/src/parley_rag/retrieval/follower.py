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

_Name = tuple[str, str, str]
"""Tenant, base, document."""


class IndexFollower:
    """Applies changes in order of their number, one reader at a time. The log is read from its beginning at start."""

    def __init__(self, store: KnowledgeStore, retriever: Retriever, clock: Clock, *, poll_s: float = 0.25) -> None:
        self._store = store
        self._retriever = retriever
        self._clock = clock
        self._poll_s = poll_s
        self._seq = 0
        self._horizon: int | None = None
        """What the log had forgotten when it was read from its beginning; None before that."""
        self._known: set[_Name] = set()
        self._unseen: set[_Name] = set()
        """While the log is read anew: documents that it has not named yet."""
        self._changed: dict[tuple[str, str], int] = {}
        """By tenant and base: the number of its last change, where that is behind the horizon."""
        self._settled = False
        """All that was read of the log is in the retriever, and nothing else."""
        self._level_at: float | None = None
        self._failing = False
        self._reading = asyncio.Lock()

    async def catch_up(self) -> None:
        """Returns when everything stored before the call is in the retriever. Raises Unavailable."""
        async with self._reading:
            begun = self._clock.monotonic()
            while True:
                changes = await self._store.changes(self._seq, limit=PAGE)
                if await self._missed():
                    continue
                self._settled = self._settled and not changes
                for change in changes:
                    await self._apply(change)
                    self._seq = change.seq
                if len(changes) < PAGE:
                    break
            for name in tuple(self._unseen):
                await self._remove(name)
            self._level_at = begun
            self._settle()
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

    def position(self, tenant: str, kb: str) -> int | None:
        """Processes that say the same number of a base hold the same of it. None: that cannot be told at present.

        It is the number of the base's last change here, or the log's horizon where that is higher, since up to there
        the log may not name a removal any more. Not told while changes are being applied: a document that is changed
        again meanwhile has left its place in the log.
        """
        if not self._settled or self._horizon is None:
            return None
        return max(self._changed.get((tenant, kb), 0), self._horizon)

    def problem(self) -> str | None:
        """For readiness: why questions cannot be answered from the index yet."""
        return "the index is still being built from the store" if self._level_at is None else None

    async def _missed(self) -> bool:
        """Whether the log has forgotten removals that this reader has not come to. Then it is read anew, and what it
        does not name any more goes. Asked after each page, since a removal may be forgotten just before it is read.
        """
        forgotten = await self._store.forgotten()
        if self._horizon is None or forgotten <= max(self._horizon, self._seq):
            self._horizon = forgotten
            return False
        log.warning("index was away for longer than removals are kept; read anew", seq=self._seq)
        self._seq, self._horizon, self._unseen = 0, forgotten, set(self._known)
        self._settled = False
        return True

    def _settle(self) -> None:
        horizon = self._horizon or 0
        self._changed = {base: seq for base, seq in self._changed.items() if seq > horizon}
        self._settled = True

    async def _apply(self, change: Change) -> None:
        name = (change.tenant, change.kb, change.document)
        self._changed[name[:2]] = change.seq
        if not change.passages:
            await self._remove(name)
            return
        await self._retriever.upsert(*name, change.title, change.passages)
        self._known.add(name)
        self._unseen.discard(name)

    async def _remove(self, name: _Name) -> None:
        await self._retriever.remove(*name)
        self._known.discard(name)
        self._unseen.discard(name)
