"""Quorum queues that lost their leader for good.

A queue that was declared a moment before its broker was killed may be in the broker's books and not on its disk: it
then never gets a leader, takes no message and answers a consumer with silence. Only deleting it helps, and nothing
that could be read is lost by that. A queue is deleted only while it is young: a second queue, declared before it by
whoever found it missing, expires a minute later and stands for that. One that tells of a message or a consumer has a
leader, on a broker that is merely slow, and is left alone.
"""

import asyncio
import enum
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager

from aiormq.channel import Channel

from parley_protocol.routes import QueueSpec, Topology
from parley_runtime.amqp.faults import WireError, wire_errors
from parley_runtime.amqp.known import remember, unknown
from parley_runtime.amqp.topology import DECLARE_S, declare, declare_queue
from parley_runtime.amqp.wire import Wire
from parley_runtime.telemetry.logging import get_logger

NOT_FOUND = 404
LOCKED = 405
YOUNG_S = 60.0
DELETE_S = 20.0
"""RabbitMQ waits 5 s for a leader before it deletes without one."""


LOOKS = 12
LOOK_EVERY_S = 0.25
"""A broker gives a queue's leader 250 ms to tell its depth and then says 0: one 0 says little."""

_log = get_logger(__name__)


class Found(enum.Enum):
    """What became of a silent queue."""

    REPLACED = "replaced"
    NOT_YOUNG = "not young, or another process is at it"
    ANSWERS = "it has messages or consumers, so it has a leader"


async def prepare(wire: Wire, topology: Topology) -> None:
    """Declare ``topology``, within 45 s, and mark those of its quorum queues as young that did not exist.

    On a broker that has none of them yet nothing of this is an error in its log. A queue that was declared before and
    deleted since is one, once.

    Raises:
        ConfigError: something of a name exists with other arguments.
        WireError: the wire failed or was too slow.
    """
    names = [queue.name for queue in topology.queues if is_quorum(queue)]
    async with _at_most("the broker did not tell which queues exist"):
        new = await unknown(wire, names) if names else frozenset()
        await _mark(wire, names, new)
    await declare(wire, topology)
    if new:
        async with _at_most("the broker did not keep which queues were declared"):
            await remember(wire, new)


async def replace(wire: Wire, queue: QueueSpec) -> Found:
    """Delete a silent ``queue`` and declare it anew, if it is young and tells of nothing for 3 s.

    Raises WireError: the wire failed, or took longer than 20 s.
    """
    try:
        async with asyncio.timeout(DELETE_S):
            return await _replace(wire, queue)
    except TimeoutError:
        raise WireError(f"queue {queue.name!r} could not be replaced within {DELETE_S:g} s", quick=False) from None


def is_quorum(queue: QueueSpec) -> bool:
    """Whether the queue has a leader at all."""
    return queue.arguments.get("x-queue-type") == "quorum"


@asynccontextmanager
async def _at_most(otherwise: str) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(DECLARE_S):
            yield
    except TimeoutError:
        raise WireError(f"{otherwise} within {DECLARE_S:g} s", quick=False) from None


async def _mark(wire: Wire, names: Sequence[str], new: Collection[str]) -> None:
    """Mark as young what is ``new``, and what turns out to have been deleted."""
    channel = await wire.open_channel()
    for name in names:
        if name not in new:
            try:
                with wire_errors():
                    await channel.queue_declare(name, passive=True)
                continue
            except WireError as error:
                if error.reply_code != NOT_FOUND:
                    raise
                channel = await wire.open_channel()  # the one before was closed with the answer
        with wire_errors():
            await channel.queue_declare(_young(name), durable=True, arguments={"x-expires": int(YOUNG_S * 1000)})
    with wire_errors():
        await channel.close()


async def _replace(wire: Wire, queue: QueueSpec) -> Found:
    channel = await wire.open_channel()
    try:
        with wire_errors():
            # One at a time: nobody may delete what another has just declared anew.
            await channel.queue_declare(_lock(queue.name), exclusive=True, auto_delete=True)
            await channel.queue_declare(_young(queue.name), passive=True)
    except WireError as error:
        if error.reply_code in (NOT_FOUND, LOCKED):
            return Found.NOT_YOUNG
        raise
    answers = await _answers(channel, queue.name)
    if not answers:
        with wire_errors():
            deleted = await channel.queue_delete(queue.name)
            await channel.queue_delete(_young(queue.name))
        if deleted.message_count:
            _log.error("queue_replaced_with_messages", queue=queue.name, messages=deleted.message_count)
        await declare_queue(channel, queue)
    with wire_errors():
        await channel.queue_delete(_lock(queue.name))
        await channel.close()
    return Found.ANSWERS if answers else Found.REPLACED


async def _answers(channel: Channel, name: str) -> bool:
    for _ in range(LOOKS):
        with wire_errors():
            depth = await channel.queue_declare(name, passive=True)
        if depth.message_count or depth.consumer_count:
            return True
        await asyncio.sleep(LOOK_EVERY_S)
    return False


def _young(name: str) -> str:
    return f"{name}.young"


def _lock(name: str) -> str:
    return f"{name}.replacing"
