"""One typed turn at a time over three broker hops, with an engine that costs nothing: what a socket sees."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import aio_pika

from bench.stack import answering, free_port, purge, quantile, stack
from bench.throughput import parley_env, peer_gateway, peer_sockets
from bench.wire import Socket, open_socket

TURNS = 400
WARM = 50
TOKENS = 20
FIRST = b"answer.delta"
"""In every system's frame of answer text."""
PACE_S = 0.02
"""Between turns: low load."""


@dataclass
class Latencies:
    """Milliseconds."""

    name: str
    first_p50: float
    first_p99: float
    whole_p50: float
    whole_p99: float


Ask = Callable[[Socket, int], None]
IsDone = Callable[[bytes], bool]


async def measure(name: str, socket: Socket, ask: Ask, is_done: IsDone) -> Latencies:
    """Ask ``TURNS`` times, one after another."""
    first: list[float] = []
    whole: list[float] = []
    for number in range(WARM + TURNS):
        done = asyncio.Event()
        marks: list[float] = []

        def take(frame: bytes, done: asyncio.Event = done, marks: list[float] = marks) -> None:
            if not marks and FIRST in frame:
                marks.append(time.perf_counter())
            if is_done(frame):
                marks.append(time.perf_counter())
                done.set()

        socket.on_frame = take
        began = time.perf_counter()
        ask(socket, number)
        await asyncio.wait_for(done.wait(), 20)
        if number >= WARM:
            first.append((marks[0] - began) * 1000)
            whole.append((marks[-1] - began) * 1000)
        await asyncio.sleep(PACE_S)
    q = quantile
    return Latencies(name, q(first, 0.5), q(first, 0.99), q(whole, 0.5), q(whole, 0.99))


@contextlib.asynccontextmanager
async def parley_stack(folder: Path, amqp: str) -> AsyncIterator[int]:
    """Gateway, rag and inference with the scripted engine; yields the gateway's port."""
    port = free_port()
    await purge(amqp)
    env = parley_env(folder, amqp, port) | {
        "PARLEY_ENGINE": "scripted",
        "PARLEY_SCRIPT_TOKENS": str(TOKENS),
        "PARLEY_SCRIPT_INTERVAL_MS": "0",
    }
    async with stack(folder, env) as running:
        gateway = await running.start("gateway", "parley_gateway")
        for role in ("rag", "inference"):
            health = free_port()
            child = await running.start(role, f"parley_{role}", env={"PARLEY_HEALTH_PORT": str(health)})
            await answering(health, "/readyz?without=workers", child)
        await answering(port, "/readyz?without=workers", gateway)
        yield port


def _ask_parley(socket: Socket, number: int) -> None:
    socket.send(json.dumps({"type": "turn.start", "turn": f"{number:016x}", "text": "what is a fence?"}))


async def parley(folder: Path, amqp: str) -> Latencies:
    """Real gateway, rag with its store and index, inference with the scripted engine, recorder: done means stored."""
    async with parley_stack(folder, amqp) as port:
        socket = await open_socket(port, "/v1/connect")
        socket.send('{"type":"hello"}')
        return await measure("Parley", socket, _ask_parley, lambda frame: b'"turn.done"' in frame)


async def peer(folder: Path, amqp: str, kind: str, name: str) -> Latencies:
    """Two workers and two queues, nothing stored, nothing retrieved."""

    def ask(socket: Socket, number: int) -> None:
        body = json.dumps({"turn": number, "text": "what is a fence?"})
        socket.send(f'42["ask",{body}]' if kind == "socketio" else body)

    async with stack(folder, {}) as running:
        gateway, port = await peer_gateway(running, kind, amqp)
        for which in ("first", "second"):
            arguments = (kind, which, "--amqp", amqp, "--tokens", str(TOKENS))
            worker = await running.start(which, "bench.peers.workers", *arguments, pipes=True)
            await worker.ready()
        gateway.alive()
        sockets, _ = await peer_sockets(kind, port, 1)
        return await measure(name, sockets[0], ask, lambda frame: b"turn.done" in frame)


async def hop(amqp: str) -> Latencies:
    """One message over one quorum queue, publish to delivery, by the AMQP client alone: what a turn pays twice."""
    connection = await aio_pika.connect(amqp)
    async with connection:
        publishing, consuming = await connection.channel(), await connection.channel()
        await consuming.set_qos(prefetch_count=10)
        name = "bench.hop"
        queue = await consuming.declare_queue(name, durable=True, arguments={"x-queue-type": "quorum"})
        arrived: asyncio.Queue[float] = asyncio.Queue()

        async def take(message: aio_pika.abc.AbstractIncomingMessage) -> None:
            arrived.put_nowait(time.perf_counter())
            await message.ack()

        await queue.consume(take)
        times: list[float] = []
        for _ in range(WARM + TURNS):
            began = time.perf_counter()
            await publishing.default_exchange.publish(aio_pika.Message(b"x" * 500), name)
            times.append((await arrived.get() - began) * 1000)
            await asyncio.sleep(PACE_S)
        await consuming.queue_delete(name)
    times = times[WARM:]
    p50, p99 = quantile(times, 0.5), quantile(times, 0.99)
    return Latencies("one bare quorum hop, for comparison", p50, p99, p50, p99)


async def run(folder: Path, amqp: str, say: Callable[[str], None]) -> list[Latencies]:
    """All systems, peers first."""
    say("latency: one bare quorum hop")
    rows = [await hop(amqp)]
    for kind, title in (("socketio", "python-socketio + aio-pika"), ("plain", "Starlette + aio-pika")):
        say(f"latency: {title}")
        rows.append(await peer(folder / f"latency-{kind}", amqp, kind, title))
    say("latency: Parley")
    rows.append(await parley(folder / "latency-parley", amqp))
    return rows
