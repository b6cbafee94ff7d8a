"""The dialects and the HTTP surface through a real nginx with the configuration that ships, plain and with TLS."""

import asyncio
import json
import ssl
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import connect

from parley_client.tokens import make_token
from parley_testkit.certificate import make_certificate
from parley_testkit.stack import Stack

from .flows import FLOWS, UPLOAD
from .nginx import Proxy, serving
from .transcript import Player

pytestmark = pytest.mark.e2e

LIMIT_S = 60.0


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="module")
def proxy(stack: Stack, certificate: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("nginx")
    with serving(folder, [gateway.port for gateway in stack.of("gateway")], *certificate) as running:
        yield running


@pytest.fixture(scope="module")
def trust(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificate[0]))


async def receive(socket: object) -> dict[str, object]:
    async with asyncio.timeout(LIMIT_S):
        return json.loads(await socket.recv())  # type: ignore[attr-defined]


@pytest.mark.parametrize("scheme", ["ws", "wss"])
@pytest.mark.parametrize("path", ["/", "/websocket/"])
async def test_the_data_assistant_answers(proxy: Proxy, trust: ssl.SSLContext, scheme: str, path: str) -> None:
    port = proxy.https if scheme == "wss" else proxy.plain
    async with connect(f"{scheme}://127.0.0.1:{port}{path}", ssl=trust if scheme == "wss" else None) as socket:
        for text in ("hello", "你好"):
            await socket.send(json.dumps({"message": text, "session_id": "user_001"}))
            reply = await receive(socket)
            assert (reply["status"], reply["intent"]) == ("success", "闲聊"), reply


@pytest.mark.parametrize("scheme", ["ws", "wss"])
@pytest.mark.parametrize("flow", FLOWS)
async def test_flow(proxy: Proxy, trust: ssl.SSLContext, scheme: str, flow: str) -> None:
    """Each documented flow, while nginx hands every connection to whichever gateway it likes."""
    address = f"wss://127.0.0.1:{proxy.https}" if scheme == "wss" else f"ws://127.0.0.1:{proxy.plain}"
    await Player([address, address], trust).play(flow, session=f"user-{uuid.uuid4().hex[:8]}", upload=UPLOAD)


async def test_a_tutor_session_begun_through_tls_is_given_an_address_that_works(
    proxy: Proxy, trust: ssl.SSLContext
) -> None:
    """`engine_url` has the scheme and host that the client sees."""
    base = f"https://127.0.0.1:{proxy.https}"
    async with httpx.AsyncClient(trust_env=False, verify=trust, timeout=LIMIT_S) as http:
        session = (await http.post(f"{base}/v1/sessions", json={"tutor_id": 1, "student_id": 999})).json()
        url = f"wss://127.0.0.1:{proxy.https}/ws/ws/{session['session_id']}?token={session['engine_token']}"
        assert session["engine_url"] == url
        async with connect(session["engine_url"], ssl=trust) as socket:
            await socket.send(json.dumps({"type": "text", "content": "hello"}))
            assert (await receive(socket))["type"] == "text"
        deleted = await http.delete(f"{base}/v1/sessions/{session['session_id']}")
        assert deleted.json() == {"status": "deleted"}
    assert session["engine_token"] not in proxy.log.read_text()


async def test_the_web_side_of_tutor_sessions(proxy: Proxy, trust: ssl.SSLContext, stack: Stack) -> None:
    """`/api/tutors/...` with an administrator's token, of a tutor that the owner has added."""
    data = stack.folder / "data"
    boss = {"Authorization": f"Bearer {make_token({}, 'boss', owner=True, data=data)}"}
    admin = {"Authorization": f"Bearer {make_token({}, '7', data=data)}"}
    async with httpx.AsyncClient(
        base_url=f"https://127.0.0.1:{proxy.https}", trust_env=False, verify=trust, timeout=LIMIT_S
    ) as http:
        added = await http.post("/v1/tutors", json={"admin": "7", "name": "Ms Li"}, headers=boss)
        path = f"/api/tutors/{added.json()['id']}/sessions"
        refused = await http.post(path, params={"student_id": 999})
        assert (refused.status_code, refused.json()) == (401, {"detail": "Not authenticated"})
        unknown = await http.post("/api/tutors/999999/sessions", json={"student_id": 999}, headers=admin)
        assert (unknown.status_code, unknown.json()) == (404, {"detail": "Tutor not found"})
        for asked in ({"params": {"student_id": 999}}, {"json": {"student_id": 999, "kb_id": "test"}}):
            session = (await http.post(path, headers=admin, **asked)).json()
            assert session["status"] == "active", session
            async with connect(session["engine_url"], ssl=trust) as socket:
                await socket.send(json.dumps({"type": "text", "content": "hello"}))
                assert (await receive(socket))["type"] == "text"
            deleted = await http.delete(f"/api/tutors/sessions/{session['session_id']}", headers=admin)
            assert deleted.json() == {"status": "deleted"}


async def test_native_turns_and_streams_pass_and_tokens_are_not_logged(proxy: Proxy, trust: ssl.SSLContext) -> None:
    url = f"wss://127.0.0.1:{proxy.https}/v1/connect?token=tell-nobody"
    async with connect(url, ssl=trust) as socket:
        await socket.send(json.dumps({"type": "hello"}))
        assert (await receive(socket))["type"] == "welcome"
        await socket.send(json.dumps({"type": "turn.start", "turn": "a", "text": "thanks"}))
        while (frame := await receive(socket))["type"] != "turn.done":
            pass
        assert frame["status"] == "completed"
    async with httpx.AsyncClient(trust_env=False, verify=trust, timeout=LIMIT_S) as http:
        body = {"model": "parley", "stream": True, "messages": [{"role": "user", "content": "thanks"}]}
        answer = await http.post(f"https://127.0.0.1:{proxy.https}/v1/chat/completions", json=body)
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.text.rstrip().endswith("data: [DONE]")
        moved = await http.get(f"http://127.0.0.1:{proxy.http}/livez")
        assert (moved.status_code, moved.headers["location"]) == (301, "https://127.0.0.1/livez")
    logged = proxy.log.read_text()
    assert "/v1/connect" in logged
    assert "tell-nobody" not in logged
