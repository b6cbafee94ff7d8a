"""Tutor sessions on real processes: the command and the web side, a killed worker, a killed gateway."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from parley_testkit.stack import Service, Stack, soon

from .harness import WHOLE, parley, stored

pytestmark = pytest.mark.e2e

LIMIT_S = 60.0


@asynccontextmanager
async def joined(gateway: Service, session: dict[str, Any]) -> AsyncIterator[ClientConnection]:
    """The session's socket at whichever gateway."""
    path = f"/ws/ws/{session['session_id']}?token={session['engine_token']}"
    async with connect(gateway.url.replace("http", "ws") + path) as socket:
        yield socket


async def ask(socket: ClientConnection, text: str) -> None:
    await socket.send(json.dumps({"type": "text", "content": text}))


async def receive(socket: ClientConnection) -> dict[str, Any]:
    async with asyncio.timeout(LIMIT_S):
        frame: dict[str, Any] = json.loads(await socket.recv())
        return frame


def at_work(stack: Stack) -> Service | None:
    """The inference process with a seat taken."""
    busy = (one for one in stack.of("inference") if one.get("/statusz").json().get("busy", 0))
    return next(busy, None)


async def command(stack: Stack, *arguments: str) -> str:
    """Standard output of the command in this installation's folder."""
    environ = {"PARLEY_DATA": str(stack.folder / "data")}
    done = await asyncio.to_thread(parley, stack.url, *arguments, environ=environ)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


async def test_from_the_command_to_a_tutors_answer_and_a_killed_worker(scripted: Stack) -> None:
    near, far = scripted.of("gateway")
    tutor = json.loads(await command(scripted, "tutors", "add", "Ms Li", "--admin", "1", "--json"))
    assert tutor["id"] in [one["id"] for one in json.loads(await command(scripted, "tutors", "list", "--json"))]
    token = await command(scripted, "token", "--sub", "1")
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=near.url, headers=headers, trust_env=False, timeout=60) as web:
        answer = await web.post(f"/api/tutors/{tutor['id']}/sessions", params={"student_id": 999})
        assert answer.status_code == 200, answer.text
        session = answer.json()
        async with joined(far, session) as socket:
            await ask(socket, "explain")
            victim = await soon(lambda: at_work(scripted), "at work")
            await asyncio.to_thread(victim.end, signal.SIGKILL)
            try:
                assert await receive(socket) == {"type": "text", "content": WHOLE}
            finally:
                victim.start()
                await asyncio.to_thread(victim.wait_ready)
            deleted = await web.delete(f"/api/tutors/sessions/{session['session_id']}")
            assert deleted.json() == {"status": "deleted"}
            assert (await receive(socket))["type"] == "error"
            with pytest.raises(ConnectionClosed):
                await receive(socket)
            assert socket.close_code == 1008
    assert session["engine_token"] not in scripted.logs()
    assert token not in scripted.logs()


async def test_a_session_goes_on_at_another_gateway_when_its_own_is_killed(scripted: Stack) -> None:
    near, far = scripted.of("gateway")
    async with httpx.AsyncClient(base_url=near.url, trust_env=False, timeout=60) as engine:
        session = (await engine.post("/v1/sessions", json={"tutor_id": 1, "student_id": 999})).json()
    async with joined(near, session) as socket:
        await ask(socket, "before the gateway dies")
        assert (await receive(socket))["content"] == WHOLE
        await asyncio.to_thread(near.end, signal.SIGKILL)
    try:
        async with joined(far, session) as socket:
            await ask(socket, "after the gateway died")
            assert (await receive(socket))["content"] == WHOLE
    finally:
        near.start()
        await asyncio.to_thread(near.wait_ready)
    rows = [row for text in ("before the gateway dies", "after the gateway died") for row in _asked(scripted, text)]
    assert len(rows) == 2
    assert rows[0]["session"] == rows[1]["session"]  # one conversation
    async with httpx.AsyncClient(base_url=near.url, trust_env=False, timeout=60) as engine:
        deleted = await engine.delete(f"/v1/sessions/{session['session_id']}")
        assert deleted.json() == {"status": "deleted"}


def _asked(stack: Stack, text: str) -> list[dict[str, Any]]:
    return stored(stack, text, by="question")
