"""Confirmed, pipelined publishing under one total deadline."""

import asyncio
import time

from aiormq import spec
from aiormq.channel import Channel
from aiormq.exceptions import ChannelInvalidStateError, ChannelNotFoundEntity, DeliveryError, PublishError

from parley_runtime.amqp import meters
from parley_runtime.amqp.faults import WireError, wire_errors
from parley_runtime.amqp.supervisor import Supervisor
from parley_runtime.errors import OutcomeUnknown, ParleyError, Refused, Unavailable, Unroutable
from parley_runtime.ports import Message

WINDOW = 1000
"""Publishes in flight on one link; others wait for their turn within their own deadline."""

DRAIN_BYTES = 16 * 1024
"""A body of this size waits for the socket, so that the window bounds memory as well."""


class Publisher:
    """One confirm channel. A cancelled publish leaves the others' confirms in step; a dead channel is replaced."""

    def __init__(self, supervisor: Supervisor, *, window: int = WINDOW) -> None:
        self._supervisor = supervisor
        self._window = asyncio.Semaphore(window)
        self._opening = asyncio.Lock()
        self._waiting = 0
        self._meter = meters.PublishMeter()
        self._channel: Channel | None = None

    async def publish(self, exchange: str, key: str, message: Message, *, timeout_s: float, mandatory: bool) -> None:
        """As :meth:`parley_runtime.ports.Link.publish`."""
        started = time.perf_counter()
        outcome = "cancelled"
        try:
            await self._publish(exchange, key, message, timeout_s=timeout_s, mandatory=mandatory)
            outcome = meters.CONFIRMED
        except ParleyError as error:
            outcome = type(error).__name__.lower()
            raise
        finally:
            self._meter.count(exchange, outcome, time.perf_counter() - started)

    async def _publish(self, exchange: str, key: str, message: Message, *, timeout_s: float, mandatory: bool) -> None:
        written = False
        try:
            async with asyncio.timeout(timeout_s), self._window:
                while True:
                    channel = await self._ready()
                    written = True
                    try:
                        return await _send(channel, exchange, key, message, mandatory=mandatory)
                    except ChannelInvalidStateError:
                        written = False  # it was closed before the write
        except TimeoutError:
            where = f"exchange {exchange!r} within {timeout_s:g} s"
            if written:
                raise OutcomeUnknown(f"no confirm from {where}; publish it again") from None
            raise Unavailable(f"could not publish to {where}: {self._supervisor.why()}") from None

    def _usable(self) -> Channel | None:
        channel = self._channel
        if channel is None or channel.is_closed or self._supervisor.wire is None:
            return None
        return channel

    async def _ready(self) -> Channel:
        """The open channel. Callers are served in the order in which they came."""
        if not self._waiting and (channel := self._usable()):
            return channel
        self._waiting += 1
        try:
            async with self._opening:
                while (channel := self._usable()) is None:
                    await self._open()
                return channel
        finally:
            self._waiting -= 1

    async def _open(self) -> None:
        wire = await self._supervisor.writable()
        try:
            self._channel = await wire.open_channel(confirms=True)
        except WireError:
            # The wire is going; the supervisor replaces it.
            await asyncio.sleep(0.01)


async def _send(channel: Channel, exchange: str, key: str, message: Message, *, mandatory: bool) -> None:
    try:
        with wire_errors():
            await _basic_publish(channel, exchange, key, message, mandatory=mandatory)
    except WireError as error:
        raise _outcome(error, exchange, key) from error


def _outcome(error: WireError, exchange: str, key: str) -> Exception:
    cause = error.__cause__
    if isinstance(cause, ChannelInvalidStateError):
        return cause
    if isinstance(cause, PublishError):
        return Unroutable(f"no queue takes {key!r} from exchange {exchange!r}")
    if isinstance(cause, DeliveryError):
        return Refused(f"a queue behind exchange {exchange!r}, key {key!r}, is full")
    if isinstance(cause, ChannelNotFoundEntity) and f"exchange '{exchange}'" in str(error):
        return Unroutable(f"exchange {exchange!r} does not exist")
    return OutcomeUnknown(f"exchange {exchange!r}: {error} before the confirm; publish it again")


async def _basic_publish(channel: Channel, exchange: str, key: str, message: Message, *, mandatory: bool) -> None:
    expiration = None if message.expires_s is None else str(max(0, int(message.expires_s * 1000)))
    await channel.basic_publish(
        message.body,
        exchange=exchange,
        routing_key=key,
        mandatory=mandatory,
        wait=len(message.body) >= DRAIN_BYTES,
        properties=spec.Basic.Properties(
            headers=dict(message.headers) if message.headers else None,
            delivery_mode=2 if message.durable else 1,
            expiration=expiration,
        ),
    )
