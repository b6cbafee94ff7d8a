"""The health port: four routes, GET only, and nothing that can hurt the process."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from parley_protocol.control import EngineInfo
from parley_runtime import health
from parley_runtime.errors import ConfigError, Unavailable
from parley_runtime.health import HealthServer
from parley_runtime.process import Figures, Process
from parley_runtime.settings import CommonSettings

pytestmark = pytest.mark.unit


@pytest.fixture
def process() -> Process:
    return Process("rag", CommonSettings(process_id="rag-1"))


@pytest.fixture
async def server(process: Process) -> AsyncIterator[HealthServer]:
    async with HealthServer(process, "127.0.0.1", 0) as server:
        yield server


async def _ask(server: HealthServer, raw: bytes) -> tuple[int, str, bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        writer.write(raw)
        async with asyncio.timeout(30):
            answer = await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), head.decode(), body


async def _get(server: HealthServer, path: str) -> tuple[int, str, bytes]:
    return await _ask(server, f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())


async def test_alive_before_ready(server: HealthServer, process: Process) -> None:
    assert (await _get(server, "/livez"))[0] == 200
    status, _, body = await _get(server, "/readyz")
    assert (status, json.loads(body)) == (503, {"ready": False, "checks": {"process": "starting"}})
    process.started.set()
    process.checks.add("worker", lambda: None)
    status, head, body = await _get(server, "/readyz?verbose=1")
    assert (status, json.loads(body)) == (200, {"ready": True, "checks": {"process": "ok", "worker": "ok"}})
    assert "application/json" in head


async def test_not_ready_says_why(server: HealthServer, process: Process) -> None:
    process.started.set()
    process.checks.add("worker", lambda: "not consuming")
    process.checks.add("odd", lambda: str(1 / 0))
    status, _, body = await _get(server, "/readyz")
    assert status == 503
    assert json.loads(body)["checks"] == {
        "process": "ok",
        "worker": "not consuming",
        "odd": "check failed: ZeroDivisionError",
    }


async def test_draining_is_not_ready_and_alive(server: HealthServer, process: Process) -> None:
    process.started.set()
    process.stop("test")
    assert (await _get(server, "/livez"))[0] == 200
    status, _, body = await _get(server, "/readyz")
    assert (status, json.loads(body)["checks"]) == (503, {"process": "draining"})


async def test_metrics_and_status(server: HealthServer, process: Process) -> None:
    process.started.set()
    process.engines.append(EngineInfo("generate", "extractive", "it needs no model"))
    process.add_figures(lambda: Figures(seats=3, busy=1, latencies={"first_token_p50": 2.0}))
    process.add_figures(lambda: Figures(seats=4, sessions=2))
    status, head, _ = await _get(server, "/metrics")
    assert status == 200
    assert "text/plain; version=" in head
    _, _, body = await _get(server, "/statusz")
    said = json.loads(body)
    assert (said["id"], said["role"], said["ready"]) == ("rag-1", "rag", True)
    assert (said["seats"], said["busy"], said["sessions"]) == (7, 1, 2)
    assert said["engines"] == [{"stage": "generate", "name": "extractive", "why": "it needs no model"}]
    assert said["latencies"] == {"first_token_p50": 2.0}


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"POST /livez HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (b"HEAD /livez HTTP/1.1\r\n\r\n", 405),
        (b"GET /other HTTP/1.1\r\n\r\n", 404),
        (b"nonsense\r\n\r\n", 400),
        (b"GET /livez\r\n\r\n", 400),
        (b"\xff\xfe \x00 HTTP/1.1\r\n\r\n", 405),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 9000 + b"\r\n\r\n", 400),
    ],
)
async def test_anything_else_is_refused(server: HealthServer, raw: bytes, status: int) -> None:
    got, head, _ = await _ask(server, raw)
    assert got == status
    assert ("Allow: GET" in head) == (status == 405)


async def test_a_silent_client_is_dropped(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "TIMEOUT_S", 0.05)
    async with HealthServer(process, "127.0.0.1", 0) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET /li")
        async with asyncio.timeout(30):
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await reader.readexactly(1)
        writer.close()
        assert (await _get(server, "/livez"))[0] == 200


async def test_connections_are_bounded(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "MAX_CONNECTIONS", 1)
    async with HealthServer(process, "127.0.0.1", 0) as server:
        first_reader, first = await asyncio.open_connection("127.0.0.1", server.port)
        first.write(b"GET /livez HTTP/1.1\r\n")
        reader, second = await asyncio.open_connection("127.0.0.1", server.port)
        async with asyncio.timeout(30):
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await reader.readexactly(1)
        first.write(b"\r\n")
        assert b"200 OK" in await first_reader.read()
        for writer in (first, second):
            writer.close()


async def test_a_taken_port_and_a_bad_address(process: Process, server: HealthServer) -> None:
    with pytest.raises(Unavailable, match="PARLEY_HEALTH_PORT"):
        await HealthServer(process, "127.0.0.1", server.port).__aenter__()
    with pytest.raises(ConfigError, match="PARLEY_HEALTH_HOST"):
        await HealthServer(process, "192.0.2.1", 0).__aenter__()
