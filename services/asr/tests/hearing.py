"""What tests of the listening stage share: audio, and a gateway's half of the protocol of leases."""

import asyncio
import time
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from parley_asr.engine import Samples
from parley_asr.engines.scripted import ScriptedRecognition
from parley_asr.listener import Listener, Parts
from parley_asr.scribe import Event
from parley_asr.vad import EnergyVad
from parley_protocol import codec
from parley_protocol.audio import (
    AudioBatch,
    AudioPart,
    Heard,
    Hearing,
    Hearings,
    Leased,
    Listen,
    Mark,
    StreamEvent,
    StreamEvents,
)
from parley_protocol.routes import AUDIO, WORK, Stage, event_queue
from parley_runtime.ports import Broker, Delivery, Link, Message
from parley_testkit.turns import Collector

E = TypeVar("E", bound=StreamEvent)

SCRIPT = Parts(EnergyVad, ScriptedRecognition)


def pcm(samples: Samples) -> bytes:
    """As a client sends it."""
    return (np.clip(samples, -1, 1) * 32_767).astype("<i2").tobytes()


def hear(listener: Listener, data: bytes, *, step: int = 1920, mark: Mark = Mark.NONE) -> list[Event]:
    """Everything, in parts of ``step`` bytes, then ``mark``."""
    events: list[Event] = []
    for at in range(0, len(data), step):
        events += listener.feed(data[at : at + step])
    if mark:
        events += listener.feed(b"", mark)
    return events


def heard(events: list[Any]) -> list[Heard]:
    """Only the last words."""
    return [event for event in events if isinstance(event, Heard)]


class Ear(Collector):
    """A gateway that leases streams, sends their audio and keeps what it hears."""

    def __init__(self, name: str, link: Link) -> None:
        super().__init__()
        self.name = name
        self.told: list[StreamEvents] = []
        self.messages = 0
        self._link = link
        self._tasks: set[asyncio.Task[bool]] = set()

    @classmethod
    async def open(cls, broker: Broker, name: str = "gw") -> "Ear":
        ear = cls(name, await broker.open("ear"))
        await ear.consume()
        return ear

    async def consume(self) -> None:
        subscription = await self._link.subscribe(lambda: event_queue(self.name, "1"), self._on_delivery, prefetch=100)
        await subscription.wait_consuming(5.0)

    async def close(self) -> None:
        await self._link.close()

    async def lease(self, stream: str = "s1", *, epoch: int = 1, limit_s: float = 10.0, **more: Any) -> str:
        """Publish a lease, and return the worker that takes it."""
        await self.ask(stream, epoch=epoch, **more)
        await self.until(lambda: bool(self.of(stream, Leased, epoch)), limit_s=limit_s)
        return next(part.worker for part in self.told if part.stream == stream and part.epoch == epoch)

    async def ask(
        self,
        stream: str = "s1",
        *,
        epoch: int = 1,
        hearing: Hearing | None = None,
        headers: Callable[[dict[str, str | int]], None] = lambda _: None,
        **more: Any,
    ) -> None:
        """Publish a lease."""
        listen = Listen(
            stream=stream,
            epoch=epoch,
            gateway=self.name,
            tenant="default",
            session="session-1",
            hearing=hearing or Hearing(),
            sent_at=time.time(),
            **more,
        )
        about: dict[str, str | int] = {"parley-kind": "listen", "parley-v": 1}
        headers(about)
        message = Message(codec.pack(listen), about)
        await self._link.publish(WORK, Stage.LISTEN, message, timeout_s=5.0)

    async def send(self, worker: str, *parts: AudioPart) -> None:
        """One batch. Raises as ``Link.publish``."""
        message = Message(codec.pack(AudioBatch(self.name, parts)), durable=False)
        await self._link.publish(AUDIO, worker, message, timeout_s=5.0)

    async def say(
        self, worker: str, data: bytes, *, stream: str = "s1", epoch: int = 1, at: int = 0, mark: Mark = Mark.NONE
    ) -> None:
        """Audio in batches of 60 ms or so, then ``mark``."""
        for start in range(0, len(data), 1920):
            await self.send(worker, AudioPart(stream, epoch, at + start, data[start : start + 1920]))
        if mark:
            await self.send(worker, AudioPart(stream, epoch, at + len(data), b"", mark))

    def events(self, stream: str = "s1", epoch: int = 0) -> list[StreamEvent]:
        """Events of a stream (of one epoch), in order."""
        return [
            event for part in self.told if part.stream == stream and epoch in {0, part.epoch} for event in part.events
        ]

    def of(self, stream: str, kind: type[E], epoch: int = 0) -> list[E]:
        """Events of one kind."""
        return [event for event in self.events(stream, epoch) if isinstance(event, kind)]

    async def wait(
        self, kind: type[E], stream: str = "s1", *, count: int = 1, limit_s: float = 10.0, epoch: int = 0
    ) -> E:
        """The ``count``-th event of a kind."""
        await self.until(lambda: len(self.of(stream, kind, epoch)) >= count, limit_s=limit_s)
        return self.of(stream, kind, epoch)[count - 1]

    def _on_delivery(self, delivery: Delivery) -> None:
        message = codec.unpack_gateway(delivery.body)
        assert isinstance(message, Hearings)
        self.messages += 1
        self.told.extend(message.streams)
        self.changed()
        task = asyncio.get_running_loop().create_task(delivery.ack())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
