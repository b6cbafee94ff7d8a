"""What has been delivered of a turn, for the record of whoever ends it without having spoken for it."""

import asyncio
from collections.abc import Awaitable, Callable

from parley_protocol.ids import TurnKey
from parley_runtime.errors import ParleyError
from parley_runtime.store.ports import TurnRow, TurnStore
from parley_runtime.telemetry.logging import get_logger
from parley_runtime.work.asks import Asks

Delivered = Callable[[TurnKey, int], Awaitable[str | None]]
"""The text that clients have of a turn, given its key and the highest fence known to the caller. None: nobody said."""

PAUSE_S = (0.05, 0.4)
"""First and longest wait before the gateways are asked again."""

log = get_logger(__name__)


class LastWord:
    """Implements ``Delivered``. The record that ends a turn must hold what its clients have been given, and an earlier
    run may have spoken. The gateways know; they are asked as by a run with the row's fence, so that a lower one says
    nothing more meanwhile.
    """

    def __init__(self, store: TurnStore, asks: Asks, wait_s: float) -> None:
        """``wait_s`` is long enough for gateways that are about to come back to a broker which has just come back.
        Where it is 0, nobody is asked.
        """
        self._store = store
        self._asks = asks
        self._wait_s = wait_s

    async def __call__(self, key: TurnKey, fence: int) -> str | None:
        """Ask until a gateway has answered or the row is closed, for ``wait_s`` at most. Where there is no row, nothing
        has been delivered. Never raises.
        """
        if not self._wait_s:
            return None
        pause, longest = PAUSE_S
        try:
            async with asyncio.timeout(self._wait_s):
                while True:
                    rows = await self._rows(key)
                    if rows == []:
                        return ""  # nobody has been given a fence to speak under
                    row = rows[0] if rows else None
                    if row is not None and row.closed:
                        return row.text
                    text = await self._asks.begin(key, fence if row is None else max(fence, row.fence))
                    if text is not None:
                        return text
                    await asyncio.sleep(pause)
                    pause = min(longest, pause * 2)
        except TimeoutError:
            log.info("no gateway says what it has delivered of a turn that ends", turn=key.turn)
            return None

    async def _rows(self, key: TurnKey) -> list[TurnRow] | None:
        """None: they cannot be read."""
        try:
            return await self._store.rows([key])
        except ParleyError as error:
            log.info("asking without the row's fence", turn=key.turn, reason=type(error).__name__)
            return None
