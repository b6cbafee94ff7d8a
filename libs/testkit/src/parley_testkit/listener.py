"""A scripted ASR worker on any broker: takes leases, consumes its audio queue, hears as :mod:`parley_testkit.hearing`
says; can go silent, move its leases, refuse them, and die.
"""

import asyncio
import itertools
from collections.abc import Coroutine
from typing import Any

from parley_protocol import codec
from parley_protocol.audio import (
    AudioBatch,
    AudioPart,
    Hearings,
    Leased,
    Listen,
    Mark,
    Moving,
    StreamEvent,
    StreamEvents,
)
from parley_protocol.audio import Failed as StreamFailed
from parley_protocol.events import Fault
from parley_protocol.routes import EVENTS, QueueSpec, Stage, audio_queue, stage_queue, topology
from parley_runtime.errors import ParleyError
from parley_runtime.ports import Broker, Delivery, Link, Message, Subscription
from parley_testkit.hearing import Recogniser
from parley_testkit.turns import Collector

ENGINE = "scripted"


class Held:
    """A lease that is held."""

    def __init__(self, listen: Listen, delivery: Delivery) -> None:
        self.listen = listen
        self.delivery = delivery
        self.recogniser = Recogniser(listen)


class ScriptedListener(Collector):
    """``name`` is its process id. ``parts`` and ``listens`` keep what came; ``batches`` counts AMQP messages of audio.

    ``silent``: takes everything and says nothing. ``fault``: answers leases with it.
    """

    def __init__(self, broker: Broker, name: str) -> None:
        super().__init__()
        self.name = name
        self.silent = False
        self.fault: Fault | None = None
        self.listens: list[Listen] = []
        self.headers: list[dict[str, Any]] = []
        """Of the leases."""
        self.parts: list[AudioPart] = []
        self.batches = 0
        self.held: dict[str, Held] = {}
        self._broker = broker
        self._links: list[Link] = []
        self._subscriptions: list[Subscription] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._epochs = itertools.count(1)
        self._out: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue()

    @classmethod
    async def open(cls, broker: Broker, name: str, *, seats: int = 8) -> "ScriptedListener":
        """A worker that listens to ``seats`` streams at a time."""
        self = cls(broker, name)
        publisher = await self._link("publish")
        self._start(self._publish(publisher))
        audio, leases = await self._link("audio"), await self._link("listen")
        spec = topology().queue(stage_queue(Stage.LISTEN))
        self._subscriptions.append(await audio.subscribe(self._queue, self._on_audio, prefetch=100, replaces=True))
        await self._subscriptions[0].wait_consuming(30)
        self._subscriptions.append(await leases.subscribe(lambda: spec, self._on_listen, prefetch=seats))
        await self._subscriptions[1].wait_consuming(30)
        return self

    async def kill(self) -> None:
        """Gone without a word; its leases return to the queue."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for link in reversed(self._links):
            await link.close()
        self.held.clear()

    close = kill

    def move(self, reason: str = "age") -> None:
        """Ask for every lease to be taken elsewhere; audio is taken until they are dropped."""
        for held in self.held.values():
            self._tell(held, Moving(reason))

    def tell(self, stream: str, *events: StreamEvent) -> None:
        """Say something about a stream that is held."""
        self._tell(self.held[stream], *events)

    async def _link(self, purpose: str) -> Link:
        self._links.append(await self._broker.open(f"{purpose}-{self.name}"))
        return self._links[-1]

    def _queue(self) -> QueueSpec:
        return audio_queue(self.name, str(next(self._epochs)))

    def _start(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _publish(self, link: Link) -> None:
        while True:
            gateway, body = await self._out.get()
            try:
                await link.publish(EVENTS, gateway, Message(body, durable=False))
            except ParleyError:
                continue  # a gateway that is gone, or events that are lost: sent at most once

    def _tell(self, held: Held, *events: StreamEvent) -> None:
        if self.silent or not events:
            return
        listen = held.listen
        body = codec.pack(Hearings((StreamEvents(listen.stream, listen.epoch, self.name, events),)))
        self._out.put_nowait((listen.gateway, body))

    def _on_listen(self, delivery: Delivery) -> None:
        listen = codec.unpack_listen(delivery.body)
        self.listens.append(listen)
        self.headers.append(dict(delivery.headers))
        held = Held(listen, delivery)
        if self.fault is not None:
            self._tell(held, StreamFailed(self.fault))
            self._start(delivery.ack())
        else:
            former = self.held.get(listen.stream)
            if former is not None:
                self._let_go(former)
            self.held[listen.stream] = held
            self._tell(held, Leased(ENGINE))
        self.changed()

    def _on_audio(self, delivery: Delivery) -> None:
        batch: AudioBatch = codec.unpack_audio(delivery.body)
        self.batches += 1
        for part in batch.parts:
            self.parts.append(part)
            held = self.held.get(part.stream)
            if held is not None and held.listen.epoch == part.epoch:
                self._on_part(held, part)
        self._start(delivery.ack())
        self.changed()

    def _on_part(self, held: Held, part: AudioPart) -> None:
        recogniser = held.recogniser
        if part.mark is Mark.DROP or part.at > recogniser.taken:
            if part.mark is not Mark.DROP:
                self._tell(held, StreamFailed(Fault("failed", "there is a gap in the audio", retryable=True)))
            self._let_go(held)
            return
        events = recogniser.feed(part.data[recogniser.taken - part.at :], part.mark)
        self._tell(held, *events, recogniser.progress())
        if recogniser.ended:
            self._let_go(held)

    def _let_go(self, held: Held) -> None:
        if self.held.get(held.listen.stream) is held:
            del self.held[held.listen.stream]
        self._start(held.delivery.ack())
