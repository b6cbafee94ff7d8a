"""Copies of the work messages that pass through the broker, to deliver them once more."""

import asyncio
from collections.abc import Iterable
from contextlib import suppress

import aio_pika
from aio_pika.abc import AbstractIncomingMessage, AbstractRobustConnection

from parley_protocol.routes import WORK, Stage

STAGES = (Stage.RETRIEVE, Stage.GENERATE, Stage.RECORD)
MOST = 2000


class Copies:
    """A queue of its own beside the stages' queues; sees what is published from :meth:`open` on."""

    def __init__(self) -> None:
        self._seen: list[AbstractIncomingMessage] = []
        self._connection: AbstractRobustConnection | None = None
        self._tag = ""
        self.repeated = 0

    async def open(self, url: str) -> None:
        """Raises what aio-pika raises."""
        self._connection = await aio_pika.connect_robust(url, timeout=10)
        self._channel = await self._connection.channel()
        exchange = await self._channel.get_exchange(WORK)
        queue = await self._channel.declare_queue(exclusive=True, auto_delete=True)
        for stage in STAGES:
            await queue.bind(exchange, stage)
        await queue.consume(self._keep, no_ack=True)
        self._exchange = exchange

    async def _keep(self, message: AbstractIncomingMessage) -> None:
        self._seen.append(message)
        del self._seen[:-MOST]

    def of(self, turn: str) -> list[AbstractIncomingMessage]:
        """What was published for ``turn`` so far; the repeated ones are left out."""
        return [message for message in self._seen if turn.encode() in message.body and not message.headers.get("copy")]

    async def repeat(self, turns: Iterable[str]) -> int:
        """Publish every message of ``turns`` once more, as it was; returns how many."""
        copies = [message for turn in turns for message in self.of(turn)]
        for message in copies:
            again = aio_pika.Message(
                message.body,
                headers={**message.headers, "copy": "1"},
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
