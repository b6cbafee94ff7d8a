"""Waits until a broker that was just started lets us log in."""

import asyncio
from pathlib import Path

from parley_client.up.amqp_probe import probe
from parley_client.up.child import Child
from parley_client.up.errors import BrokerRefused, BrokerUnreachable, NotABroker, UpError
from parley_client.up.policy import describe_end

_PAUSE = 0.1


async def wait_ready(url: str, child: Child, within: float) -> str:
    """Returns what the broker calls itself once a login succeeds.

    Raises UpError with the last log lines when `child` ends first, when `within` seconds pass, or when the broker
    refuses the login that it was given.
    """
    ended = asyncio.ensure_future(child.wait())
    try:
        async with asyncio.timeout(within):
            while not ended.done():
                try:
                    return await probe(url, within=2.0)
                except (BrokerUnreachable, NotABroker):  # a published port answers before the broker behind it does
                    await asyncio.wait([ended], timeout=_PAUSE)
    except BrokerRefused as error:
        raise UpError(f"{error} Its data is from another login: remove {_folder(child)} to start afresh.") from None
    except TimeoutError:
        raise UpError(f"RabbitMQ accepted no login within {within:g} s.{tail(child)}") from None
    finally:
        ended.cancel()
    raise UpError(f"RabbitMQ ended {describe_end(child.code or 0)} before it was ready.{tail(child)}")


def tail(child: Child) -> str:
    """The last log lines of a process, to be added to a message."""
    lines = "".join(f"\n    {line[:300]}" for line in list(child.tail)[-6:])
    return f" Its last lines (all of them in {child.command.log}):{lines}" if lines else f" See {child.command.log}."


def _folder(child: Child) -> Path:
    return child.command.cwd or child.command.log.parent
