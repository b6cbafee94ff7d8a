"""The gateway under stock uvicorn: several processes, tokens out of its log, sockets drained before it closes any."""

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from parley_testkit.rabbit import free_port
from parley_testkit.stack import Stack, soon

from .sockets import opened

pytestmark = pytest.mark.e2e


@pytest.fixture
def workers(make_stack: Callable[..., Stack]) -> Stack:
    """Workers without a gateway."""
    return make_stack("asgi", roles={"rag": 1, "inference": 1}, PARLEY_ENGINE="scripted", PARLEY_SCRIPT_TOKENS="20")


@pytest.fixture
def served(workers: Stack) -> Iterator[tuple[str, Path, "subprocess.Popen[bytes]"]]:
    """``uvicorn parley_gateway.asgi:app --workers 2`` as a user types it."""
    port, log = free_port(), workers.folder / "uvicorn.log"
    argv = [sys.executable, "-m", "uvicorn", "parley_gateway.asgi:app", "--workers", "2", "--port", str(port)]
    with log.open("wb") as out:
        process = subprocess.Popen(
            argv, env=workers.environ(), cwd=workers.folder, stdin=subprocess.DEVNULL, stdout=out, stderr=out
        )
    try:
        yield f"http://127.0.0.1:{port}", log, process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            raise AssertionError(f"uvicorn did not end:\n{log.read_text()[-3000:]}") from None


async def test_turns_run_under_stock_uvicorn_and_its_sockets_are_drained(
    served: tuple[str, Path, "subprocess.Popen[bytes]"],
) -> None:
    url, log, process = served
    await soon(lambda: httpx.get(url + "/readyz", trust_env=False).status_code == 200, f"ready: {log.read_text()}")
    async with opened(url) as socket, connect(url.replace("http", "ws") + "/?token=tell-nobody") as plain:
        await socket.start("a")
        assert (await socket.until_done("a"))["status"] == "completed"
        await plain.send(json.dumps({"message": "thanks"}))
        assert json.loads(await plain.recv())["status"] == "success"
        await socket.start("b")
        await socket.until_text("b", 3)
        process.send_signal(signal.SIGTERM)
        assert (await socket.until_done("b"))["status"] == "completed", "a drain lets a running turn end"
        async with asyncio.timeout(20):
            await socket.ws.wait_closed()
            with pytest.raises(ConnectionClosed):
                await plain.recv()
        assert socket.ws.close_code == 4001
        assert plain.close_code == 1001
    async with asyncio.timeout(30):
        assert await asyncio.to_thread(process.wait) in (0, -signal.SIGTERM)
    logged = log.read_text()
    assert "tell-nobody" not in logged
    assert "Traceback" not in logged, logged[-3000:]


def test_settings_that_cannot_work_end_it_with_the_reason(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "uvicorn", "parley_gateway.asgi:app", "--port", str(free_port())],
        env={"PARLEY_PING_S": "never", "PATH": ""},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert "PARLEY_PING_S='never'" in done.stderr
