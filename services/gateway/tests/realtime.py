"""A client of ``/v1/realtime`` that checks every event that it gets against the official SDK's own types."""

import asyncio
import json
import typing
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from openai import AsyncOpenAI
from openai.types.realtime import RealtimeServerEvent
from pydantic import BaseModel

from .conftest import LIMIT_S

_UNION = typing.get_args(typing.get_args(RealtimeServerEvent)[0])
EVENTS = {typing.get_args(each.model_fields["type"].annotation)[0]: each for each in _UNION}
"""The SDK's own union, by what discriminates it."""
_SESSION = {"object", "id", "expires_at"}
BEYOND = {"RealtimeSessionCreateRequest": _SESSION, "RealtimeTranscriptionSessionCreateRequest": _SESSION}
"""What OpenAI says of a session beyond the types of its SDK."""


def checked(raw: bytes) -> Any:
    """The event as the SDK's type. Fails for a kind that the SDK does not know, and for fields that it does not."""
    event = EVENTS[json.loads(raw)["type"]].model_validate_json(raw)
    _refuse_extras(event, type(event).__name__)
    return event


def _refuse_extras(thing: Any, where: str) -> None:
    if isinstance(thing, BaseModel):
        beyond = set(thing.model_extra or ()) - BEYOND.get(type(thing).__name__, set())
        assert not beyond, f"{where} has fields that the SDK does not know: {sorted(beyond)}"
        for name in thing.model_fields_set:
            _refuse_extras(getattr(thing, name, None), f"{where}.{name}")
    elif isinstance(thing, list):
        for index, each in enumerate(thing):
            _refuse_extras(each, f"{where}[{index}]")


class Talk:
    """One connection of the official client."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.events: list[Any] = []
        self.ids: set[str] = set()
        self.sizes: list[int] = []
        self.open: set[str] = set()
        """Responses that have begun and not ended."""

    async def next(self) -> Any:
        async with asyncio.timeout(LIMIT_S):
            raw = await self.connection.recv_bytes()
        self.sizes.append(len(raw))
        event = checked(raw)
        assert event.event_id not in self.ids
        self.ids.add(event.event_id)
        self.events.append(event)
        if event.type == "response.created":
            self.open.add(event.response.id)
        elif event.type == "response.done":
            self.open.remove(event.response.id)  # exactly once
        elif event.type.startswith("response."):
            assert event.response_id in self.open
        return event

    async def until(self, kind: str) -> Any:
        while (event := await self.next()).type != kind:
            pass
        return event

    async def kinds(self, count: int) -> list[str]:
        return [(await self.next()).type for _ in range(count)]

    async def error(self) -> Any:
        event = await self.next()
        assert event.type == "error", event
        return event.error

    async def send(self, **event: Any) -> None:
        await self.connection.send_raw(msgspec.json.encode(event).decode())

    async def say(self, text: str, **fields: Any) -> Any:
        """A message of the user; returns the item."""
        item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}
        await self.send(type="conversation.item.create", item=item, **fields)
        return (await self.until("conversation.item.done")).item

    async def respond(self, **response: Any) -> None:
        await self.send(type="response.create", **({"response": response} if response else {}))


@asynccontextmanager
async def talk(gateway: Any, *, model: Any = "parley", key: str = "none", greet: bool = True, **query: Any):
    """Connected with the official client, unchanged."""
    async with (
        AsyncOpenAI(base_url=f"http://127.0.0.1:{gateway.port}/v1", api_key=key) as client,
        client.realtime.connect(model=model, extra_query=query) as connection,
    ):
        made = Talk(connection)
        if greet:
            await made.until("session.created")
        yield made
