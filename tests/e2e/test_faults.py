"""One fault at a time, on the real stack: each turn goes on to its one end. (The whole matrix is tests/chaos.)"""

import asyncio
import os
import signal
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from parley_client import AnswerDelta, ClientOptions, Done, Restarted, connect
from parley_testkit.stack import Lab, Service, Stack, soon, until

from .harness import WHOLE, stored
from .sockets import Memory, opened

pytestmark = pytest.mark.e2e


def at_work(stack: Stack) -> Service:
    """The inference process with a seat taken."""
    return next(service for service in stack.of("inference") if service.get("/statusz").json().get("busy", 0))


async def test_a_killed_worker_is_succeeded(scripted: Stack) -> None:
    turn = uuid.uuid4().hex
    async with opened(scripted.url) as socket:
        await socket.start(turn)
        await socket.until_text(turn, 30)
        victim = await asyncio.to_thread(at_work, scripted)
        await asyncio.to_thread(victim.end, signal.SIGKILL)
        try:
            done = await socket.until_done(turn)
        finally:
            victim.start()
            await asyncio.to_thread(victim.wait_ready)
        assert (done["status"], done["text"]) == ("completed", WHOLE)
        # The scripted engine repeats itself, so its successor goes on where it was.
        assert socket.seen(turn).restarts == 0
        assert [frame["type"] for frame in socket.frames].count("turn.done") == 1
    assert [row["text"] for row in stored(scripted, turn)] == [WHOLE]


async def test_a_killed_rag_process_loses_nothing(scripted: Stack) -> None:
    turn = uuid.uuid4().hex
    (rag,) = scripted.of("rag")
    async with opened(scripted.url) as socket:
        await socket.start(turn)
        await socket.until_text(turn, 30)
        await asyncio.to_thread(rag.end, signal.SIGKILL)
        # The answer ends while nobody can record it.
        await socket.until_text(turn, len(WHOLE))
        rag.start()
        done = await socket.until_done(turn)
        await asyncio.to_thread(rag.wait_ready)
    assert (done["status"], done["text"]) == ("completed", WHOLE)


async def test_a_killed_gateway_is_resumed_at_itself(scripted: Stack) -> None:
    gateway, memory, turn = scripted.gateway, Memory(), uuid.uuid4().hex
    async with opened(gateway.url, memory) as socket:
        await socket.start(turn)
        await socket.until_text(turn, 30)
        await asyncio.to_thread(gateway.end, signal.SIGKILL)
    gateway.start()
    await asyncio.to_thread(gateway.wait_ready)
    async with opened(gateway.url, memory, greet=False) as socket:
        welcome = await socket.resume()
        assert (welcome["resumed"], welcome["gap"]) == (True, False)
        done = await socket.until_done(turn)
    assert (done["status"], done["text"]) == ("completed", WHOLE)


async def test_a_gateway_that_is_restarted_gracefully_is_not_noticed_by_a_client(scripted: Stack) -> None:
    gateway = scripted.gateway
    notices: list[str] = []
    options = ClientOptions(on_notice=notices.append)
    async with connect(gateway.url, options) as chat:
        turn = await chat.ask("why?")
        restart: asyncio.Task[None] | None = None
        text, done = "", None
        async for event in turn:
            match event:
                case AnswerDelta():
                    text += event.text
                    restart = restart or asyncio.create_task(asyncio.to_thread(gateway.restart))
                case Restarted():
                    text = ""
                case Done():
                    done = event
                case _:
                    pass
        assert restart is not None
        await restart
        assert done is not None
        assert (done.status.value, done.text, text) == ("completed", WHOLE, WHOLE)
        again = await (await chat.ask("why?")).done()
        assert again.text == WHOLE
    assert notices


async def test_a_broker_that_is_restarted_is_said_and_loses_nothing(scripted: Stack, lab: Lab) -> None:
    turn, running = uuid.uuid4().hex, True
    try:
        async with opened(scripted.url) as socket:
            await socket.start(turn)
            await socket.until_text(turn, 30)
            running = False
            await asyncio.to_thread(lab.node.stop)
            degraded = await socket.until("degraded")
            assert "broker" in degraded["reason"]
            info = await asyncio.to_thread(_status, scripted)
            assert "broker" in str(info["broker"])
            await _refused(scripted)
            await asyncio.to_thread(lab.node.start)
            running = True
            await socket.until("restored")
            done = socket.seen(turn).done or await socket.until_done(turn)
            assert (done["status"], done["text"]) == ("completed", WHOLE)
    finally:
        if not running:
            await asyncio.to_thread(lab.node.start)
        # The other installations of this broker come back as well, by themselves.
        for stack in lab.stacks:
            await asyncio.to_thread(stack.wait)
    assert [row["text"] for row in stored(scripted, turn)] == [WHOLE]


async def _refused(stack: Stack) -> None:
    """A new turn is not taken, and its client is told what to do."""
    async with opened(stack.url) as socket:
        await socket.start("t1")
        error = await socket.until("error")
    assert (error["turn"], error["code"], error["retryable"]) == ("t1", "unavailable", True)
    assert error["retry_after_ms"] > 0


def _status(stack: Stack) -> dict[str, object]:
    answer = httpx.get(stack.url + "/v1/status", timeout=60, trust_env=False)
    assert answer.status_code == 200, answer.text
    info: dict[str, object] = answer.json()
    return info


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MB. Mounting needs root, or sudo without a password."""
    folder = tmp_path / "disk"
    folder.mkdir()
    root = [] if os.geteuid() == 0 else ["sudo", "-n"]
    options = ["-t", "tmpfs", "-o", f"size=8m,uid={os.geteuid()}", "parley-test", str(folder)]
    subprocess.run([*root, "mount", *options], check=True, timeout=60)
    try:
        yield folder
    finally:
        subprocess.run([*root, "umount", "-l", str(folder)], check=True, timeout=60)


def fill(folder: Path) -> Path:
    """A file that takes all the space there is."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        size = 65_536
        while size:
            try:
                if file.write(b"x" * size) < size:
                    size //= 2
            except OSError:
                size //= 2
    return ballast


async def test_a_full_disk_stops_the_recorder_and_loses_nothing(
    small_disk: Path, make_stack: Callable[..., Stack]
) -> None:
    tokens = 10_000
    stack = make_stack(
        "full-disk",
        store=f"sqlite+aiosqlite:///{small_disk / 'parley.db'}",
        PARLEY_ENGINE="scripted",
        PARLEY_SCRIPT_TOKENS=str(tokens),
        PARLEY_SCRIPT_INTERVAL_MS="0.1",
    )
    (rag,) = stack.of("rag")
    whole = " ".join(f"t{index}" for index in range(1, tokens + 1))
    before, during = uuid.uuid4().hex, uuid.uuid4().hex
    async with opened(stack.url) as socket, opened(stack.url) as other:
        await socket.start(before)
        await socket.until_text(before, 1000)
        ballast = await asyncio.to_thread(fill, small_disk)
        await socket.until_text(before, len(whole))
        await other.start(during, "q" * 16_000)

        def trouble() -> str:
            answer = rag.get("/readyz")
            checks: dict[str, str] = answer.json()["checks"]
            return checks["recorder"] if answer.status_code == 503 and checks["recorder"] != "ok" else ""

        reason = await soon(trouble, "the recorder says why", limit_s=30)
        assert "full" in reason or "space" in reason, reason
        assert stored(stack, before)[0]["status"] == "open"
        assert socket.seen(before).done is None
        ballast.unlink()
        done = await socket.until_done(before)
        assert (done["status"], done["text"]) == ("completed", whole)
        late = await other.until_done(during)
        assert (late["status"], late["text"]) == ("completed", whole)
    await asyncio.to_thread(until, rag.ready, "ready again", limit_s=30)
    assert [row["status"] for row in stored(stack, before) + stored(stack, during)] == ["completed", "completed"]
