"""The peers' workers. ``first`` and ``second`` are two stages of a turn, ``flood`` sends events as fast as it is let.

A turn's second stage sends ``--tokens`` events. A flood keeps ``--ahead`` events under way at most: it reads from
standard input how many have arrived, one number a line.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Awaitable, Callable

import aio_pika
import socketio
import uvloop

POSITION = "x" * 48
"""As long as Parley's resume position, so that frames are equal in size."""

Emit = Callable[[str, dict[str, object]], Awaitable[object]]


def event(seq: int) -> dict[str, object]:
    return {"type": "answer.delta", "turn": "0123456789abcdef", "seq": seq, "position": POSITION, "text": "tok~"}


async def emitter(kind: str, amqp: str) -> Emit:
    if kind == "socketio":
        manager = socketio.AsyncAioPikaManager(amqp, write_only=True)
        return lambda sid, data: manager.emit("event", data, room=sid)
    connection = await aio_pika.connect_robust(amqp)
    channel = await connection.channel()

    def send(sid: str, data: dict[str, object]) -> Awaitable[object]:
        message = aio_pika.Message(json.dumps({"sid": sid, **data}).encode())
        return channel.default_exchange.publish(message, "bench.plain.gateway")

    return send


async def stage(kind: str, amqp: str, which: str, tokens: int) -> None:
    short = "sio" if kind == "socketio" else "plain"
    connection = await aio_pika.connect_robust(amqp)
    channel = await connection.channel()
    await channel.set_qos(prefetch_count=16)
    queue = await channel.declare_queue(f"bench.{short}.{which}", durable=True)
    out = await connection.channel()
    await out.declare_queue(f"bench.{short}.second", durable=True)
    emit = await emitter(kind, amqp)

    async def on_job(message: aio_pika.abc.AbstractIncomingMessage) -> None:
        async with message.process():
            job = json.loads(message.body)
            if which == "first":
                again = aio_pika.Message(message.body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
                await out.default_exchange.publish(again, f"bench.{short}.second")
                return
            for seq in range(tokens):
                await emit(job["sid"], event(seq))
            await emit(job["sid"], {"type": "turn.done", "text": "tok~" * tokens})

    await queue.consume(on_job)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


class Window:
    """How far a flood may run ahead of what has arrived."""

    def __init__(self, ahead: int) -> None:
        self.ahead = ahead
        self.sent = 0
        self.arrived = 0
        self._moved = asyncio.Event()

    def take(self) -> None:
        line = sys.stdin.readline()
        if not line:
            asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
            sys.exit(0)
        self.arrived = int(line)
        self._moved.set()

    async def room(self, count: int) -> None:
        while self.sent + count - self.arrived > self.ahead:
            self._moved.clear()
            await self._moved.wait()
        self.sent += count


async def flood(kind: str, amqp: str, sids: list[str], ahead: int) -> None:
    emit = await emitter(kind, amqp)
    window = Window(ahead)
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), window.take)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    seq = 0
    while True:
        await window.room(len(sids))
        data = event(seq)
        await asyncio.gather(*(emit(sid, data) for sid in sids))
        seq += 1


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=["socketio", "plain"])
    parser.add_argument("which", choices=["first", "second", "flood"])
    parser.add_argument("--amqp", required=True)
    parser.add_argument("--tokens", type=int, default=20)
    parser.add_argument("--sids", default="")
    parser.add_argument("--ahead", type=int, default=2000)
    options = parser.parse_args()
    if options.which == "flood":
        work = flood(options.kind, options.amqp, options.sids.split(","), options.ahead)
    else:
        work = stage(options.kind, options.amqp, options.which, options.tokens)
    uvloop.run(work)


if __name__ == "__main__":
    main()
