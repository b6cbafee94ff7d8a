"""The contact chat on real processes: a killed worker, both sides on different gateways, the owner's webhook."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect

from parley_client.tokens import make_token
from parley_testkit.stack import Lab, Service, Stack, soon

from .harness import WHOLE

pytestmark = pytest.mark.e2e

LIMIT_S = 60.0


@asynccontextmanager
async def joined(gateway: Service, query: str = "") -> AsyncIterator[tuple[ClientConnection, str]]:
    """(socket, client id), once greeted."""
    async with connect(gateway.url.replace("http", "ws") + "/contact" + query) as socket:
        yield socket, (await receive(socket))["client_id"]


async def receive(socket: ClientConnection, **fields: Any) -> dict[str, Any]:
    """The next frame with these fields."""
    async with asyncio.timeout(LIMIT_S):
        while True:
            frame: dict[str, Any] = json.loads(await socket.recv())
            if all(frame.get(name) == value for name, value in fields.items()):
                return frame


async def send(socket: ClientConnection, **frame: Any) -> None:
    await socket.send(json.dumps(frame, ensure_ascii=False))


def owner_token(stack: Stack) -> str:
    """As ``parley token --sub boss --owner`` prints it."""
    return make_token({}, "boss", owner=True, data=stack.folder / "data")


def at_work(stack: Stack) -> Service | None:
    """The inference process with a seat taken."""
    busy = (one for one in stack.of("inference") if one.get("/statusz").json().get("busy", 0))
    return next(busy, None)


async def test_a_killed_worker_costs_a_visitor_nothing_and_the_owner_is_elsewhere(scripted: Stack) -> None:
    near, far = scripted.of("gateway")
    token = owner_token(scripted)
    async with joined(near) as (visitor, client), joined(far, f"?role=owner&token={token}") as (owner, _):
        for number in range(2):
            await send(visitor, type="chat_message", message=f"question {number}", timestamp="2026-01-01T00:00:00Z")
            await receive(visitor, type="chat_message_received")
        victim = await soon(lambda: at_work(scripted), "at work")
        await asyncio.to_thread(victim.end, signal.SIGKILL)
        try:
            answers = [await receive(visitor, type="chat_message") for _ in range(2)]
        finally:
            victim.start()
            await asyncio.to_thread(victim.wait_ready)
        assert [answer["message"] for answer in answers] == [WHOLE, WHOLE]
        seen = [await receive(owner, client_id=client) for _ in range(4)]
        assert [one["message"] for one in seen if one["sender"] == "visitor"] == ["question 0", "question 1"]
        assert [one["message"] for one in seen if one["sender"] == "assistant"] == [WHOLE, WHOLE]
        await send(owner, type="owner_reply", client_id=client, message="您好")
        assert (await receive(visitor, sender="owner"))["message"] == "您好"
        async with httpx.AsyncClient(base_url=far.url, headers={"Authorization": f"Bearer {token}"}) as http:
            reached = await http.post("/v1/contact/broadcast", json={"message": "all"}, timeout=60)
            assert reached.json() == {"reached": 1}
            assert (await receive(visitor, message="all"))["sender"] == "owner"
            page = (await http.get("/v1/contact/messages", params={"limit": 1000})).json()
        mine = [one for one in page["messages"] if one["client_id"] == client]
        assert [one["sender"] for one in mine] == ["visitor", "visitor", "assistant", "assistant", "owner"]


async def test_a_notice_waits_for_a_worker_and_for_the_webhook(lab: Lab, tmp_path: Path) -> None:
    """The owner's server is away at first, and the worker that tries is killed: the notice comes all the same."""
    heard: asyncio.Queue[tuple[dict[str, str], Any]] = asyncio.Queue()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        headers = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if line)
        body = await reader.readexactly(int(headers["content-length"]))
        writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()
        heard.put_nowait((headers, json.loads(body)))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    roles = {"rag": 1, "gateway": 1}

    def stack() -> Any:
        return lab.stack("webhook", roles=roles, PARLEY_CONTACT_WEBHOOK=f"http://127.0.0.1:{port}/hook")

    running = stack()
    made: Stack = await asyncio.to_thread(running.__enter__)
    try:
        (rag,) = made.of("rag")
        async with joined(made.gateway) as (visitor, client):
            await send(visitor, type="contact_request", message="请联系我", timestamp="t", userAgent="M/5")
            await receive(visitor, type="contact_request_received", client_id=client)
        await soon(lambda: "owner not notified" in rag.text(), "a try")
        await asyncio.to_thread(rag.end, signal.SIGKILL)
        server = await asyncio.start_server(serve, "127.0.0.1", port)
        async with server:
            rag.start()
            async with asyncio.timeout(LIMIT_S):
                headers, body = await heard.get()
            await asyncio.to_thread(rag.wait_ready)
        assert (body["message"], body["client_id"], body["userAgent"]) == ("请联系我", client, "M/5")
        assert headers["parley-notice-id"] == body["notice_id"]
        assert "请联系我" not in made.logs()
    finally:
        await asyncio.to_thread(running.__exit__, None, None, None)
