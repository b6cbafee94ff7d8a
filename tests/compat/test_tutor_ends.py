"""How tutor sessions end by themselves: a web side's token that has expired, and a session that nobody uses."""

import asyncio
import json
from collections.abc import Iterator

import httpx
import pytest
from websockets.asyncio.client import connect

from parley_client.tokens import make_token
from parley_testkit.stack import Service, Stack

pytestmark = pytest.mark.e2e

LIMIT_S = 60.0
TIMEOUT_S = 2.0


@pytest.fixture(scope="module")
def impatient(stack: Stack) -> Iterator[Service]:
    """One more gateway, whose sessions are over after two idle seconds."""
    gateway = stack.add("gateway", SESSION_TIMEOUT_SECONDS=f"{TIMEOUT_S:g}")
    gateway.wait_ready()
    yield gateway
    gateway.end()
    stack.services.remove(gateway)


async def test_a_token_that_has_expired_is_not_authenticated(stack: Stack) -> None:
    data = stack.folder / "data"
    boss = {"Authorization": f"Bearer {make_token({}, 'boss', owner=True, data=data)}"}
    fresh = {"Authorization": f"Bearer {make_token({}, '8', data=data)}"}
    stale = {"Authorization": f"Bearer {make_token({}, '8', data=data, life_s=-60)}"}
    async with httpx.AsyncClient(base_url=stack.url, trust_env=False, timeout=LIMIT_S) as http:
        tutor = (await http.post("/v1/tutors", json={"admin": "8", "name": "Mr Wu"}, headers=boss)).json()["id"]
        begin = f"/api/tutors/{tutor}/sessions"
        session = (await http.post(begin, json={"student_id": 999}, headers=fresh)).json()["session_id"]
        end = f"/api/tutors/sessions/{session}"
        refusals = [
            await http.post(begin, json={"student_id": 999}, headers=stale),
            await http.delete(end, headers=stale),
        ]
        for refused in refusals:
            assert (refused.status_code, refused.json()) == (401, {"detail": "Not authenticated"})
        assert (await http.get(f"/v1/sessions/{session}")).json()["status"] == "active"
        assert (await http.delete(end, headers=fresh)).json() == {"status": "deleted"}


async def test_a_session_that_nobody_uses_is_over_at_every_gateway(stack: Stack, impatient: Service) -> None:
    async with httpx.AsyncClient(base_url=impatient.url, trust_env=False, timeout=LIMIT_S) as http:
        session = (await http.post("/v1/sessions", json={"tutor_id": 1, "student_id": 999})).json()
        path = f"/ws/ws/{session['session_id']}?token={session['engine_token']}"
        for gateway in (impatient, stack.gateway):
            async with (
                connect(gateway.url.replace("http", "ws") + path, proxy=None) as socket,
                asyncio.timeout(LIMIT_S),
            ):
                assert json.loads(await socket.recv()) == {"type": "error", "content": "会话已过期"}
                await socket.wait_closed()
                assert socket.close_code == 1008
        gone = await http.get(f"/v1/sessions/{session['session_id']}")
        assert (gone.status_code, gone.json()) == (404, {"detail": "Session not found"})
