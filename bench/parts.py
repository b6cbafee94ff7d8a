"""The parts behind decisions of ARCHITECTURE.md: ``python -m bench.parts`` prints each with its alternative.

Processor time of confirmed publishes, ours and aio-pika in turn on one broker; wall time of a claim and a close.
"""

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import aio_pika
import uvloop

from bench.broker import broker
from bench.stack import quantile
from parley_protocol.events import TurnStatus
from parley_protocol.ids import TurnKey
from parley_protocol.routes import WORK, Stage, topology
from parley_protocol.work import Record
from parley_runtime.amqp import AmqpBroker
from parley_runtime.ports import Message
from parley_runtime.store import open_store

MESSAGES = 10_000
IN_FLIGHT = 500
ROUNDS = 3
CLAIMS = 1000
BODY = b"x" * 200


async def cpu_us(publish: Callable[[], Awaitable[object]]) -> float:
    """Microseconds of this process's CPU per confirmed publish, ``IN_FLIGHT`` at a time."""

    async def one() -> None:
        for _ in range(MESSAGES // IN_FLIGHT):
            await publish()

    began = time.process_time()
    await asyncio.gather(*(one() for _ in range(IN_FLIGHT)))
    return (time.process_time() - began) / MESSAGES * 1e6


async def publishing(amqp: str) -> list[str]:
    """Rows for ours and aio-pika, best of ``ROUNDS`` each, in turn."""
    ours = AmqpBroker(amqp, name="bench-parts", topology=topology(0))
    link = await ours.open("publish")
    connection = await aio_pika.connect(amqp)
    channel = await connection.channel()
    exchange = await channel.get_exchange(WORK)
    message = Message(BODY, durable=False)

    def theirs() -> Awaitable[object]:
        return exchange.publish(aio_pika.Message(BODY), Stage.GENERATE.value)

    rows: dict[str, list[float]] = {"runtime/amqp": [], "aio-pika": []}
    try:
        for _ in range(ROUNDS):
            rows["runtime/amqp"].append(await cpu_us(lambda: link.publish(WORK, Stage.GENERATE, message, timeout_s=60)))
            rows["aio-pika"].append(await cpu_us(theirs))
    finally:
        await channel.queue_delete("parley.generate")
        await connection.close()
        await ours.close()
    return [f"| confirmed publish, {name} | {min(values):.0f} us CPU |" for name, values in rows.items()]


async def storing(folder: Path) -> list[str]:
    """Rows for claim and close on SQLite, one at a time."""
    store = await open_store(f"sqlite+aiosqlite:///{folder}/parts.db")
    claims, closes = [], []
    try:
        for number in range(CLAIMS):
            key = TurnKey("bench", "session", str(number))
            began = time.perf_counter()
            await store.claim_first(key, submission="s", digest="d", question="what is a fence?")
            claims.append((time.perf_counter() - began) * 1000)
            record = Record(
                key=key, submission="s", budget_s=60.0, base=1, fence=1, status=TurnStatus.COMPLETED, text="an answer"
            )
            began = time.perf_counter()
            await store.close(record)
            closes.append((time.perf_counter() - began) * 1000)
    finally:
        await store.aclose()
    return [
        f"| {name}, SQLite | p50 {quantile(times, 0.5):.2f} ms, p99 {quantile(times, 0.99):.2f} ms |"
        for name, times in (("claim", claims), ("close", closes))
    ]


async def everything(amqp: str, folder: Path) -> str:
    """The table."""
    rows = [*await publishing(amqp), *await storing(folder)]
    return "\n".join(["| part | cost |", "|---|---|", *rows])


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="parley-parts-") as name:
        folder = Path(name)
        with broker(folder / "broker") as amqp:
            print(uvloop.run(everything(amqp, folder)))


if __name__ == "__main__":
    main()
