"""`python -m parley_client.up.broker`: a RabbitMQ of one's own, for a shell or for tests."""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from parley_client.up import container, lock, state
from parley_client.up.broker import BrokerSettings, choose
from parley_client.up.errors import UpError
from parley_client.up.report import Report

STOP_WITHIN = 20.0
"""Seconds a broker gets to write its queues down."""

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Start and stop a RabbitMQ of your own.")
Data = Annotated[Path, typer.Option(help="Where it keeps its queues, ports, login and logs.")]
Fresh = Annotated[bool, typer.Option("--fresh", help="Begin without queues and forget them at the end.")]


@app.command()
def run(
    data: Data = Path(".parley"),
    fresh: Fresh = False,
    until_eof: Annotated[bool, typer.Option("--until-eof", help="Stop also when standard input ends.")] = False,
) -> None:
    """Run it in the foreground: prints its AMQP URL on one line when it accepts logins, stops on SIGTERM or Ctrl-C."""
    folder = Path(tempfile.mkdtemp(prefix="parley-broker-")) if fresh and data == Path(".parley") else data
    _end(asyncio.run(_run(folder, fresh, until_eof)))


@app.command()
def start(data: Data = Path(".parley"), fresh: Fresh = False) -> None:
    """Start it in the background and print its AMQP URL."""
    _end(_start(data, fresh))


@app.command()
def stop(data: Data = Path(".parley")) -> None:
    """Stop what `start` started."""
    _end(asyncio.run(_stop(data)))


def main() -> None:
    """Runs the command line."""
    app()


def _end(error: str) -> None:
    if error:
        sys.stderr.write(f"{error}\n")
        raise typer.Exit(1)


async def _run(data: Path, fresh: bool, until_eof: bool) -> str:
    report = Report(Console(stderr=True, highlight=False, soft_wrap=True))
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    if until_eof:
        loop.add_reader(sys.stdin.fileno(), ended.set)
    settings = BrokerSettings.read({**os.environ, "AMQP_URL": ""}, data)
    try:
        with lock.hold(settings.folder) as held:
            if fresh:
                await _forget(settings.folder, held)
            await _serve(settings, report, held, ended)
            if fresh:
                await _forget(settings.folder, held)
    except UpError as error:
        return str(error)
    finally:
        if fresh:
            shutil.rmtree(data, ignore_errors=True)
    return ""


async def _serve(settings: BrokerSettings, report: Report, held: Path, ended: asyncio.Event) -> None:
    with report.step("broker") as step:
        broker = await choose(settings, report, step)
        try:
            url = await broker.start(step)
        except BaseException:
            await broker.stop(STOP_WITHIN)
            raise
    lock.describe(held, lock.Holder(os.getpid(), url))
    sys.stdout.write(f"{url}\n")
    sys.stdout.flush()
    asked, gone = asyncio.ensure_future(ended.wait()), asyncio.ensure_future(broker.wait())
    await asyncio.wait([asked, gone], return_when=asyncio.FIRST_COMPLETED)
    died = gone.done()
    for task in (asked, gone):
        task.cancel()
    await broker.stop(STOP_WITHIN)
    if died:
        raise UpError(f"The broker ended by itself: see {settings.logs / 'broker.log'}.")


async def _forget(folder: Path, keep: Path) -> None:
    if state.recall(folder).kind == "docker":
        await container.remove_volume(folder)
    _empty(folder, keep)


def _empty(folder: Path, keep: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path != keep:
            path.unlink()


def _start(data: Path, fresh: bool) -> str:
    found = lock.holder(data / "broker")
    if found is not None:
        sys.stdout.write(f"{found.address}\n")
        return ""
    log = data / "logs" / "broker-start.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    argv = [
        sys.executable,
        "-m",
        "parley_client.up.broker",
        "run",
        "--data",
        str(data),
        *(["--fresh"] if fresh else []),
    ]
    with log.open("wb") as errors:
        # Not asyncio's: that would kill the process when this one ends.
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and arguments
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, start_new_session=True, text=True
        )
    url = process.stdout.readline().strip() if process.stdout else ""
    sys.stdout.write(f"{url}\n" if url else "")
    return "" if url else log.read_text(encoding="utf-8").strip() or f"The broker did not start: see {log}."


async def _stop(data: Path) -> str:
    with contextlib.suppress(ProcessLookupError):
        await lock.stop(data / "broker", within=STOP_WITHIN + 10)
    return ""
