"""Confirmed, pipelined publishing under one total deadline."""

import asyncio
import itertools
import time
from collections.abc import Callable
from typing import Any

from aiormq.abc import ChannelFrame
from aiormq.channel import Channel
from aiormq.exceptions import ChannelNotFoundEntity, DeliveryError, PublishError

from parley_runtime.amqp import framing, meters
from parley_runtime.amqp.faults import WireError, wire_errors
from parley_runtime.amqp.supervisor import Supervisor
from parley_runtime.errors import OutcomeUnknown, ParleyError, Refused, Unavailable, Unroutable
from parley_runtime.ports import Message

WINDOW = 1000
"""Publishes in flight on one link; others wait for their turn within their own deadline."""

OnUnroutable = Callable[[str, str], None]
"""Called with exchange and key of a message that no queue took."""

FULL_S = 0.001
"""How soon a write is tried again that found the connection's queue full."""


class Publisher:
    """One confirm channel. A cancelled publish leaves the others' confirms in step; a dead channel is replaced."""

    def __init__(self, supervisor: Supervisor, on_unroutable: OnUnroutable, *, window: int = WINDOW) -> None:
        self._supervisor = supervisor
        self._on_unroutable = on_unroutable
        self._window = asyncio.Semaphore(window)
        self._opening = asyncio.Lock()
        self._waiting = 0
        self._meter = meters.PublishMeter()
        self._outbox: _Outbox | None = None

    async def publish(self, exchange: str, key: str, message: Message, *, timeout_s: float, mandatory: bool) -> None:
        """As :meth:`parley_runtime.ports.Link.publish`."""
        started = time.perf_counter()
        outcome = "cancelled"
        try:
            await self._publish(exchange, key, message, timeout_s=timeout_s, mandatory=mandatory)
            outcome = meters.CONFIRMED
        except ParleyError as error:
            outcome = type(error).__name__.lower()
            if isinstance(error, Unroutable):
                self._on_unroutable(exchange, key)
            raise
        finally:
            self._meter.count(exchange, outcome, time.perf_counter() - started)

    async def _publish(self, exchange: str, key: str, message: Message, *, timeout_s: float, mandatory: bool) -> None:
        written = False
        try:
            async with asyncio.timeout(timeout_s), self._window:
                outbox = await self._ready()
                confirmation = outbox.put(exchange, key, message, mandatory=mandatory)
                written = True
                await _confirm(confirmation, exchange, key)
        except TimeoutError:
            where = f"exchange {exchange!r} within {timeout_s:g} s"
            if written:
                raise OutcomeUnknown(f"no confirm from {where}; publish it again") from None
            raise Unavailable(f"could not publish to {where}: {self._supervisor.why()}") from None

    def _usable(self) -> "_Outbox | None":
        outbox = self._outbox
        if outbox is None or outbox.channel.is_closed or self._supervisor.wire is None:
            return None
        return outbox

    async def _ready(self) -> "_Outbox":
        """The open channel's. Callers are served in the order in which they came."""
        if not self._waiting and (outbox := self._usable()):
            return outbox
        self._waiting += 1
        try:
            async with self._opening:
                while (outbox := self._usable()) is None:
                    await self._open()
                return outbox
        finally:
            self._waiting -= 1

    async def _open(self) -> None:
        wire = await self._supervisor.writable()
        if self._usable() is not None:
            return  # the broker reads again; the channel was only waiting for that
        try:
            self._outbox = _Outbox(await wire.open_channel(confirms=True))
        except WireError:
            # The wire is going; the supervisor replaces it.
            await asyncio.sleep(0.01)


async def _confirm(confirmation: "asyncio.Future[Any]", exchange: str, key: str) -> None:
    try:
        with wire_errors():
            # A future that its caller cancelled would break aiormq's reader when the broker answers in the same moment.
            await asyncio.shield(confirmation)
    except WireError as error:
        raise _outcome(error, exchange, key) from error


def _outcome(error: WireError, exchange: str, key: str) -> ParleyError:
    cause = error.__cause__
    if isinstance(cause, PublishError):
        return Unroutable(f"no queue takes {key!r} from exchange {exchange!r}")
    if isinstance(cause, DeliveryError):
        return Refused(f"a queue behind exchange {exchange!r}, key {key!r}, is full")
    if isinstance(cause, ChannelNotFoundEntity) and f"exchange '{exchange}'" in str(error):
        return Unroutable(f"exchange {exchange!r} does not exist")
    return OutcomeUnknown(f"exchange {exchange!r}: {error} before the confirm; publish it again")


class _Outbox:
    """Writes to one confirm channel. Numbering and queueing a publish is one synchronous step, so a cancelled caller
    cannot put the confirms out of step; what is published in one turn of the loop leaves in one write.
    """

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self._loop = asyncio.get_running_loop()
        self._ids = itertools.count(1)
        self._pending: list[bytes] = []

    def put(self, exchange: str, key: str, message: Message, *, mandatory: bool) -> "asyncio.Future[Any]":
        """The future of the broker's confirm. Raises ValueError for a routing key of over 255 bytes."""
        channel = self.channel
        message_id = str(next(self._ids))
        payload = framing.publish(
            channel.number,
            exchange,
            key,
            message,
            message_id,
            mandatory=mandatory,
            max_body=channel.max_content_size,
        )
        channel.delivery_tag += 1
        tag = channel.delivery_tag
        confirmation = channel.confirmations[tag] = channel.create_future()
        if mandatory:
            # aiormq finds the confirm of a returned message by its id.
            channel.message_id_delivery_tag[message_id] = tag
            confirmation.add_done_callback(lambda _: channel.message_id_delivery_tag.pop(message_id, None))
        if not self._pending:
            self._loop.call_soon(self._flush)
        self._pending.append(payload)
        return confirmation

    def _flush(self) -> None:
        if self.channel.is_closed:
            self._pending.clear()  # their futures have failed with the channel
            return
        try:
            self.channel.write_queue.put_nowait(ChannelFrame(b"".join(self._pending), should_close=False))
        except asyncio.QueueFull:
            self._loop.call_later(FULL_S, self._flush)
            return
        self._pending.clear()
