"""Start, ready, drain, stop: the same ordered steps for every process.

    if __name__ == "__main__":
        main("inference", InferenceSettings, build)

``build(process, settings)`` is a service's composition root: an asynchronous context manager that yields what is to be
drained. Exit codes: 0 after a signal, 1 after a failure (a supervisor restarts), 78 for settings that cannot work (a
supervisor must not).
"""

import asyncio
import functools
import signal
import sys
import traceback
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import NoReturn, Protocol, Self, TypeVar

import uvloop

from parley_runtime import config, memory
from parley_runtime.errors import EX_CONFIG, ConfigError, ParleyError
from parley_runtime.health import HealthServer
from parley_runtime.process import Process
from parley_runtime.settings import CommonSettings, HasCommon, LogLevel
from parley_runtime.telemetry import logging as logs
from parley_runtime.telemetry import metrics, names, tracing

log = logs.get_logger(__name__)

LEAVE_S = 5.0
"""Seconds that handing over and leaving ``build`` may each take beyond the drain deadline, and each step of a Teardown
by itself."""
FAILED_DRAIN_S = 5.0
"""At most so many seconds of draining after a failure: the broker redelivers what is left."""
LAG_PERIOD_S = 0.05
LAG_WINDOW_S = 1.0


class Drainable(Protocol):
    """What ``build`` yields."""

    async def drain(self, deadline_s: float) -> None:
        """Take no new work; finish or hand over what is in flight within ``deadline_s`` seconds. Cancelled when a
        second signal comes or the deadline has passed.
        """
        ...


S = TypeVar("S", bound=HasCommon)
Build = Callable[[Process, S], AbstractAsyncContextManager[Drainable]]


def main(role: str, settings: type[S], build: Build[S]) -> NoReturn:
    """Run the process until a signal or a failure, then exit with the code described above."""
    try:
        values = config.read(settings, config.environment())
    except ConfigError as error:
        sys.stderr.write(f"parley {role}: {error}\n")
        sys.exit(EX_CONFIG)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        code = runner.run(serve(role, values, build))
    sys.exit(code)


async def serve(
    role: str, settings: S, build: Build[S], *, process: Process | None = None, signals: bool = True
) -> int:
    """The asynchronous form of :func:`main`: returns the exit code. Tests give their own ``process`` and call
    ``process.stop()`` in place of a signal.
    """
    process = process or Process(role, settings.common)
    async with Teardown() as steps:
        try:
            # 1. Telemetry first, so that everything after it can speak.
            await _telemetry(process, steps)
            # 2. The health port: alive, not ready yet.
            await _health(process, steps)
            # 3. Signals, and the loop's own pulse.
            if signals:
                _signals(process, steps)
            steps.add("tasks", process.cancel_tasks)
            process.spawn("loop lag", _loop_lag())
            process.spawn("memory", memory.give_back(), ends=True)
        except Exception as error:
            return _explain_start(process, error)
        # 4. The service: built, ready, running, drained, left, all in one task.
        return await _live(process, functools.partial(build, process, settings))


async def _telemetry(process: Process, steps: "Teardown") -> None:
    common = process.common
    logs.setup(process.role, process.id, common)
    metrics.watch_process()
    try:
        tracing.setup(process.role, process.id, common)
    except OSError as error:
        raise ConfigError(f"PARLEY_TRACE_FILE={common.trace_file}: cannot be opened ({error})") from error
    steps.add("traces", lambda: tracing.shutdown(LEAVE_S))


async def _health(process: Process, steps: "Teardown") -> None:
    common = process.common
    if not common.health_port:
        return
    server = HealthServer(process, common.health_host, common.health_port)
    await server.__aenter__()
    steps.add("health port", server.__aexit__)


def _signals(process: Process, steps: "Teardown") -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, process.stop, number.name)

    async def remove() -> None:
        """What is left takes a moment and has its bounds: one more signal must not make it look like a failure."""
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)

    steps.add("signals", remove)


async def _live(process: Process, build: Callable[[], AbstractAsyncContextManager[Drainable]]) -> int:
    """Watch over the service's task: a stop while it is still being built cancels it."""
    life = asyncio.create_task(_life(process, build), name="life")
    stop = asyncio.create_task(process.stopping.wait(), name="stop")
    try:
        await asyncio.wait({life, stop}, return_when=asyncio.FIRST_COMPLETED)
        if not life.done() and not process.started.is_set():
            life.cancel()
        if not life.done():
            await _bounded(process, life)
    finally:
        stop.cancel()
        life.cancel()
        await asyncio.wait({life, stop})
    return _verdict(process, life)


async def _bounded(process: Process, life: asyncio.Task[None]) -> None:
    limit = process.common.drain_s + 2 * LEAVE_S
    done, _ = await asyncio.wait({life}, timeout=limit)
    if not done:
        log.error("not stopped in time", limit_s=limit)


def _verdict(process: Process, life: asyncio.Task[None]) -> int:
    error = None if life.cancelled() else life.exception()
    if error is not None and not process.started.is_set():
        return _explain_start(process, error)
    if error is not None:
        log.error("stopped by a failure", exc_info=error)
    elif process.failure is not None:
        log.error("stopped by a failure", error=f"{type(process.failure).__name__}: {process.failure}")
    else:
        log.info("stopped")
        return 0
    return 1


async def _life(process: Process, build: Callable[[], AbstractAsyncContextManager[Drainable]]) -> None:
    async with build() as part:
        process.started.set()
        log.info("started", engines=[f"{engine.stage}: {engine.name} ({engine.why})" for engine in process.engines])
        await process.stopping.wait()
        await _drain(process, part)


async def _drain(process: Process, part: Drainable) -> None:
    """One deadline for all of it; a second signal ends it at once. What is left returns to the broker."""
    deadline = process.common.drain_s
    if process.failure is not None:
        deadline = min(deadline, FAILED_DRAIN_S)
    work = asyncio.create_task(part.drain(deadline), name="drain")
    hurry = asyncio.create_task(process.hurry.wait(), name="hurry")
    try:
        # More than the part was given: it may use all of that and hand over what is left.
        await asyncio.wait({work, hurry}, timeout=deadline + LEAVE_S, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            log.warning("drain cut short", hurried=process.hurry.is_set(), deadline_s=deadline)
    finally:
        work.cancel()
        hurry.cancel()
        await asyncio.wait({work, hurry})
    if not work.cancelled() and (error := work.exception()) is not None:
        log.error("drain failed", exc_info=error)


def _explain_start(process: Process, error: BaseException) -> int:
    """One clear line; the traceback only at debug level."""
    message = str(error) if isinstance(error, ParleyError) else f"{type(error).__name__}: {error}"
    sys.stderr.write(f"parley {process.role}: cannot start: {logs.scrub(message)}\n")
    if process.common.log_level is LogLevel.DEBUG:
        sys.stderr.write(logs.scrub("".join(traceback.format_exception(error))))
    sys.stderr.flush()
    return EX_CONFIG if isinstance(error, ConfigError) else 1


async def _loop_lag() -> None:
    """Keep ``LOOP_LAG_SECONDS``: the longest pause within each past second."""
    loop = asyncio.get_running_loop()
    gauge = metrics.gauge(names.LOOP_LAG_SECONDS)
    worst, window_end = 0.0, loop.time() + LAG_WINDOW_S
    while True:
        before = loop.time()
        await asyncio.sleep(LAG_PERIOD_S)
        now = loop.time()
        worst = max(worst, now - before - LAG_PERIOD_S)
        if now >= window_end:
            gauge.set(worst)
            worst, window_end = 0.0, now + LAG_WINDOW_S


class Teardown:
    """Steps undone last first on leaving the block: each is bounded by :data:`LEAVE_S`, and one that fails is logged
    and does not keep the others from running.
    """

    def __init__(self) -> None:
        self._steps: list[tuple[str, Callable[[], Awaitable[object]]]] = []

    def add(self, name: str, undo: Callable[[], Awaitable[object]]) -> None:
        """Register ``undo`` of what has just been set up."""
        self._steps.append((name, undo))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        while self._steps:
            name, undo = self._steps.pop()
            try:
                async with asyncio.timeout(LEAVE_S):
                    await undo()
            except Exception:
                log.exception("teardown step failed", step=name)


__all__ = ["Build", "CommonSettings", "Drainable", "Process", "Teardown", "main", "serve"]
