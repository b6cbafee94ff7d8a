"""Idempotent declaration, on a channel of its own: a refused declare closes its channel and nothing else."""

import asyncio

from aiormq.channel import Channel

from parley_protocol.routes import QueueSpec, Topology
from parley_runtime.amqp.faults import WireError, wire_errors
from parley_runtime.amqp.wire import Wire
from parley_runtime.errors import ConfigError

DECLARE_S = 15.0
PRECONDITION_FAILED = 406


async def declare(wire: Wire, topology: Topology) -> None:
    """Declare exchanges, then queues with their bindings, within 15 s.

    Raises:
        ConfigError: something of that name exists with other arguments.
        WireError: the wire failed or was too slow.
    """
    try:
        async with asyncio.timeout(DECLARE_S):
            channel = await wire.open_channel()
            for exchange in topology.exchanges:
                with _mismatch("exchange", exchange.name), wire_errors():
                    await channel.exchange_declare(exchange.name, exchange_type=exchange.kind, durable=True)
            for queue in topology.queues:
                await declare_queue(channel, queue)
            with wire_errors():
                await channel.close()
    except TimeoutError:
        raise WireError(f"the topology was not declared within {DECLARE_S:g} s", quick=False) from None


async def declare_queue(channel: Channel, queue: QueueSpec) -> None:
    """Declare a durable queue and its bindings on ``channel``, which is lost if the broker refuses.

    Raises:
        ConfigError: a queue of that name exists with other arguments.
        WireError: the channel failed.
    """
    with _mismatch("queue", queue.name), wire_errors():
        await channel.queue_declare(queue.name, durable=True, arguments=dict(queue.arguments))
    for exchange, key in queue.bindings:
        with wire_errors():
            await channel.queue_bind(queue.name, exchange, key)


class _mismatch:
    """Turns the broker's PRECONDITION_FAILED into words that name the thing and the way out."""

    def __init__(self, kind: str, name: str) -> None:
        self._kind, self._name = kind, name

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, WireError) and error.reply_code == PRECONDITION_FAILED:
            command = f"rabbitmqctl delete_queue {self._name}" if self._kind == "queue" else "the management page"
            raise ConfigError(
                f"{self._kind} {self._name!r} exists with other arguments ({error}). Let its messages be worked off, "
                f"delete it ({command}) and start again; it is then declared anew."
            ) from error
