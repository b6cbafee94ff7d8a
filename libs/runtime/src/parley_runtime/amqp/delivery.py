"""A delivery and the channel ("lane") it came on."""

import asyncio
from collections.abc import Callable
from typing import Any

from aiormq import spec
from aiormq.abc import DeliveredMessage
from aiormq.channel import Channel
from aiormq.exceptions import ChannelInvalidStateError

from parley_runtime.amqp import meters
from parley_runtime.amqp.faults import WireError, reason_of, wire_errors
from parley_runtime.ports import OnDelivery
from parley_runtime.telemetry.logging import get_logger

ANSWER_S = 5.0
"""Wait for a channel's answer; then what it delivered counts as lost."""

_log = get_logger(__name__)


class Lane:
    """One consumer channel: hands deliveries over in order and settles them. ``lost`` is set, to the reason, when the
    channel closes or the broker cancels the consumer.
    """

    def __init__(self, channel: Channel, queue: str, label: str, on_delivery: OnDelivery) -> None:
        self.channel = channel
        self.queue = queue
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.settled_to = 0
        self._label = label
        self._count = {flag: meters.delivery_counter(label, redelivered=flag) for flag in (False, True)}
        self._on_delivery = on_delivery
        self.handing_over = True
        channel.on_consumer_cancel_callbacks.add(self._cancelled)
        channel.closing.add_done_callback(self._closed)

    @property
    def alive(self) -> bool:
        return not self.channel.is_closed

    async def receive(self, message: DeliveredMessage) -> None:
        """aiormq starts one task for each delivery, in order; there is no await before the hand-over."""
        if not self.handing_over:
            return
        delivery = AmqpDelivery(self, message)
        self._count[delivery.redelivered]()
        try:
            self._on_delivery(delivery)
        except Exception:
            _log.exception("on_delivery_failed", queue=self._label)
            await delivery.reject()

    async def settle(self, send: Callable[[], Any]) -> bool:
        """True if the frame was handed to a channel that was open."""
        if not self.alive:
            return False
        try:
            await send()
        except ChannelInvalidStateError:
            return False
        return self.alive

    async def answers(self) -> bool:
        """One round trip on the channel. Without an answer in time aiormq closes it."""
        if not self.alive:
            return False
        try:
            async with asyncio.timeout(ANSWER_S):
                with wire_errors():
                    # Changes nothing. Not a qos: one for consumers to come lifts the limit that consuming.py sets.
                    await self.channel.flow(active=True)
        except (TimeoutError, WireError):
            return False
        return self.alive

    def _cancelled(self, _: spec.Basic.Cancel) -> None:
        self._lose("the broker cancelled the consumer")

    def _closed(self, closing: asyncio.Future[Any]) -> None:
        error = None if closing.cancelled() else closing.exception()
        self._lose(reason_of(error) if error is not None else "the channel closed")

    def _lose(self, reason: str) -> None:
        if not self.lost.done():
            self.lost.set_result(reason)


class AmqpDelivery:
    """Implements :class:`parley_runtime.ports.Delivery`."""

    __slots__ = ("_headers", "_lane", "_settled", "_tag", "body", "redelivered")

    def __init__(self, lane: Lane, message: DeliveredMessage) -> None:
        frame = message.delivery
        assert isinstance(frame, spec.Basic.Deliver)
        self._lane = lane
        self._headers: dict[str, Any] = message.header.properties.headers or {}
        self._tag = int(frame.delivery_tag or 0)
        self._settled = False
        self.body: bytes = message.body
        self.redelivered: bool = bool(frame.redelivered)

    @property
    def headers(self) -> dict[str, str | int]:
        """Headers of the publisher, without any the broker added."""
        return {k: v for k, v in self._headers.items() if not k.startswith("x-") and isinstance(v, str | int)}

    @property
    def queue(self) -> str:
        return self._lane.queue

    @property
    def delivery_count(self) -> int | None:
        """RabbitMQ says nothing at a quorum queue's first delivery, and never for a classic queue."""
        count = self._headers.get("x-delivery-count")
        return count if isinstance(count, int) else None

    @property
    def death(self) -> tuple[str, str] | None:
        """(reason, queue) of the last dead-lettering; RabbitMQ puts the latest first in ``x-death``."""
        deaths = self._headers.get("x-death")
        if isinstance(deaths, list) and deaths and isinstance(deaths[0], dict):
            return str(deaths[0].get("reason", "")), str(deaths[0].get("queue", ""))
        return None

    @property
    def alive(self) -> bool:
        return self._lane.alive

    async def proven(self) -> bool:
        """As the port says: a channel that answers still holds what it delivered, and answers come in order."""
        return await self._lane.answers()

    async def ack(self, *, multiple: bool = False) -> bool:
        """Settle this delivery (and all before it on its subscription); False if that is no longer possible."""
        if not self._settle():
            return False
        if multiple:
            self._lane.settled_to = self._tag
        channel, tag = self._lane.channel, self._tag
        return await self._lane.settle(lambda: channel.basic_ack(tag, multiple=multiple, wait=False))

    async def reject(self) -> bool:
        """Dead-letter this delivery; False if that is no longer possible."""
        if not self._settle():
            return False
        channel, tag = self._lane.channel, self._tag
        return await self._lane.settle(lambda: channel.basic_reject(tag, requeue=False, wait=False))

    def _settle(self) -> bool:
        if self._settled or self._tag <= self._lane.settled_to:
            return False
        self._settled = True
        return True
