"""Knowledge bases whose words engines are to expect: read from the store, made ready once for each state of a base."""

import asyncio
import hashlib
from collections.abc import Sequence

from parley_asr.engine import Base, Transcriber
from parley_protocol.work import DocumentInfo
from parley_runtime.errors import ParleyError
from parley_runtime.store.ports import KnowledgeStore
from parley_runtime.telemetry.logging import get_logger

MOST_CHARACTERS = 2_000_000
"""Of a base's text; what comes after them is not read."""
MOST_DOCUMENTS = 1000
MOST_BASES = 8
"""Of the default tenant: made ready before anybody asks."""
LOOK_S = 15.0
FRESH_S = 10.0
"""A base is looked at again after so long."""
MOST_LOOKED = 1000
"""Bases of which it is kept when they were looked at; the oldest are forgotten, and looked at again when asked for."""

log = get_logger(__name__)


class Bases:
    """Makes bases ready for ``engine``, one at a time. ``wait_s``: how long a stream waits for its base."""

    def __init__(self, store: KnowledgeStore, engine: Transcriber, wait_s: float) -> None:
        self._store = store
        self._engine = engine
        self._wait_s = wait_s
        self._tasks: dict[Base, asyncio.Task[None]] = {}
        self._looked: dict[Base, float] = {}
        self._one = asyncio.Lock()

    async def ready(self, base: Base) -> None:
        """Returns when the base is ready, or cannot be made ready, or ``wait_s`` have passed: it goes on meanwhile."""
        if not self._engine.abilities.vocabularies:
            return
        now = asyncio.get_running_loop().time()
        if now - self._looked.get(base, -FRESH_S) < FRESH_S and base not in self._tasks:
            return
        task = self._tasks.get(base)
        if task is None:
            self._looked.pop(base, None)
            self._looked[base] = now
            if len(self._looked) > MOST_LOOKED:
                del self._looked[next(iter(self._looked))]
            task = self._tasks[base] = asyncio.create_task(self._make(base), name="vocabulary")
            task.add_done_callback(lambda _: self._tasks.pop(base, None))
        await asyncio.wait({task}, timeout=self._wait_s)

    async def keep(self, tenant: str) -> None:
        """Make the bases of ``tenant`` ready before anybody speaks of them, and again after they have changed."""
        while self._engine.abilities.vocabularies:
            try:
                for info in (await self._store.bases(tenant))[:MOST_BASES]:
                    await self.ready(Base(tenant, info.name))
            except ParleyError as error:
                log.warning("bases cannot be read; tried again", reason=str(error), after_s=LOOK_S)
            await asyncio.sleep(LOOK_S)

    async def aclose(self) -> None:
        """Make no more."""
        tasks = tuple(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _make(self, base: Base) -> None:
        try:
            documents = await self._store.documents(base.tenant, base.name, limit=MOST_DOCUMENTS)
            version = _version(documents)
            if not documents or await asyncio.to_thread(self._engine.knows, base, version):
                return
            async with self._one:
                texts = await self._texts(base, documents)
                await asyncio.to_thread(self._engine.prepare, base, version, texts)
            log.info("vocabulary made", kb=base.name, documents=len(documents), engine=self._engine.name)
        except ParleyError as error:
            log.warning("a base's words are not expected", kb=base.name, reason=str(error))
        except Exception:
            log.exception("a base's words are not expected because of a defect", kb=base.name)

    async def _texts(self, base: Base, documents: Sequence[DocumentInfo]) -> list[str]:
        texts: list[str] = []
        room = MOST_CHARACTERS
        for document in documents:
            if room <= 0:
                break
            for passage in await self._store.passages(base.tenant, base.name, document.path):
                texts.append(f"{passage.title}\n{passage.text}")
                room -= len(passage.text)
        return texts


def _version(documents: Sequence[DocumentInfo]) -> str:
    """Differs where any document does."""
    digest = hashlib.sha256()
    for document in documents:
        digest.update(f"{document.path}\0{document.digest}\n".encode())
    return digest.hexdigest()[:24]
