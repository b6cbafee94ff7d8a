"""What the tests of the HTTP API share: a knowledge worker that says what a test says, and an HTTP client."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx

from parley_gateway.app import Gateway
from parley_protocol import codec
from parley_protocol.events import Fault, Reply
from parley_protocol.routes import EVENTS, stage_queue, topology
from parley_protocol.work import KnowledgeCommand, KnowledgeReply
from parley_runtime.ports import Broker, Delivery, Link, Message

SECRET = "a secret of more than thirty-two characters"


class Desk:
    """Answers every knowledge command with ``say``; None: with nothing."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._tasks: set[asyncio.Task[None]] = set()
        self.commands: list[KnowledgeCommand] = []
        self.say: Callable[[KnowledgeCommand], KnowledgeReply | Fault | None] = lambda _: KnowledgeReply()

    @classmethod
    async def open(cls, broker: Broker) -> "Desk":
        link = await broker.open("knowledge")
        desk = cls(link)
        spec = next(spec for spec in topology().queues if spec.name == stage_queue("knowledge"))
        subscription = await link.subscribe(lambda: spec, desk._on_delivery, prefetch=10)
        await subscription.wait_consuming(5)
        return desk

    def _on_delivery(self, delivery: Delivery) -> None:
        task = asyncio.create_task(self._serve(delivery))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, delivery: Delivery) -> None:
        command = codec.unpack_knowledge(delivery.body)
        self.commands.append(command)
        outcome = self.say(command)
        if outcome is not None:
            fault = isinstance(outcome, Fault)
            reply = Reply(command.call, fault=outcome) if fault else Reply(command.call, codec.pack(outcome))
            await self._link.publish(EVENTS, command.reply_to, Message(codec.pack(reply), durable=False))
        await delivery.ack()


@asynccontextmanager
async def http(gateway: Gateway, **headers: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the gateway's HTTP side."""
    url = f"http://127.0.0.1:{gateway.port}"
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=60, trust_env=False) as client:
        yield client


def error_of(answer: httpx.Response) -> dict[str, Any]:
    """The error that the body holds, and nothing beside it."""
    body = answer.json()
    assert list(body) == ["error"]
    error: dict[str, Any] = body["error"]
    return error
