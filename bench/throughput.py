"""Events per second from a worker through the broker and a gateway to 50 sockets, and what each process paid.

Every system sends the same frames: an answer delta with turn, seq, a position of equal length and one token. The
peers' worker and Parley's in the row ``deltas joined`` keep a bounded number of events under way, told by the reader
how many have arrived, so that nothing is measured but what reached the sockets. Parley joins deltas of a turn when a
socket or the broker falls behind: that row shows what this gives. The row ``frame per event`` raises the rate as long
as (nearly) every event still is a frame of its own, as the peers' are.
"""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from bench.stack import Stack, Started, answering, broker_pid, cpu_s, free_port, purge, stack
from bench.wire import Socket, open_socket

SOCKETS = 50
AHEAD = 20_000
RATES = (10_000, 20_000, 25_000, 30_000, 35_000, 40_000, 50_000, 60_000)
"""Events per second asked for, in turn."""
ALONE = 0.85
"""Frames per event from which on events count as travelling alone."""
WARM_S = 2.0
MEASURE_S = 8.0


@dataclass
class Flow:
    """One system under load."""

    name: str
    events_s: float
    frames_s: float
    cpu_us: dict[str, float] = field(default_factory=dict)
    """Microseconds of CPU per event by process."""


@dataclass
class Rig:
    """A system that is ready to be flooded."""

    gateway: Started
    worker: Started
    sockets: list[Socket]


async def _report_arrivals(rig: Rig) -> None:
    stdin = rig.worker.process.stdin
    assert stdin is not None
    base = sum(socket.tokens for socket in rig.sockets)
    while True:
        stdin.write(f"{sum(socket.tokens for socket in rig.sockets) - base}\n".encode())
        await asyncio.sleep(0.002)


async def measure(name: str, rig: Rig, broker: int) -> Flow:
    """Flood, warm up, and count."""
    pids = {"gateway": rig.gateway.pid, "worker": rig.worker.pid, "broker": broker}
    reporter = asyncio.create_task(_report_arrivals(rig))
    try:
        await asyncio.sleep(WARM_S)
        cpu = {key: cpu_s(pid) for key, pid in pids.items()}
        tokens = sum(socket.tokens for socket in rig.sockets)
        frames = sum(socket.frames for socket in rig.sockets)
        began = time.perf_counter()
        await asyncio.sleep(MEASURE_S)
        took = time.perf_counter() - began
        tokens = sum(socket.tokens for socket in rig.sockets) - tokens
        frames = sum(socket.frames for socket in rig.sockets) - frames
        spent = {key: cpu_s(pid) - cpu[key] for key, pid in pids.items()}
    finally:
        reporter.cancel()
    rig.gateway.alive()
    rig.worker.alive()
    if tokens == 0:
        raise RuntimeError(f"{name}: no event arrived")
    return Flow(name, tokens / took, frames / took, {key: value / tokens * 1e6 for key, value in spent.items()})


@contextlib.asynccontextmanager
async def parley(folder: Path, amqp: str, *flags: str, env: dict[str, str] | None = None) -> AsyncIterator[Rig]:
    """The real gateway; the flood stands where a generation worker would, on the real worker loop and sink."""
    port = free_port()
    await purge(amqp)
    async with stack(folder, parley_env(folder, amqp, port) | (env or {})) as running:
        gateway = await running.start("gateway", "parley_gateway")
        worker = await running.start("worker", "bench.parley_flood", "--turns", str(SOCKETS), *flags, pipes=True)
        await worker.ready()
        await answering(port, "/livez", gateway)
        sockets = [await open_socket(port, "/v1/connect") for _ in range(SOCKETS)]
        for number, socket in enumerate(sockets):
            socket.send('{"type":"hello"}')
            turn = {"type": "turn.start", "turn": f"{number:016x}", "text": "flood"}
            socket.send(json.dumps(turn))
        yield Rig(gateway, worker, sockets)


def parley_env(folder: Path, amqp: str, port: int) -> dict[str, str]:
    """Settings of every Parley process of a benchmark: no admission by rate, logs of warnings only."""
    return {
        "AMQP_URL": amqp,
        "PARLEY_STORE": f"sqlite+aiosqlite:///{folder}/parley.db",
        "PARLEY_DATA": str(folder),
        "PARLEY_PORT": str(port),
        "PARLEY_CONNECT_RATE": "0",
        "PARLEY_MESSAGE_RATE": "0",
        "PARLEY_LOG_LEVEL": "warning",
        "PARLEY_TURN_BUDGET_S": "600",
    }


def _socketio_sid(frame: bytes) -> str | None:
    return str(json.loads(frame[2:])["sid"]) if frame.startswith(b"40") else None


def _plain_sid(frame: bytes) -> str | None:
    return json.loads(frame).get("sid")


PEERS: dict[str, tuple[str, str, Callable[[bytes], str | None], Callable[[Socket], None]]] = {
    "socketio": (
        "bench.peers.socketio_gateway",
        "/socket.io/?EIO=4&transport=websocket",
        _socketio_sid,
        lambda socket: socket.send("40"),
    ),
    "plain": ("bench.peers.plain_gateway", "/ws", _plain_sid, lambda socket: None),
}


async def peer_gateway(running: Stack, kind: str, amqp: str) -> tuple[Started, int]:
    """A peer's gateway that takes connections."""
    port = free_port()
    gateway = await running.start("gateway", PEERS[kind][0], "--port", str(port), "--amqp", amqp)
    path = "/socket.io/?EIO=4&transport=polling" if kind == "socketio" else "/"
    await listening(port, gateway, path)
    return gateway, port


async def listening(port: int, child: Started, path: str) -> None:
    """Wait until the port takes connections."""
    for _ in range(600):
        child.alive()
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return
        await asyncio.sleep(0.1)
    raise RuntimeError(f"{child.name} does not listen for {path}")


async def peer_sockets(kind: str, port: int, count: int) -> tuple[list[Socket], list[str]]:
    """Connected sockets and their ids."""
    _, path, find, greet = PEERS[kind]
    sockets = []
    sids: list[str] = []
    for _ in range(count):
        socket = await open_socket_listening(port, path, find, greet, sids)
        sockets.append(socket)
    return sockets, sids


async def open_socket_listening(
    port: int, path: str, find: Callable[[bytes], str | None], greet: Callable[[Socket], None], sids: list[str]
) -> Socket:
    """One socket whose greeting, which may come with the handshake, is not missed."""
    loop = asyncio.get_running_loop()
    _, socket = await loop.create_connection(Socket, "127.0.0.1", port)
    waiting: asyncio.Future[str] = loop.create_future()

    def take(frame: bytes) -> None:
        sid = find(frame)
        if sid is not None and not waiting.done():
            waiting.set_result(sid)

    socket.on_frame = take
    socket.handshake("127.0.0.1", port, path)
    await asyncio.wait_for(socket.opened, 30)
    greet(socket)
    sids.append(await asyncio.wait_for(waiting, 30))
    socket.on_frame = None
    return socket


@contextlib.asynccontextmanager
async def peer(folder: Path, amqp: str, kind: str) -> AsyncIterator[Rig]:
    """A peer's gateway and its flood."""
    async with stack(folder, {}) as running:
        gateway, port = await peer_gateway(running, kind, amqp)
        sockets, sids = await peer_sockets(kind, port, SOCKETS)
        worker = await running.start(
            "worker", "bench.peers.workers", kind, "flood", "--amqp", amqp, "--sids", ",".join(sids), pipes=True
        )
        await worker.ready()
        yield Rig(gateway, worker, sockets)


async def run(folder: Path, amqp: str, say: Callable[[str], None]) -> list[Flow]:
    """All systems, one after another, peers first."""
    broker = broker_pid(urlsplit(amqp).port or 5672)
    flows = []
    for kind, title in (("socketio", "python-socketio + aio-pika"), ("plain", "Starlette + aio-pika")):
        say(f"throughput: {title}")
        async with peer(folder / kind, amqp, kind) as rig:
            flows.append(await measure(title, rig, broker))
    flows.append(await _frame_per_event(folder, amqp, broker, say))
    say("throughput: Parley, deltas joined")
    async with parley(folder / "parley", amqp, "--ahead", str(AHEAD)) as rig:
        flows.append(await measure("Parley, deltas joined", rig, broker))
    return flows


async def _frame_per_event(folder: Path, amqp: str, broker: int, say: Callable[[str], None]) -> Flow:
    """The highest of :data:`RATES` at which hardly any two events share a frame; the lowest where none is."""
    flow: Flow | None = None
    for rate in RATES:
        say(f"throughput: Parley, a frame for each event, {rate:,} events/s asked for")
        where = folder / f"parley-{rate}"
        async with parley(where, amqp, "--rate", str(rate), env={"PARLEY_FLUSH_S": "0"}) as rig:
            found = await measure("Parley, frame per event", rig, broker)
        if flow is not None and found.frames_s < ALONE * found.events_s:
            break
        flow = found
    assert flow is not None
    return flow
