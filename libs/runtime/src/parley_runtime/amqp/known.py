"""Which queues were ever declared here, asked without an error in the broker's log.

To ask for a queue that is not there by a passive declare is an error to the broker, which closes the channel and says
so in its log: a first start would look like a failure. A declared queue is therefore remembered by a durable binding
between two exchanges, its name being the key: a mandatory message goes through to the asker's own queue, or returns.
Exchanges and bindings, unlike a marker queue, are there whichever node of a cluster is down.
"""

import asyncio
import secrets
from collections.abc import Collection, Sequence

from aiormq import spec
from aiormq.channel import Channel
from aiormq.exceptions import PublishError

from parley_runtime.amqp.faults import WireError, wire_errors
from parley_runtime.amqp.wire import Wire

ASKED = "parley.declared"
"""Direct. A question's key is a queue's name; the bindings are what is remembered."""

ANSWERED = "parley.declared.yes"
"""Fanout, to the queues of those who ask at the moment."""

ASKER_EXPIRES_MS = 60_000
"""An asker's queue goes with its question; where that failed, with its connection or after this time."""


async def unknown(wire: Wire, names: Sequence[str]) -> frozenset[str]:
    """Those of ``names`` that were never given to :func:`remember`. Raises WireError."""
    channel = await wire.open_channel(confirms=True)
    mine = f"{ASKED}.{secrets.token_hex(8)}"
    with wire_errors():
        await channel.exchange_declare(ASKED, exchange_type="direct", durable=True)
        await channel.exchange_declare(ANSWERED, exchange_type="fanout", durable=True)
        await channel.queue_declare(mine, exclusive=True, arguments={"x-expires": ASKER_EXPIRES_MS})
        await channel.queue_bind(mine, ANSWERED)
    known = await asyncio.gather(*(_is_known(channel, name) for name in names))
    with wire_errors():
        await channel.queue_delete(mine)
        await channel.close()
    return frozenset(name for name, yes in zip(names, known, strict=True) if not yes)


async def remember(wire: Wire, names: Collection[str]) -> None:
    """Keep for as long as the virtual host exists that queues of these names were declared. Call it after they were;
    after :func:`unknown`, which declares the exchanges. Idempotent. Raises WireError.
    """
    channel = await wire.open_channel()
    with wire_errors():
        for name in names:
            await channel.exchange_bind(ANSWERED, ASKED, name)
        await channel.close()


async def _is_known(channel: Channel, name: str) -> bool:
    try:
        with wire_errors():
            properties = spec.Basic.Properties(delivery_mode=1)
            await channel.basic_publish(b"", exchange=ASKED, routing_key=name, properties=properties, mandatory=True)
    except WireError as error:
        if isinstance(error.__cause__, PublishError):
            return False
        raise
    return True
