"""Copies of the work messages that pass through the broker, to deliver them once more."""

import asyncio
from collections.abc import Iterable
from contextlib import suppress

import aio_pika
from aio_pika.abc import AbstractIncomingMessage, AbstractRobustConnection

from parley_protocol.routes import WORK, Stage

ALL = (Stage.RETRIEVE, Stage.GENERATE, Stage.RECORD)
TOLD_APART = (Stage.RETRIEVE, Stage.RECORD)
"""Without the later stage's: it takes a first delivery at its word unless every stage claims (docs/guarantees, G5)."""
MOST = 5000


class Copies:
    """A queue of its own beside the stages' queues; sees what is published from :meth:`open` on."""

    def __init__(self, stages: Iterable[str]) -> None:
        self._stages = tuple(stages)
        self._seen: dict[tuple[str | None, bytes], AbstractIncomingMessage] = {}
        self._connection: AbstractRobustConnection | None = None
        self.repeated = 0

    async def open(self, url: str) -> None:
        """Raises what aio-pika raises."""
        self._connection = await aio_pika.connect_robust(url, timeout=10)
        self._channel = await self._connection.channel()
        exchange = await self._channel.get_exchange(WORK)
        queue = await self._channel.declare_queue(exclusive=True, auto_delete=True)
        for stage in self._stages:
            await queue.bind(exchange, stage)
        await queue.consume(self._keep, no_ack=True)
        self._exchange = exchange

    async def _keep(self, message: AbstractIncomingMessage) -> None:
        # A copy comes by here as well, and is the same.
        if len(self._seen) < MOST:
            self._seen.setdefault((message.routing_key, message.body), message)

    def of(self, turns: Iterable[str]) -> list[AbstractIncomingMessage]:
        """What was published for ``turns`` so far; for none: for whatever turn."""
        ids = [turn.encode() for turn in turns]
        return [message for message in self._seen.values() if not ids or any(one in message.body for one in ids)]

    async def repeat(self, turns: Iterable[str]) -> int:
        """Publish every message :meth:`of` ``turns`` once more, as it was; returns how many."""
        copies = self.of(turns)
        for message in copies:
            again = aio_pika.Message(
                message.body,
                headers=message.headers,
                content_type=message.content_type,
                content_encoding=message.content_encoding,
                delivery_mode=message.delivery_mode,
                message_id=message.message_id,
                correlation_id=message.correlation_id,
                expiration=message.expiration,
                timestamp=message.timestamp,
                type=message.type,
                app_id=message.app_id,
            )
            await self._exchange.publish(again, message.routing_key or "")
        self.repeated += len(copies)
        return len(copies)

    async def close(self) -> None:
        if self._connection is not None:
            with suppress(Exception):
                async with asyncio.timeout(5):
                    await self._connection.close()
