"""The whole of `parley up` with a real broker of its own and stand-in services."""

import asyncio
import contextlib
import os
import signal
import sys
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from parley_client.up import lock, ports

pytestmark = pytest.mark.rabbit

SERVICE = textwrap.dedent(
    """
    import http.server, json, os, signal

    name = os.environ["PARLEY_PROCESS_ID"].rsplit("-", 1)[0]
    print(json.dumps({"level": "warning", "event": "started", "pid": os.getpid()}), flush=True)
    if name == os.environ.get("FAIL"):
        print("settings that cannot be used: FAIL", flush=True)
        os._exit(78)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            row = {"stage": name.split("-")[0], "name": "stand-in", "why": "nothing else is here"}
            body = json.dumps({"engines": [row]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    key = "PARLEY_PORT" if name.startswith("gateway") else "PARLEY_HEALTH_PORT"
    http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ[key])), Handler).serve_forever()
    """
)
PARLEY = (sys.executable, "-c", "from parley_client.cli import main; main()")


class Up:
    """A running `parley up`, with what it printed so far."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self.process = process
        self.port = port
        self.lines: list[str] = []

    async def until(self, text: str) -> str:
        """Reads on until a line holds `text`; all of it when the process ends first."""
        assert self.process.stdout is not None
        async with asyncio.timeout(120):
            while line := (await self.process.stdout.readline()).decode():
                self.lines.append(line.rstrip())
                if text in line:
                    return line
        return ""

    @property
    def printed(self) -> str:
        return "\n".join(self.lines)

    def pids(self) -> list[int]:
        return [int(line.rsplit("pid=", 1)[1]) for line in self.lines if "pid=" in line]


@contextlib.asynccontextmanager
async def up(tmp_path: Path, *flags: str, **env: str) -> AsyncIterator[Up]:
    for module in ("parley_gateway", "parley_rag", "parley_inference"):
        (tmp_path / "fakes").mkdir(exist_ok=True)
        (tmp_path / "fakes" / f"{module}.py").write_text(SERVICE, encoding="utf-8")
    port = ports.free_port()
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("PARLEY_", "AMQP_"))}
    process = await asyncio.create_subprocess_exec(
        *(*PARLEY, "up", "--port", str(port), "--data", str(tmp_path / "data"), "--no-sample", *flags),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=inherited | {"PYTHONPATH": str(tmp_path / "fakes"), "PARLEY_BROKER": "package", **env},
        cwd=tmp_path,
    )
    running = Up(process, port)
    try:
        yield running
    finally:
        if process.returncode is None:
            process.kill()
        await running.until("never printed")
        await process.wait()
    assert "Traceback" not in running.printed


async def test_from_nothing_to_an_address_and_back_with_ctrl_c(tmp_path: Path) -> None:
    async with up(tmp_path, "--workers", "2") as running:
        assert await running.until("Parley is up at"), running.printed
        await running.until("another terminal")
        async with httpx.AsyncClient(trust_env=False) as client:
            assert (await client.get(f"http://127.0.0.1:{running.port}/readyz")).status_code == 200
        assert len(running.pids()) == 5
        assert "rag        stand-in: nothing else is here" in running.printed
        running.process.send_signal(signal.SIGINT)
        await running.until("never printed")
        assert await running.process.wait() == 0
        assert running.lines[-1].startswith("✓ stopped;")
        for pid in running.pids():
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)
    assert lock.holder(tmp_path / "data") is None
    assert lock.holder(tmp_path / "data" / "broker") is None


async def test_down_stops_it_and_a_second_up_is_told_about_the_first(tmp_path: Path) -> None:
    async with up(tmp_path) as running:
        assert await running.until("another terminal"), running.printed
        async with up(tmp_path) as second:
            assert await second.until(f"already runs from {tmp_path}/data (process {running.process.pid})")
            assert await second.process.wait() == 1
        down = await asyncio.create_subprocess_exec(*PARLEY, "down", "--data", str(tmp_path / "data"))
        assert await down.wait() == 0
        assert await running.process.wait() == 0


async def test_a_configuration_error_stops_everything_and_exits_non_zero(tmp_path: Path) -> None:
    async with up(tmp_path, FAIL="rag-1") as running:
        await running.until("rag-1 stopped: its configuration is wrong")
        await running.until("settings that cannot be used: FAIL")
        assert await running.process.wait() == 1
        assert running.printed.count("settings that cannot be used") == 1
        for pid in running.pids():
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)


async def test_a_broker_that_cannot_be_reached_is_explained_and_starts_nothing(tmp_path: Path) -> None:
    async with up(tmp_path, AMQP_URL=f"amqp://me:s3cret@127.0.0.1:{ports.free_port()}/") as running:
        await running.until("never printed")
        assert await running.process.wait() == 1
        assert "unset it to let Parley start one of its own" in running.printed
        assert "s3cret" not in running.printed
        assert running.pids() == []
