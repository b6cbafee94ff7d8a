"""Where the time of one turn goes, at low load: from the latency record that every ``turn.done`` carries.

Beside it stands what the broker alone takes for the three hops before a first token.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from bench.client import Session
from bench.house import House, Layout, Meter, house
from bench.stack import quantile
from bench.wire import open_socket
from parley_protocol.client import Done
from parley_protocol.events import Hop
from parley_protocol.routes import EVENTS, WORK, QueueSpec, Stage, event_queue, stage_queue, topology
from parley_runtime.amqp import AmqpBroker
from parley_runtime.ports import Delivery, Link, Message

TURNS = 300
WARM = 30
HOPS = 200
PACE_S = 0.02

_done = msgspec.json.Decoder(Done)


@dataclass
class Step:
    """Milliseconds of one part of the way; parts of ``to`` add up, medians only nearly."""

    to: str
    what: str
    p50: float
    p99: float


@dataclass
class OneTurn:
    """The steps, and CPU microseconds of a turn at low load, by kind of process."""

    steps: list[Step]
    cpu_us: dict[str, float]


@dataclass
class _Seen:
    asked: float
    first: float
    done: float
    record: Done


async def _bare(publish: Link, consume: Link, exchange: str, key: str, queue: QueueSpec, durable: bool) -> list[float]:
    """Milliseconds of single messages through one queue, over Parley's own links and with nothing behind them."""
    arrived: asyncio.Queue[float] = asyncio.Queue()
    acks: set[asyncio.Task[bool]] = set()

    def take(delivery: Delivery) -> None:
        arrived.put_nowait(time.perf_counter())
        task = asyncio.ensure_future(delivery.ack())
        acks.add(task)
        task.add_done_callback(acks.discard)

    subscription = await consume.subscribe(lambda: queue, take, prefetch=64)
    await subscription.wait_consuming(30)
    found = []
    for _ in range(WARM + HOPS):
        began = time.perf_counter()
        confirmed = asyncio.ensure_future(publish.publish(exchange, key, Message(b"x" * 500, durable=durable)))
        found.append((await arrived.get() - began) * 1000)
        await confirmed
        await asyncio.sleep(PACE_S)
    await subscription.cancel()
    return found[WARM:]


async def floor(amqp: str) -> list[Step]:
    """What the broker alone takes: a quorum queue's hop and an event queue's."""
    broker = AmqpBroker(amqp, name="bench-path", topology=topology())
    publish, consume = await broker.open("publish"), await broker.open("consume")
    try:
        work = topology().queue(stage_queue(Stage.GENERATE))
        quorum = await _bare(publish, consume, WORK, Stage.GENERATE.value, work, durable=True)
        events = await _bare(publish, consume, EVENTS, "bench", event_queue("bench", "path"), durable=False)
    finally:
        await broker.close()
    half = len(quorum) // 2
    three = [a + b + c for a, b, c in zip(quorum[:half], quorum[half:], events[half:], strict=True)]
    rows = (("one quorum hop", quorum), ("one event hop", events), ("two quorum hops and one event hop", three))
    return [Step("bare broker", what, quantile(found, 0.5), quantile(found, 0.99)) for what, found in rows]


async def _one(session: Session) -> _Seen:
    frames: list[bytes] = []
    over = asyncio.Event()
    usual = session.socket.on_frame
    assert usual is not None

    def take(frame: bytes) -> None:
        if b'"turn.done"' in frame:
            frames.append(frame)
            over.set()
        usual(frame)

    session.socket.on_frame = take
    asked = session.ask()
    await asyncio.wait_for(over.wait(), 20)
    session.socket.on_frame = usual
    return _Seen(asked.due, asked.first, asked.done, _done.decode(frames[0]))


def _hop(seen: _Seen, stage: str) -> Hop:
    return next(hop for hop in seen.record.latency.stages if hop.stage == stage)


def steps(all_seen: Sequence[_Seen]) -> list[Step]:
    """Each part's median and p99."""

    def step(to: str, what: str, value: Callable[[_Seen], float]) -> Step:
        found = [value(seen) for seen in all_seen]
        return Step(to, what, quantile(found, 0.5), quantile(found, 0.99))

    def first(seen: _Seen) -> float:
        return (seen.first - seen.asked) * 1000

    def parts(seen: _Seen) -> float:
        retrieve, generate = _hop(seen, "retrieve"), _hop(seen, "generate")
        return retrieve.wait_ms + retrieve.work_ms + generate.wait_ms + generate.first_ms

    rows = [
        ("first token", "quorum hop to rag (publish to taken)", lambda seen: _hop(seen, "retrieve").wait_ms),
        ("first token", "rag: claim, history, search, prompt", lambda seen: _hop(seen, "retrieve").work_ms),
        ("first token", "quorum hop to inference", lambda seen: _hop(seen, "generate").wait_ms),
        ("first token", "inference, to its first text", lambda seen: _hop(seen, "generate").first_ms),
        ("first token", "the rest: socket in, event hop, socket out", lambda seen: first(seen) - parts(seen)),
        ("first token", "sum, at the socket", first),
        ("beside", "accepted (confirm), by the gateway's clock", lambda seen: seen.record.latency.accepted_ms),
        ("turn.done", "from first token: rest of the answer, record hop, row", lambda s: (s.done - s.first) * 1000),
    ]
    return [step(*row) for row in rows]


async def measure(running: House, turns: int) -> OneTurn:
    """``turns`` turns, one at a time."""
    session = Session(await open_socket(running.ports[0], "/v1/connect"))
    await session.hello()
    for _ in range(WARM):
        await _one(session)
    seen, meter = list[_Seen](), Meter(running)
    meter.start()
    for _ in range(turns):
        seen.append(await _one(session))
        await asyncio.sleep(PACE_S)
    cost = meter.stop()
    return OneTurn(steps(seen), cost.per(turns))


async def run(folder: Path, amqp: str, quick: bool, say: Callable[[str], None]) -> OneTurn:
    """One process of each kind."""
    say("path: where the time of one turn goes")
    bare = await floor(amqp)
    async with house(folder / "path", amqp, Layout()) as running:
        found = await measure(running, 50 if quick else TURNS)
    return OneTurn(bare + found.steps, found.cpu_us)
