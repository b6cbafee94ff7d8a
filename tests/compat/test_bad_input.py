"""What is wrong is said in each dialect's own frame; the socket stays open, and others are served meanwhile."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from parley_testkit.stack import Stack

pytestmark = pytest.mark.e2e

LIMIT_S = 60.0
Frame = dict[str, Any]


@dataclass(frozen=True)
class Way:
    """How a dialect is spoken: its path, how many frames greet, a good frame, and what its replies look like."""

    path: str
    greetings: int
    good: str
    served: Callable[[Frame], bool]
    refused: Callable[[Frame], bool]
    limited: Callable[[Frame], bool]


def is_error(frame: Frame) -> bool:
    return frame.get("type") == "error" and bool(frame.get("message"))


WAYS = {
    "d0": Way(
        "/",
        0,
        '{"message": "hello", "session_id": "user_bad"}',
        lambda frame: frame["status"] == "success",
        lambda frame: frame["status"] == "error" and bool(frame["response"]) and "session_id" in frame,
        lambda frame: "频繁" in frame["response"] and frame["retry_after_ms"] > 0,
    ),
    "d1": Way(
        "/contact",
        1,
        '{"type": "ping"}',
        lambda frame: frame["type"] == "pong",
        is_error,
        lambda frame: "过快" in frame["message"],
    ),
    "d2": Way(
        "/ws/ws/",
        0,
        '{"type": "text", "content": "hello"}',
        lambda frame: frame["type"] == "text" and bool(frame["content"]),
        lambda frame: frame["type"] == "error" and bool(frame["content"]),
        lambda frame: "slow down" in frame["content"],
    ),
    "d3": Way(
        "/ws/health",
        1,
        '{"type": "ping", "timestamp": 1}',
        lambda frame: frame["type"] == "pong",
        is_error,
        lambda frame: "频繁" in frame["message"],
    ),
    "d4": Way(
        "/ws/realtime-asr",
        2,
        '{"type": "asr_chunk", "text": "so", "is_final": false}',
        lambda frame: frame["type"] == "ack",
        lambda frame: is_error(frame) and frame["code"].isupper(),
        lambda frame: frame["code"] == "RATE_LIMITED",
    ),
}
GARBAGE: dict[str, str | bytes] = {
    "not json": "{broken",
    "nothing": "",
    "null": "null",
    "a list": "[]",
    "a number": "1e999",
    "an empty object": "{}",
    "a type that is no text": '{"type": 5, "message": []}',
    "half a surrogate": '{"type": "\\ud800", "message": 1}',
    "too deep": "[" * 100_000,
    "bytes": b"\xff\xfe\x00",
    "too large": json.dumps({"type": "text", "message": 1, "content": "x" * 300_000, "text": "y", "is_final": True}),
}


@asynccontextmanager
async def speaking(stack: Stack, way: Way) -> AsyncIterator[ClientConnection]:
    """A socket whose greeting has been read."""
    path, session = way.path, ""
    async with httpx.AsyncClient(base_url=stack.url, trust_env=False, timeout=LIMIT_S) as http:
        if path == "/ws/ws/":
            begun = (await http.post("/v1/sessions", json={"tutor_id": 1, "student_id": 999})).json()
            session = begun["session_id"]
            path += f"{session}?token={begun['engine_token']}"
        async with connect(stack.url.replace("http", "ws") + path, proxy=None) as socket:
            for _ in range(way.greetings):
                await receive(socket)
            yield socket
        if session:
            assert (await http.delete(f"/v1/sessions/{session}")).status_code == 200


async def receive(socket: ClientConnection) -> Frame:
    async with asyncio.timeout(LIMIT_S):
        frame: Frame = json.loads(await socket.recv())
    return frame


async def ask(socket: ClientConnection, way: Way) -> Frame:
    await socket.send(way.good)
    return await receive(socket)


@pytest.mark.parametrize("name", WAYS)
async def test_garbage_is_refused_one_by_one_and_the_socket_stays(stack: Stack, name: str) -> None:
    way = WAYS[name]
    async with speaking(stack, way) as socket, speaking(stack, way) as other:
        for kind, text in GARBAGE.items():
            await socket.send(text)
            frame = await receive(socket)
            assert way.refused(frame), (kind, frame)
            assert "Traceback" not in json.dumps(frame)
        for one in (socket, other):
            frame = await ask(one, way)
            assert way.served(frame), frame


@pytest.mark.parametrize("name", WAYS)
async def test_a_flood_is_refused_in_words_and_others_are_served(stack: Stack, name: str) -> None:
    way, sent = WAYS[name], 160
    async with speaking(stack, way) as socket, speaking(stack, way) as other:
        for _ in range(sent):
            await socket.send("{broken")
        frame = await ask(other, way)
        assert way.served(frame), frame
        frames = [await receive(socket) for _ in range(sent)]
        assert all(way.refused(frame) for frame in frames)
        assert any(way.limited(frame) for frame in frames)
        async with asyncio.timeout(LIMIT_S):
            while not way.served(frame := await ask(socket, way)):
                assert way.limited(frame), frame


@pytest.mark.parametrize("name", WAYS)
async def test_a_foreign_origin_is_told_the_setting(stack: Stack, name: str) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with connect(
            stack.url.replace("http", "ws") + WAYS[name].path, origin="https://elsewhere.example", proxy=None
        ):
            pass
    assert refused.value.response.status_code == 403
    assert b"PARLEY_ORIGINS" in refused.value.response.body


async def test_an_unknown_path_is_told_the_known_ones(stack: Stack) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with connect(stack.url.replace("http", "ws") + "/ws/nothing", proxy=None):
            pass
    assert refused.value.response.status_code == 404
    for path in ("/contact", "/ws/ws/", "/ws/review/", "/ws/health", "/ws/test/", "/ws/realtime-asr"):
        assert path.encode() in refused.value.response.body
