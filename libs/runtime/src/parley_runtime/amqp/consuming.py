"""Consuming so that the broker says when the queue is gone.

A channel of RabbitMQ before 4.0 that learns of a deleted queue only when somebody has declared it anew does not cancel
its consumers: it consumes from the new queue in their stead and then forgets that it did. The new queue goes on
delivering to it, and what it delivers vanishes until the channel closes; the client hears nothing at all. From 4.0 on a
channel always cancels. Before, it does so where it is asked to by an argument (classic queues), or where it cannot
consume anew: a quorum queue refuses a channel that has a limit for all its consumers together.
"""

from typing import Any

from aiormq.abc import ConsumerCallback
from aiormq.channel import Channel
from pamqp.common import FieldValue

from parley_protocol.routes import QueueSpec
from parley_runtime.amqp.faults import wire_errors
from parley_runtime.amqp.leaderless import is_quorum
from parley_runtime.amqp.wire import Wire

ALWAYS_CANCELS = 4
"""The first major version that needs no help."""

NO_LIMIT = 65535
"""The highest limit there is. A quorum queue that was consumed from before it was set does not heed it."""

CANCEL: dict[str, FieldValue] = {"x-cancel-on-ha-failover": True}


async def consume(wire: Wire, channel: Channel, queue: QueueSpec, receive: ConsumerCallback) -> None:
    """Start the one consumer of ``channel``, a channel of ``wire``. When ``queue`` is deleted, even if it is declared
    anew at once, the broker cancels the consumer. Raises WireError.
    """
    helped = major_version(wire.server_properties) < ALWAYS_CANCELS
    arguments = CANCEL if helped and not is_quorum(queue) else None
    with wire_errors():
        await channel.basic_consume(queue.name, receive, arguments=arguments)
        if helped and is_quorum(queue):
            await channel.basic_qos(prefetch_count=NO_LIMIT, global_=True)


def major_version(properties: dict[str, Any]) -> int:
    """Of a broker that tells it, as RabbitMQ does ("3.10.8"); of any other that of today's."""
    major = str(properties.get("version", "")).partition(".")[0]
    return int(major) if major.isdecimal() else ALWAYS_CANCELS
