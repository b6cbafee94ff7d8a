"""The broker of a run: one that ends with it, or one of a measurement's own that is killed and started again."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlsplit

from bench.stack import broker_pid

COMMAND = (sys.executable, "-m", "parley_client.up.broker", "run", "--until-eof", "--data")
START_S = 90.0
LOOK_S = 0.004


@contextlib.contextmanager
def broker(folder: Path) -> Iterator[str]:
    """The address of a broker for this run: that of AMQP_URL, or a private one's."""
    given = os.environ.get("AMQP_URL", "")
    if given:
        yield given
        return
    folder.mkdir(parents=True, exist_ok=True)
    log = folder.with_suffix(".log")
    # A session of its own: Ctrl-C is for us, and we end it when nothing uses it any more.
    with (
        log.open("wb") as file,
        subprocess.Popen(
            [*COMMAND, str(folder), "--fresh"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
            start_new_session=True,
        ) as process,
    ):
        assert process.stdout is not None
        assert process.stdin is not None
        try:
            url = process.stdout.readline().strip()
            if not url:
                said = log.read_text(errors="replace")[-1000:]
                raise SystemExit(f"no broker could be started; set AMQP_URL to use one of yours\n{said}")
            yield url
        finally:
            process.stdin.close()
            process.wait(60)


class OwnBroker:
    """A node of the installed package that keeps its port and its queues when it is killed and started again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._runner: asyncio.subprocess.Process | None = None
        self.url = ""

    @property
    def port(self) -> int:
        """Of its AMQP listener."""
        return urlsplit(self.url).port or 5672

    async def start(self) -> None:
        """Until it takes logins. Raises RuntimeError with what it says where it does not start."""
        self._folder.mkdir(parents=True, exist_ok=True)
        log = (self._folder / "runner.log").open("ab")
        with log:
            self._runner = await asyncio.create_subprocess_exec(
                *COMMAND,
                str(self._folder),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env={**os.environ, "PARLEY_BROKER": "package", "AMQP_URL": ""},
                start_new_session=True,
            )
        assert self._runner.stdout is not None
        line = await asyncio.wait_for(self._runner.stdout.readline(), START_S)
        self.url = line.decode().strip()
        if not self.url:
            raise RuntimeError(f"no broker could be started: {(self._folder / 'runner.log').read_text()[-500:]}")

    async def kill(self) -> float:
        """SIGKILL to the node; returns when."""
        os.kill(broker_pid(self.port), signal.SIGKILL)
        killed = time.perf_counter()
        assert self._runner is not None
        await asyncio.wait_for(self._runner.wait(), START_S)
        return killed

    async def restart(self) -> float:
        """Start it again; returns when its port first answered an AMQP greeting."""
        port = self.port
        starting = asyncio.create_task(self.start())
        while not await _greets(port):
            if starting.done():
                await starting
            await asyncio.sleep(LOOK_S)
        answered = time.perf_counter()
        await starting
        return answered

    async def stop(self) -> None:
        """End it. Idempotent."""
        runner, self._runner = self._runner, None
        if runner is None or runner.returncode is not None:
            return
        assert runner.stdin is not None
        runner.stdin.close()
        await asyncio.wait_for(runner.wait(), 60)


async def _greets(port: int) -> bool:
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    try:
        writer.write(b"AMQP\x00\x00\x09\x01")
        return bool(await asyncio.wait_for(reader.read(1), 5))
    except OSError:
        return False
    finally:
        writer.close()


@contextlib.asynccontextmanager
async def own_broker(folder: Path) -> AsyncIterator[OwnBroker]:
    """Ends with the block."""
    made = OwnBroker(folder)
    try:
        await made.start()
        yield made
    finally:
        await made.stop()
