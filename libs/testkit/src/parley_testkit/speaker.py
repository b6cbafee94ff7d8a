"""A worker of the speaking stage that says a tone for each character: 50 ms of it."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from parley_protocol import codec
from parley_protocol.audio import Speak, Spoken
from parley_protocol.control import Audience, Hush
from parley_protocol.routes import EVENTS, stage_queue, topology
from parley_runtime.control import ControlPlane
from parley_runtime.ports import Delivery, Link, Message

CHAR_MS = 50


def sound(text: str, rate: int) -> bytes:
    """What is said: the code point of each character, over and over."""
    return b"".join((ord(char) & 0x7FFF).to_bytes(2, "little") * (rate * CHAR_MS // 1000) for char in text)


@dataclass
class Speaker:
    """``silent``: takes jobs and says nothing. ``held``: says nothing until it is set free."""

    publisher: Link
    control: ControlPlane
    jobs: list[Speak] = field(default_factory=list)
    headers: list[dict[str, Any]] = field(default_factory=list)
    hushed: list[str] = field(default_factory=list)
    silent: bool = False
    part_ms: int = 200
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @classmethod
    async def open(cls, broker: Any, name: str = "voice-1") -> "Speaker":
        process = broker.process(name)
        control = await ControlPlane.open(process, process_id=name, audience=Audience.WORKERS)
        worker = cls(await process.open("publish"), control)
        control.on(Hush, lambda hush: worker.hushed.append(hush.speech))
        await control.start()
        link = await process.open("consume")
        spec = topology().queue(stage_queue("speak"))
        subscription = await link.subscribe(lambda: spec, worker.on_delivery, prefetch=16)
        await subscription.wait_consuming(30)
        return worker

    def on_delivery(self, delivery: Delivery) -> None:
        task = asyncio.create_task(self._take(delivery))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _take(self, delivery: Delivery) -> None:
        job = codec.unpack_speak(delivery.body)
        self.jobs.append(job)
        self.headers.append(dict(delivery.headers))
        self.arrived.set()
        if not self.silent:
            await self.say(job)
        await delivery.ack()

    async def say(self, job: Speak) -> None:
        pcm = sound(job.text, job.rate)
        size = job.rate * self.part_ms // 1000 * 2
        cuts = range(0, len(pcm), size)
        for part, at in enumerate(cuts):
            spoken = Spoken(
                job.speech, job.index, job.attempt, part, pcm[at : at + size], job.rate, part == len(cuts) - 1
            )
            await self.publisher.publish(EVENTS, job.gateway, Message(codec.pack(spoken), durable=False))

    async def until(self, count: int) -> None:
        """That many jobs have come."""
        async with asyncio.timeout(30):
            while len(self.jobs) < count:
                self.arrived.clear()
                await self.arrived.wait()
