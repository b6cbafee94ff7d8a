"""Quorum queues that lost their leader for good.

A queue that was declared a moment before its broker was killed may be in the broker's books and not on its disk: it
then never gets a leader, takes no message and answers a consumer with silence. Only deleting it helps, and nothing
that could be read is lost by that. A queue is deleted only while it is young: a second queue, declared before it by
whoever found it missing, expires a minute later and stands for that.
"""

import asyncio

from parley_protocol.routes import QueueSpec
from parley_runtime.amqp.faults import WireError, wire_errors
from parley_runtime.amqp.topology import DECLARE_S, declare_queue
from parley_runtime.amqp.wire import Wire

NOT_FOUND = 404
LOCKED = 405
YOUNG_S = 60.0
DELETE_S = 20.0
"""RabbitMQ waits 5 s for a leader before it deletes without one."""


async def mark_new(wire: Wire, queues: tuple[QueueSpec, ...]) -> None:
    """Mark those quorum queues that do not exist yet as young. Call it before they are declared.

    Raises WireError: the wire failed, or took longer than 15 s.
    """
    try:
        async with asyncio.timeout(DECLARE_S):
            await _mark_new(wire, queues)
    except TimeoutError:
        raise WireError(f"the broker did not tell within {DECLARE_S:g} s which queues exist", quick=False) from None


async def replace(wire: Wire, queue: QueueSpec) -> bool:
    """Delete a young ``queue`` and declare it anew. False: it is not young, or another process is at it.

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


async def _mark_new(wire: Wire, queues: tuple[QueueSpec, ...]) -> None:
    channel = await wire.open_channel()
    for queue in queues:
        if not is_quorum(queue):
            continue
        try:
            with wire_errors():
                await channel.queue_declare(queue.name, passive=True)
        except WireError as error:
            if error.reply_code != NOT_FOUND:
                raise
            channel = await wire.open_channel()  # the one before was closed with the answer
            with wire_errors():
                await channel.queue_declare(_mark(queue), durable=True, arguments={"x-expires": int(YOUNG_S * 1000)})
    with wire_errors():
        await channel.close()


async def _replace(wire: Wire, queue: QueueSpec) -> bool:
    channel = await wire.open_channel()
    try:
        with wire_errors():
            # One at a time: nobody may delete what another has just declared anew.
            await channel.queue_declare(f"{queue.name}.replacing", exclusive=True, auto_delete=True)
            await channel.queue_declare(_mark(queue), passive=True)
    except WireError as error:
        if error.reply_code in (NOT_FOUND, LOCKED):
            return False
        raise
    with wire_errors():
        await channel.queue_delete(queue.name)
        await channel.queue_delete(_mark(queue))
    await declare_queue(channel, queue)
    with wire_errors():
        await channel.queue_delete(f"{queue.name}.replacing")
        await channel.close()
    return True


def _mark(queue: QueueSpec) -> str:
    return f"{queue.name}.young"
