"""Keeps how much of a spoken answer was heard before it was interrupted, for the turns that follow."""

import asyncio
from collections.abc import Awaitable

from parley_protocol.ids import SessionId, TurnKey
from parley_runtime.errors import ParleyError
from parley_runtime.store.ports import TurnStore
from parley_runtime.telemetry import names
from parley_runtime.telemetry.logging import get_logger
from parley_runtime.telemetry.metrics import counter

PAUSES_S = (0.0, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Before each try: a turn that is being ended may not have its row yet, and a store may be away."""

log = get_logger("parley.mouth")


class HeardDesk:
    """Writes in the background. The session's next turn waits for it, ``wait_s`` at most: its prompt holds what was
    heard, and not what was said.
    """

    def __init__(self, store: TurnStore, wait_s: float) -> None:
        self._store = store
        self._wait_s = wait_s
        self._tasks: dict[SessionId, set[asyncio.Task[None]]] = {}
        self._newest: dict[TurnKey, object] = {}
        """The last word on a turn: what was said of it before is not written any more."""

    def keep(self, key: TurnKey, characters: int) -> None:
        """Of this turn's answer, so many code points were heard. The last word on a turn counts."""
        word = self._newest[key] = object()
        task = asyncio.get_running_loop().create_task(self._keep(key, characters, word))
        self._tasks.setdefault(key.session, set()).add(task)
        task.add_done_callback(lambda done: self._done(key.session, done))

    def settling(self, session: SessionId) -> Awaitable[object] | None:
        """What the session's next turn is to wait for; None: nothing."""
        tasks = self._tasks.get(session)
        return asyncio.wait(tuple(tasks), timeout=self._wait_s) if tasks else None

    async def close(self) -> None:
        """Let what is being written be written, ``wait_s`` at most."""
        tasks = [task for each in self._tasks.values() for task in each]
        if tasks:
            await asyncio.wait(tasks, timeout=self._wait_s)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _done(self, session: SessionId, task: "asyncio.Task[None]") -> None:
        tasks = self._tasks.get(session, set())
        tasks.discard(task)
        if not tasks:
            self._tasks.pop(session, None)

    async def _keep(self, key: TurnKey, characters: int, word: object) -> None:
        try:
            reason = await self._try(key, characters, word)
        finally:
            if self._newest.get(key) is word:
                del self._newest[key]
        if not reason:
            return
        counter(names.HEARD_LOST).inc()
        log.warning("what was heard of an answer was not kept", turn=key.turn, reason=reason)

    async def _try(self, key: TurnKey, characters: int, word: object) -> str:
        """Why it was not kept; empty where it was, or need not be."""
        reason = "its row did not come"
        for pause_s in PAUSES_S:
            await asyncio.sleep(pause_s)
            if self._newest.get(key) is not word:
                return ""
            try:
                if await self._store.keep_heard(key, characters):
                    return ""
            except ParleyError as error:
                reason = type(error).__name__
        return reason
