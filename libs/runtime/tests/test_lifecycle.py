"""Start, ready, drain, stop: in order, bounded, with the right exit code."""

import asyncio
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import structlog

from parley_runtime import lifecycle
from parley_runtime.errors import ConfigError, Unavailable
from parley_runtime.lifecycle import Teardown, serve
from parley_runtime.process import SAME_SIGNAL_S, Process
from parley_runtime.settings import CommonSettings, LogLevel
from parley_runtime.telemetry import metrics, names

pytestmark = pytest.mark.unit


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    common: CommonSettings = field(default_factory=CommonSettings)


class Steps(list[str]):
    """What happened, in order."""


@pytest.fixture
def steps() -> Steps:
    return Steps()


@pytest.fixture(autouse=True)
def logging_restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)
    structlog.reset_defaults()


class Part:
    def __init__(self, steps: Steps, drain: Callable[[], asyncio.Future[None]] | None = None) -> None:
        self.steps = steps
        self.waits_for = drain

    async def drain(self, deadline_s: float) -> None:
        self.steps.append(f"drain {deadline_s:g}")
        try:
            if self.waits_for is not None:
                await self.waits_for()
        except asyncio.CancelledError:
            self.steps.append("drain cancelled")
            raise


def _builder(steps: Steps, part: Part, error: Exception | None = None) -> lifecycle.Build[Settings]:
    @asynccontextmanager
    async def build(process: Process, settings: Settings) -> AsyncIterator[Part]:
        steps.append("build")
        if error is not None:
            raise error
        try:
            yield part
        finally:
            steps.append("leave")

    return build


def _process(**values: object) -> Process:
    return Process("test", CommonSettings(**values))  # type: ignore[arg-type]  # settings by name


async def _started(process: Process) -> None:
    async with asyncio.timeout(30):
        await process.started.wait()


async def test_a_stop_drains_leaves_and_ends_with_0(steps: Steps) -> None:
    process = _process(drain_s=3)
    task = asyncio.create_task(serve("test", Settings(), _builder(steps, Part(steps)), process=process, signals=False))
    await _started(process)
    assert process.ready()
    process.stop("test")
    assert not process.ready()
    assert await asyncio.wait_for(task, 30) == 0
    assert steps == ["build", "drain 3", "leave"]


async def test_a_second_stop_cuts_the_drain_short(steps: Steps) -> None:
    never: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    clock_s = 0.0

    class Clock:
        def monotonic(self) -> float:
            return clock_s

        def wall(self) -> float:
            return 0.0

    process = Process("test", CommonSettings(drain_s=1000), clock=Clock())
    part = Part(steps, lambda: never)
    task = asyncio.create_task(serve("test", Settings(), _builder(steps, part), process=process, signals=False))
    await _started(process)
    process.stop("SIGINT")
    # A terminal and a supervisor that both signal once are one signal.
    process.stop("SIGTERM")
    assert not process.hurry.is_set()
    clock_s = SAME_SIGNAL_S
    process.stop("SIGTERM")
    assert await asyncio.wait_for(task, 30) == 0
    assert steps == ["build", "drain 1000", "drain cancelled", "leave"]


async def test_a_drain_past_its_deadline_is_cut_short(steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifecycle, "LEAVE_S", 0.05)
    never: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    process = _process(drain_s=0)
    part = Part(steps, lambda: never)
    task = asyncio.create_task(serve("test", Settings(), _builder(steps, part), process=process, signals=False))
    await _started(process)
    process.stop("test")
    assert await asyncio.wait_for(task, 30) == 0
    assert steps == ["build", "drain 0", "drain cancelled", "leave"]


async def test_a_failing_drain_still_leaves(steps: Steps, capsys: pytest.CaptureFixture[str]) -> None:
    failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    failed.set_exception(RuntimeError("odd"))
    process = _process()
    part = Part(steps, lambda: failed)
    task = asyncio.create_task(serve("test", Settings(), _builder(steps, part), process=process, signals=False))
    await _started(process)
    process.stop("test")
    assert await asyncio.wait_for(task, 30) == 0
    assert steps[-1] == "leave"
    assert "drain failed" in capsys.readouterr().err


async def test_a_task_that_dies_ends_the_process_by_name(steps: Steps, capsys: pytest.CaptureFixture[str]) -> None:
    process = _process(drain_s=100)
    task = asyncio.create_task(serve("test", Settings(), _builder(steps, Part(steps)), process=process, signals=False))
    await _started(process)

    async def pump() -> None:
        raise ValueError("the pump broke")

    process.spawn("pump", pump())
    assert await asyncio.wait_for(task, 30) == 1
    # Draining after a failure is short, and the rest is taken down all the same.
    assert steps == ["build", f"drain {lifecycle.FAILED_DRAIN_S:g}", "leave"]
    written = capsys.readouterr().err
    assert '"part": "pump"' in written
    assert "ValueError: the pump broke" in written


async def test_a_task_that_ends_early_is_a_failure_unless_it_may_end(steps: Steps) -> None:
    process = _process()

    async def short() -> None:
        return None

    await process.spawn("may end", short(), ends=True)
    assert not process.stopping.is_set()
    await process.spawn("may not", short())
    await asyncio.sleep(0)
    assert isinstance(process.failure, RuntimeError)
    assert process.stopping.is_set()


async def test_tasks_still_running_are_cancelled_last_first(steps: Steps) -> None:
    process = _process()

    async def wait(name: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            steps.append(name)

    for name in ("one", "two"):
        process.spawn(name, wait(name))
    await asyncio.sleep(0)
    await process.cancel_tasks()
    assert steps == ["two", "one"]
    assert process.failure is None


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (ConfigError("set THIS_KEY"), 78, "set THIS_KEY"),
        (Unavailable("no broker at amqp://user:hidden@host/"), 1, "no broker at amqp://***@host/"),
        (RuntimeError("odd"), 1, "RuntimeError: odd"),
    ],
)
async def test_a_start_that_fails_says_one_clear_line(
    steps: Steps, capsys: pytest.CaptureFixture[str], error: Exception, code: int, said: str
) -> None:
    build = _builder(steps, Part(steps), error)
    assert await serve("test", Settings(), build, process=_process(), signals=False) == code
    assert capsys.readouterr().err == f"parley test: cannot start: {said}\n"
    assert steps == ["build"]


async def test_the_traceback_of_a_failed_start_is_for_debug(steps: Steps, capsys: pytest.CaptureFixture[str]) -> None:
    build = _builder(steps, Part(steps), RuntimeError("odd"))
    process = _process(log_level=LogLevel.DEBUG)
    assert await serve("test", Settings(), build, process=process, signals=False) == 1
    assert "Traceback" in capsys.readouterr().err


async def test_a_stop_while_starting_ends_with_0(steps: Steps) -> None:
    entered = asyncio.Event()

    @asynccontextmanager
    async def build(process: Process, settings: Settings) -> AsyncIterator[Part]:
        entered.set()
        await asyncio.Event().wait()
        yield Part(steps)

    process = _process()
    task = asyncio.create_task(serve("test", Settings(), build, process=process, signals=False))
    await asyncio.wait_for(entered.wait(), 30)
    process.stop("test")
    assert await asyncio.wait_for(task, 30) == 0


async def test_an_unusable_trace_file_is_a_settings_error(
    steps: Steps, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    process = _process(trace_file=str(tmp_path))
    assert await serve("test", Settings(), _builder(steps, Part(steps)), process=process, signals=False) == 78
    assert "PARLEY_TRACE_FILE" in capsys.readouterr().err
    assert steps == []


async def test_the_health_port_answers_while_the_service_is_being_built(steps: Steps) -> None:
    seen: list[bytes] = []
    port = _free_port()

    @asynccontextmanager
    async def build(process: Process, settings: Settings) -> AsyncIterator[Part]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /readyz HTTP/1.1\r\n\r\n")
        seen.append(await reader.read())
        writer.close()
        yield Part(steps)

    process = _process(health_port=port)
    task = asyncio.create_task(serve("test", Settings(), build, process=process, signals=False))
    await _started(process)
    process.stop("test")
    assert await asyncio.wait_for(task, 30) == 0
    assert b"503" in seen[0].splitlines()[0]
    assert b'"starting"' in seen[0]


async def test_the_loop_lag_is_the_longest_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gauge:
        said: asyncio.Future[float] = asyncio.get_running_loop().create_future()

        def set(self, value: float) -> None:
            if not self.said.done():
                self.said.set_result(value)

    gauge = Gauge()
    asked: list[object] = []

    def make(metric: object) -> Gauge:
        asked.append(metric)
        return gauge

    monkeypatch.setattr(lifecycle, "LAG_WINDOW_S", 0.2)
    monkeypatch.setattr(metrics, "gauge", make)
    task = asyncio.create_task(lifecycle._loop_lag())
    await asyncio.sleep(0)
    time.sleep(0.3)  # noqa: ASYNC251 - the pause under test
    lag = await asyncio.wait_for(gauge.said, 30)
    task.cancel()
    assert asked == [names.LOOP_LAG_SECONDS]
    assert 0.2 < lag < 2.0


async def test_teardown_goes_on_after_a_failure_and_a_hang(
    steps: Steps, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(lifecycle, "LEAVE_S", 0.02)

    async def note(name: str) -> None:
        steps.append(name)

    async def fails() -> None:
        raise RuntimeError("odd")

    async def hangs() -> None:
        await asyncio.Event().wait()

    async with Teardown() as teardown:
        teardown.add("first", lambda: note("first"))
        teardown.add("fails", fails)
        teardown.add("hangs", hangs)
        teardown.add("last", lambda: note("last"))
    assert steps == ["last", "first"]


def _free_port() -> int:
    import socket

    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


_PROGRAM = """
import asyncio, contextlib, sys
from dataclasses import dataclass
from parley_runtime.lifecycle import main
from parley_runtime.settings import CommonSettings

@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    common: CommonSettings

class Part:
    async def drain(self, deadline_s):
        print("drained", flush=True)

@contextlib.asynccontextmanager
async def build(process, settings):
    print(type(asyncio.get_running_loop()).__module__, flush=True)
    yield Part()

main("test", Settings, build)
"""


def _run(program: Path, environ: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(program)],
        env={"PATH": os.environ["PATH"], **environ},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_real_process_ends_well_on_sigterm(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(_PROGRAM, encoding="utf-8")
    with _run(program, {"PARLEY_PROCESS_ID": "test-7"}) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        assert child.stdout.readline().startswith("uvloop")
        assert '"event": "started"' in child.stderr.readline()
        child.send_signal(signal.SIGTERM)
        out, err = child.communicate(timeout=60)
    assert child.returncode == 0
    assert out == "drained\n"
    assert '"reason": "SIGTERM"' in err


def test_a_signal_in_the_last_moment_is_no_failure(tmp_path: Path) -> None:
    """The service has left; only the interpreter is still there."""
    last = "import atexit, sys\natexit.register(lambda: (print('last', flush=True), sys.stdin.readline()))\n"
    program = tmp_path / "program.py"
    program.write_text(last + _PROGRAM, encoding="utf-8")
    with _run(program, {}) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        assert '"event": "started"' in child.stderr.readline()
        child.send_signal(signal.SIGTERM)
        while child.stdout.readline() != "last\n":
            pass
        child.send_signal(signal.SIGTERM)
        child.communicate("\n", timeout=60)
    assert child.returncode == 0


def test_a_real_process_with_bad_settings_ends_with_78(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(_PROGRAM, encoding="utf-8")
    with _run(program, {"PARLEY_DRAIN_S": "soon", "PARLEY_HEALTH_PORT": "-1"}) as child:
        out, err = child.communicate(timeout=60)
    assert child.returncode == 78
    assert out == ""
    assert "PARLEY_DRAIN_S='soon'" in err
    assert "PARLEY_HEALTH_PORT" in err
