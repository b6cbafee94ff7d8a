"""`parley up` and `parley down`."""

import asyncio
import os
from pathlib import Path
from typing import Annotated

import typer

from parley_client.up import dotenv, lock
from parley_client.up.errors import ConfigurationError, UpError
from parley_client.up.report import Report
from parley_client.up.settings import UpSettings, checked_counts, number, project_folder

DOWN_WITHIN = 60.0
"""Seconds that a running `up` gets to stop."""

Data = Annotated[
    Path | None,
    typer.Option(help="Folder of queues, database, logs and secrets.", show_default="PARLEY_DATA or .parley"),
]


def up(
    workers: Annotated[int, typer.Option(help="Processes of each worker stage, rag and inference.")] = 1,
    rag: Annotated[int | None, typer.Option(help="Processes of rag alone.", show_default="--workers")] = None,
    inference: Annotated[
        int | None, typer.Option(help="Processes of inference alone.", show_default="--workers")
    ] = None,
    asr: Annotated[int, typer.Option(help="Processes that listen to speech; 0: nobody can speak.")] = 1,
    gateways: Annotated[int, typer.Option(help="Gateways, on consecutive ports.")] = 1,
    host: Annotated[
        str | None, typer.Option(help="Address to listen on.", show_default="PARLEY_HOST or 127.0.0.1")
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="Port of the first gateway.", show_default="PARLEY_PORT or 8000")
    ] = None,
    data: Data = None,
    sample: Annotated[
        bool, typer.Option("--sample/--no-sample", help="Load Parley's documentation as `default` and `test`.")
    ] = True,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show every line of every process.")] = False,
) -> None:
    """Start everything and keep it running: a broker, gateways, all kinds of workers, and a sample to ask about.

    The broker is the one in AMQP_URL. Without it, RabbitMQ is started in
    Docker or from the system's package (installed when missing), on a free
    port with its own data, beside any broker that already runs.

    Settings come from the environment and from .env in the project folder;
    the environment wins. A process that crashes is restarted. Ctrl-C stops
    everything; what was stored stays, and the next start takes seconds.

    Examples:

        parley up --workers 3        (three rag, three inference)

        parley up --gateways 2 --port 9000

        AMQP_URL=amqp://me:secret@rabbit.example:5672/ parley up
    """
    report = Report(verbose=verbose)
    try:
        flags = {"PARLEY_HOST": host, "PARLEY_PORT": None if port is None else str(port)}
        workers_of = {"rag": _or(rag, workers), "inference": _or(inference, workers), "asr": asr}
        counts = {"gateway": gateways, **workers_of}
        settings = _settings(report, flags, data, counts, sample=sample)
    except UpError as error:
        report.bad(str(error))
        raise typer.Exit(error.exit_code) from None
    from parley_client.up.run import up as run_up  # brings httpx, which costs other commands time

    raise typer.Exit(asyncio.run(run_up(settings, report)))


def _or(count: int | None, default: int) -> int:
    return default if count is None else count


def down(data: Data = None) -> None:
    """Stop what `parley up` started from this folder, cleanly, and wait for it."""
    report = Report()
    try:
        _, folder = _environment(report, data)
        found = asyncio.run(lock.stop(folder, within=DOWN_WITHIN))
    except UpError as error:
        report.bad(str(error))
        raise typer.Exit(error.exit_code) from None
    report.good(f"stopped process {found.pid}" if found else f"nothing runs from {folder}")


def _environment(report: Report, data: Path | None) -> tuple[dict[str, str], Path]:
    root = project_folder(Path.cwd())
    file = dotenv.load(root / ".env")
    for problem in file.problems:
        report.warn(f"{root / '.env'}: {problem}; the line is ignored")
    env = dotenv.merged(file, os.environ)
    return env, (data or root / (env.get("PARLEY_DATA") or ".parley")).resolve()


def _settings(
    report: Report, flags: dict[str, str | None], data: Path | None, counts: dict[str, int], *, sample: bool
) -> UpSettings:
    env, folder = _environment(report, data)
    env |= {key: value for key, value in flags.items() if value is not None}
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"{folder} cannot be made ({error.strerror}): choose another with --data.") from None
    return UpSettings(
        root=project_folder(Path.cwd()),
        data=folder,
        host=env.get("PARLEY_HOST") or env.get("MANAGEMENT_API_HOST") or "127.0.0.1",
        port=number(env, "PARLEY_PORT" if env.get("PARLEY_PORT") else "MANAGEMENT_API_PORT", 8000),
        counts=checked_counts(counts),
        env=env,
        sample=sample,
    )
