"""The supervisor over real processes that do as they are told."""

import asyncio
import contextlib
import io
import os
import signal
import sys
import textwrap
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest
from rich.console import Console

from parley_client.up import child, ports
from parley_client.up.child import Command
from parley_client.up.errors import UpError
from parley_client.up.plan import Service
from parley_client.up.policy import RestartPolicy
from parley_client.up.report import Report, Step
from parley_client.up.run import Signals
from parley_client.up.supervisor import Limits, Supervisor

pytestmark = pytest.mark.e2e

SERVICE = textwrap.dedent(
    """
    import http.server, os, signal, sys

    name, port, mode, journal = sys.argv[1:5]

    def note(what):
        with open(journal, "a") as file:
            file.write(f"{what} {name} {os.getpid()}\\n")

    def stop(*_):
        note("term")
        if mode != "deaf":
            os._exit(0)

    signal.signal(signal.SIGTERM, stop)
    note("start")
    if mode == "badconfig":
        print("PARLEY_PORT='x': expected integer", flush=True)
        os._exit(78)
    if mode == "crash":
        print("error: no luck today", flush=True)
        os._exit(3)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(503 if mode == "never" else 200)
            self.end_headers()
            self.wfile.write(b"not consuming yet" if mode == "never" else b"ready")

        def log_message(self, *args):
            pass

    http.server.ThreadingHTTPServer(("127.0.0.1", int(port)), Handler).serve_forever()
    """
)
POLICY = RestartPolicy(first=0.02, longest=0.05, patience=3)


class FakeBroker:
    """Runs nothing; ends when told to, and remembers when it was stopped."""

    kind = "external"

    def __init__(self, on_stop: Callable[[], None]) -> None:
        self.ended: asyncio.Event = asyncio.Event()
        self.starts = 0
        self._on_stop = on_stop

    async def start(self, step: Step) -> str:
        self.starts += 1
        self.ended.clear()
        return "amqp://fake/"

    async def wait(self) -> int:
        await self.ended.wait()
        return -9

    async def stop(self, within: float) -> None:
        self._on_stop()


class Stage:
    """A supervisor at work on stand-ins, with everything it printed."""

    def __init__(self, folder: Path, client: httpx.AsyncClient, limits: Limits | None = None) -> None:
        self.folder = folder
        self.out = io.StringIO()
        self.report = Report(Console(file=self.out, width=200, highlight=False, soft_wrap=True))
        self.supervisor = Supervisor(self.report, client, POLICY, limits or Limits(ready=20.0, poll=0.02))
        self.broker = FakeBroker(lambda: self.note("broker"))
        self.up = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    def note(self, what: str) -> None:
        with (self.folder / "journal").open("a", encoding="utf-8") as file:
            file.write(f"{what} - 0\n")

    def service(self, role: str, mode: str = "good", number: int = 1) -> Service:
        name, port = f"{role}-{number}", ports.free_port()
        argv = (sys.executable, "-I", "-S", "-c", SERVICE, name, str(port), mode, str(self.folder / "journal"))
        command = Command(name, argv, self.folder / "logs" / f"{name}.log", {"PATH": "/usr/bin:/bin"})
        return Service(role, command, f"http://127.0.0.1:{port}")

    async def run(self, *services: Service) -> None:
        async def chosen(step: Step) -> FakeBroker:
            return self.broker

        async def once_ready() -> None:
            self.up.set()

        url = await self.supervisor.provide(chosen)
        await self.supervisor.run(services, url, once_ready)

    async def begin(self, *services: Service) -> None:
        """Runs until everything is ready."""
        self.task = asyncio.create_task(self.run(*services))
        ready = asyncio.create_task(self.up.wait())
        await asyncio.wait([self.task, ready], timeout=60, return_when=asyncio.FIRST_COMPLETED)
        assert self.up.is_set(), self.out.getvalue()

    def journal(self, what: str) -> list[tuple[str, int]]:
        path = self.folder / "journal"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        return [(name, int(pid)) for kind, name, pid in (line.split() for line in lines) if kind == what]

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(15):
            while True:
                if condition():
                    return
                await asyncio.sleep(0.01)

    async def close(self) -> None:
        if self.task is not None:
            self.task.cancel()
            with contextlib.suppress(asyncio.CancelledError, UpError):
                await self.task
        self.supervisor.hurry()
        await self.supervisor.stop()


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with httpx.AsyncClient(trust_env=False) as client:
        made = Stage(tmp_path, client)
        try:
            yield made
        finally:
            await made.close()
    for _, pid in made.journal("start"):
        assert not alive(pid)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_a_killed_process_is_named_and_restarted(stage: Stage) -> None:
    await stage.begin(stage.service("gateway"), stage.service("inference"))
    (pid,) = [pid for name, pid in stage.journal("start") if name == "inference-1"]
    os.kill(pid, signal.SIGKILL)
    await stage.until(lambda: "inference-1 is back" in stage.out.getvalue())
    printed = stage.out.getvalue()
    assert (
        f"inference-1 ended by signal 9 (SIGKILL) (see {stage.folder}/logs/inference-1.log); restarting in 0."
        in printed
    )
    assert [name for name, _ in stage.journal("start")].count("inference-1") == 2
    assert [name for name, _ in stage.journal("start")].count("gateway-1") == 1


async def test_stopping_asks_gateways_then_workers_then_the_broker(stage: Stage) -> None:
    await stage.begin(
        stage.service("inference"), stage.service("gateway"), stage.service("rag"), stage.service("gateway", number=2)
    )
    assert stage.task is not None
    stage.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stage.task
    assert stage.journal("term") == []
    await stage.supervisor.stop()
    lines = [line.split()[:2] for line in (stage.folder / "journal").read_text(encoding="utf-8").splitlines()[4:]]
    assert sorted(lines[:2]) == [["term", "gateway-1"], ["term", "gateway-2"]]
    assert sorted(lines[2:4]) == [["term", "inference-1"], ["term", "rag-1"]]
    assert lines[4:] == [["broker", "-"]]


async def test_bad_configuration_ends_the_start_without_a_second_try(stage: Stage) -> None:
    with pytest.raises(UpError, match=r"(?s)rag-1 stopped: its configuration is wrong.*'x': expected integer"):
        await stage.run(stage.service("gateway"), stage.service("rag", "badconfig"))
    assert [name for name, _ in stage.journal("start")].count("rag-1") == 1


async def test_a_process_that_never_starts_ends_the_start_with_its_last_lines(stage: Stage) -> None:
    with pytest.raises(UpError, match=r"(?s)rag-1 ended with code 3: it ended 3 times in a row.*no luck today"):
        await stage.run(stage.service("rag", "crash"))
    assert len(stage.journal("start")) == 3


async def test_a_process_that_is_never_ready_is_reported_with_what_it_says(tmp_path: Path) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        stage = Stage(tmp_path, client, Limits(ready=1.0, poll=0.02))
        try:
            with pytest.raises(UpError, match=r"rag-1 was not ready within 1 s\. It says: not consuming yet"):
                await stage.run(stage.service("gateway"), stage.service("rag", "never"))
        finally:
            await stage.close()


async def test_hurrying_kills_what_does_not_stop(stage: Stage) -> None:
    await stage.begin(stage.service("rag", "deaf"))
    assert stage.task is not None
    stage.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stage.task
    stopping = asyncio.create_task(stage.supervisor.stop())
    await stage.until(lambda: len(stage.journal("term")) == 1)
    assert not stopping.done()
    stage.supervisor.hurry()
    await asyncio.wait_for(stopping, 30)
    assert not alive(stage.journal("start")[0][1])


async def test_a_broker_that_ends_is_started_again(stage: Stage) -> None:
    await stage.begin(stage.service("rag"))
    stage.broker.ended.set()
    await stage.until(lambda: stage.broker.starts == 2)
    assert "broker ended by signal 9 (SIGKILL); restarting" in stage.out.getvalue()


async def test_one_ctrl_c_that_arrives_twice_does_not_hurry(stage: Stage) -> None:
    now = 100.0

    async def forever() -> None:
        await asyncio.Event().wait()

    work = asyncio.create_task(forever())
    signals = Signals(stage.report, stage.supervisor, work, lambda: now)
    signals.arrived()
    now += 0.5
    signals.arrived()
    assert "hurrying" not in stage.out.getvalue()
    now += 0.6
    signals.arrived()
    assert "hurrying" in stage.out.getvalue()
    with pytest.raises(asyncio.CancelledError):
        await work


async def test_a_program_that_is_not_there_is_said(stage: Stage, tmp_path: Path) -> None:
    command = Command("ghost", ("/no/such/program",), tmp_path / "ghost.log", {})
    ghost = await child.start(command, lambda line: None)
    assert await ghost.wait() == 1
    assert list(ghost.tail) == ["/no/such/program cannot be started: No such file or directory"]


async def test_children_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    """No orphans, even after SIGKILL of the supervisor."""
    parent = textwrap.dedent(
        f"""
        import asyncio, sys
        from pathlib import Path
        from parley_client.up.child import Command, start

        async def main():
            argv = (sys.executable, "-I", "-S", "-c", "import time; time.sleep(600)")
            child = await start(Command("x", argv, Path({str(tmp_path)!r}) / "x.log", {{}}), print)
            print(child.pid, flush=True)
            await child.wait()

        asyncio.run(main())
        """
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", parent, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    pid = int(await process.stdout.readline())
    assert alive(pid)
    process.kill()
    await process.wait()
    async with asyncio.timeout(30):
        while True:
            if not alive(pid) or zombie(pid):
                return
            await asyncio.sleep(0.01)


def zombie(pid: int) -> bool:
    """Dead, but not yet collected by whatever adopted it."""
    with contextlib.suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(") ", 1)[1][0] == "Z"
    return True


async def test_a_log_holds_every_line_and_cuts_the_endless_one(tmp_path: Path) -> None:
    code = "print('first'); print('x' * 200_000); print('last', end='')"
    seen: list[str] = []
    command = Command("talker", (sys.executable, "-I", "-S", "-c", code), tmp_path / "logs" / "talker.log", {})
    talker = await child.start(command, seen.append)
    assert await talker.wait() == 0
    assert seen[0] == "first"
    assert seen[-1] == "last"
    assert sum(len(line) for line in seen[1:-1]) == 200_000
    assert max(len(line) for line in seen) <= 2 * child.LONGEST_LINE
    assert command.log.read_text(encoding="utf-8").split("\n")[0] == "first"


async def test_a_log_that_cannot_be_written_is_told_once_and_loses_no_warning(tmp_path: Path) -> None:
    code = "for number in range(5): print('warning', number)"
    seen: list[str] = []
    log = tmp_path / "talker.log"
    log.mkdir()
    talker = await child.start(Command("talker", (sys.executable, "-I", "-S", "-c", code), log, {}), seen.append)
    assert await talker.wait() == 0
    assert [line for line in seen if line.startswith("warning")] == [f"warning {number}" for number in range(5)]
    assert [line for line in seen if "Is a directory" in line] == [seen[0]]
    assert seen[-1] == f"error: 5 lines could not be written to {log}"
