"""One child process: started on a leash, its lines logged to a bounded file, stopped with a bounded wait."""

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from logging.handlers import RotatingFileHandler
from pathlib import Path

LONGEST_LINE = 64 * 1024
"""Bytes; a longer line is cut into several."""
LOG_BYTES = 5 * 1024 * 1024
"""A log file is rotated at this size; one older file is kept."""
TAIL_LINES = 20
"""Lines remembered for the message about a crash."""

_LEASH = str(Path(__file__).with_name("leash.py"))


@dataclass(frozen=True)
class Command:
    """What to run. `env` is the whole environment, `cwd` where it runs, `log` where its lines go."""

    name: str
    argv: Sequence[str]
    log: Path
    env: Mapping[str, str] = field(repr=False)
    cwd: Path | None = None
    keep_fd: int | None = None  # inherited by the program, for a lock that must outlive us


class Child:
    """A running process in its own process group.

    Guaranteed: it gets SIGTERM when this process dies, however it dies; every line of its output is in the log before
    `wait` returns; `stop` returns only when it is gone.
    """

    def __init__(self, command: Command, process: asyncio.subprocess.Process, on_line: Callable[[str], None]) -> None:
        self.command = command
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._process = process
        self._on_line = on_line
        self._pump = asyncio.create_task(self._copy_lines(), name=f"log of {command.name}")

    @property
    def pid(self) -> int:
        """The process id, also after the end."""
        return self._process.pid

    @property
    def code(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        return self._process.returncode

    async def wait(self) -> int:
        """Waits for the end and returns the exit code, negative for a signal."""
        code = await self._process.wait()
        # A grandchild may keep the pipe open for ever; what the process itself wrote is there at once.
        await asyncio.wait([self._pump], timeout=1.0)
        return code

    async def stop(self, within: float) -> bool:
        """SIGTERM, at most `within` seconds, then SIGKILL to the whole group. False when it had to be killed."""
        self._signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(within):
                await self.wait()
        except TimeoutError:
            await self.kill()
            return False
        return True

    async def kill(self) -> None:
        """SIGKILL to the process and whatever it started in its group."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        await self.wait()

    def _signal(self, number: signal.Signals) -> None:
        if self.code is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def _copy_lines(self) -> None:
        reader = self._process.stdout
        if reader is None:
            return
        handler = _Log(self.command.log)
        rest = b""
        try:
            while data := await reader.read(LONGEST_LINE):
                *lines, rest = (rest + data).split(b"\n")
                if len(rest) >= LONGEST_LINE:
                    lines, rest = [*lines, rest], b""
                for line in lines:
                    self._take(handler, line)
            if rest:
                self._take(handler, rest)
        finally:
            handler.close()
            if handler.lost > 1:
                self._on_line(f"error: {handler.lost} lines could not be written to {self.command.log}")

    def _take(self, handler: "_Log", raw: bytes) -> None:
        line = raw.decode(errors="replace").rstrip("\r")
        handler.emit(logging.makeLogRecord({"msg": line, "args": None}))
        if handler.lost == 1 and handler.problem is not None:
            self._on_line(f"error: {self.command.log} cannot be written: {handler.problem}")
            handler.problem = None
        if line.strip():
            self.tail.append(line)
            self._on_line(line)


class _Log(RotatingFileHandler):
    """A bounded log file that remembers why it could not be written, instead of printing a stack trace."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        super().__init__(path, maxBytes=LOG_BYTES, backupCount=1, encoding="utf-8", delay=True)
        self.problem: BaseException | None = None
        self.lost = 0

    def handleError(self, _record: logging.LogRecord) -> None:
        self.problem = sys.exception()
        self.lost += 1


async def start(command: Command, on_line: Callable[[str], None]) -> Child:
    """Starts `command` with no input, its output and errors merged; `on_line` gets each non-empty line."""
    leash = [sys.executable, "-I", "-S", _LEASH, str(os.getpid()), str(int(signal.SIGTERM))]
    process = await asyncio.create_subprocess_exec(
        *leash,
        *command.argv,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=dict(command.env),
        cwd=command.cwd,
        start_new_session=True,
        pass_fds=() if command.keep_fd is None else (command.keep_fd,),
    )
    return Child(command, process, on_line)


async def output_of(*argv: str, within: float, env: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Runs a short command without input; returns (exit code, what it printed). 127 when there is no such program,
    124 when it took more than `within` seconds and was killed.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=None if env is None else dict(env),
            start_new_session=True,
        )
    except (FileNotFoundError, PermissionError):
        return 127, ""
    try:
        async with asyncio.timeout(within):
            printed, _ = await process.communicate()
    except BaseException as error:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        if isinstance(error, TimeoutError):
            return 124, ""
        raise
    return process.returncode or 0, printed.decode(errors="replace").strip()
