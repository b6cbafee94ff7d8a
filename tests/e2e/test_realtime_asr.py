"""Realtime ASR text through real processes: answered from documents, stopped at the engine, over a worker's death."""

import asyncio
import json
import signal
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect

from parley_testkit.stack import Service, Stack, soon

from .harness import WHOLE, stored

pytestmark = pytest.mark.e2e

LIMIT_S = 60.0
Frame = dict[str, Any]


class Asr:
    """A client of the documented system: what it would show."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self.frames: list[Frame] = []

    async def send(self, **frame: Any) -> None:
        await self._socket.send(json.dumps(frame, ensure_ascii=False))

    async def say(self, text: str, **fields: Any) -> None:
        await self.send(type="asr_chunk", text=text, is_final=True, **fields)

    async def next(self) -> Frame:
        async with asyncio.timeout(LIMIT_S):
            frame: Frame = json.loads(await self._socket.recv())
        self.frames.append(frame)
        return frame

    async def until(self, **wanted: Any) -> Frame:
        while True:
            frame = await self.next()
            if wanted.items() <= frame.items():
                return frame
            assert frame["type"] != "error", frame

    @property
    def stages(self) -> list[str]:
        return [frame["stage"] for frame in self.frames if frame["type"] == "status"]

    def text(self) -> str:
        """Of the last answer; what was said before a ``restarted`` is void."""
        text = ""
        for frame in self.frames:
            if frame["type"] == "answer":
                anew = frame["stream_index"] == 0 or frame.get("restarted")
                text = frame["content"] if anew else text + frame["content"]
        return text

    def indices(self) -> list[int]:
        return [frame["stream_index"] for frame in self.frames if frame["type"] == "answer"]


@asynccontextmanager
async def asr(service: Service | Stack) -> AsyncIterator[Asr]:
    async with connect(service.url.replace("http", "ws") + "/ws/realtime-asr", proxy=None) as socket:
        client = Asr(socket)
        await client.until(type="status", stage="listening")
        yield client


def at_work(stack: Stack) -> list[Service]:
    """Inference processes with a seat taken."""
    return [service for service in stack.of("inference") if service.get("/statusz").json().get("busy", 0)]


async def test_a_spoken_question_is_answered_and_one_that_finds_nothing_too(stack: Stack) -> None:
    async with asr(stack) as client:
        for question in ("how much water do tomatoes get", "谁发明了电话"):
            await client.send(type="asr_chunk", text=question[:5], is_final=False)
            await client.say(question, session_id=uuid.uuid4().hex)
            final = await client.until(type="answer", final=True)
            await client.until(type="status", stage="listening")
            assert client.text()
            assert client.indices()[-1] == final["stream_index"]
        assert client.stages == ["listening", *(["analyzing", "querying_rag", "idle", "listening"] * 2)]


async def test_stop_frees_the_engine_and_keeps_what_was_said(scripted: Stack) -> None:
    question = f"what is {uuid.uuid4().hex}"
    async with asr(scripted) as client:
        await client.say(question)
        await client.until(type="answer", stream_index=3)
        assert len(await asyncio.to_thread(at_work, scripted)) == 1
        await client.send(type="control", action="stop")
        await client.until(type="status", stage="idle")
        assert [frame["final"] for frame in client.frames if frame["type"] == "answer"].count(True) == 1
        await soon(lambda: not at_work(scripted), "seat freed", limit_s=30)
        (row,) = stored(scripted, question, by="question")
        assert (row["status"], row["text"]) == ("cancelled", client.text())
        assert WHOLE.startswith(client.text())
        assert 0 < len(client.text()) < len(WHOLE)
        await client.say(f"what is {uuid.uuid4().hex}")
        await client.until(type="answer", final=True)
        assert client.text() == WHOLE


@pytest.mark.parametrize("salt", ["", " salt"], ids=["goes on", "starts anew"])
async def test_a_killed_worker_is_succeeded(scripted: Stack, salt: str) -> None:
    question = f"what is tag={uuid.uuid4().hex[:8]}{salt} tokens=60 every=30 here"
    async with asr(scripted) as client:
        await client.say(question)
        await client.until(type="answer", stream_index=8)
        (victim,) = await asyncio.to_thread(at_work, scripted)
        await asyncio.to_thread(victim.end, signal.SIGKILL)
        try:
            await client.until(type="answer", final=True)
        finally:
            victim.start()
            await asyncio.to_thread(victim.wait_ready)
        await client.until(type="status", stage="listening")
        (row,) = stored(scripted, question, by="question")
        assert (row["status"], row["text"]) == ("completed", client.text())
        assert client.indices() == list(range(len(client.indices())))
        assert len([frame for frame in client.frames if frame.get("restarted")]) == (1 if salt else 0)
        assert client.stages == ["listening", "analyzing", "querying_rag", "idle", "listening"]


async def test_a_session_goes_on_at_another_gateway(scripted: Stack) -> None:
    session, rows = uuid.uuid4().hex, []
    for gateway in scripted.of("gateway"):
        question = f"what is {uuid.uuid4().hex}"
        async with asr(gateway) as client:
            await client.say(question, session_id=session)
            await client.until(type="answer", final=True)
        rows += stored(scripted, question, by="question")
    assert len({row["session"] for row in rows}) == 1
    assert len(rows) == 2
