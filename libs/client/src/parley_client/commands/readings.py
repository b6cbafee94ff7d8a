"""`parley readings`: measured data in, and what is held."""

import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from parley_client import readings as work
from parley_client.api import Api
from parley_client.commands import common
from parley_client.errors import ApiError, ClientError

app = typer.Typer(no_args_is_help=True, help="Measured data: import, list, remove.")

MOST_SHOWN = 50
"""Refused lines of a file that are printed."""


@app.command("import")
def bring(
    files: Annotated[list[Path], typer.Argument(help="CSV, JSON or JSON Lines files.")],
    all_or_nothing: Annotated[
        bool, typer.Option("--all-or-nothing", help="Take nothing of a file that has a bad row.")
    ] = False,
    url: common.Url = common.DEFAULT_URL,
    token: common.Token = None,
) -> None:
    """Bring readings in from files.

    CSV needs a first line that names the columns metric, sensor, timestamp, value and unit, in any order; JSON holds
    one object or a list of them with these fields. The same metric, sensor and time replaces. Bad rows are named by
    line and the others go in; the exit status is 1 then, and 0 where every row was stored.

    Examples:

        parley readings import ponds.csv

        parley readings import --all-or-nothing june.json july.json
    """
    failed = common.run(_bring(url, token, files, all_or_nothing=all_or_nothing))
    raise typer.Exit(1 if failed else 0)


async def _bring(url: str, token: str | None, files: list[Path], *, all_or_nothing: bool) -> bool:
    failed = False
    columns = (TextColumn("[progress.description]{task.description}"), BarColumn(), DownloadColumn())
    async with Api(url, token=token, timeout_s=300.0) as api:
        for file in files:
            with Progress(*columns, TimeRemainingColumn(), console=common.err, transient=True) as bar:
                task = bar.add_task(common.escape(file.name[-40:]), total=None)

                def progress(sent: int, total: int, bar: Progress = bar, task: object = task) -> None:
                    bar.update(task, completed=sent, total=total)  # type: ignore[arg-type]

                try:
                    found = await work.bring(api, file, all_or_nothing=all_or_nothing, progress=progress)
                except ClientError as error:
                    if isinstance(error, ApiError) and error.status in (0, 401, 403):
                        raise
                    common.err.print(f"[red]✗[/red] {common.escape(str(file))}: {common.escape(str(error))}")
                    failed = True
                    continue
            _show(found)
            failed = failed or found.count > 0
    return failed


def _show(found: work.Summary) -> None:
    name = common.escape(str(found.file))
    for line, reason in found.refused[:MOST_SHOWN]:
        common.err.print(f"[red]✗[/red] {name}:{line}: {common.escape(reason)}")
    more = found.count - min(len(found.refused), MOST_SHOWN)
    if more > 0:
        common.err.print(f"[red]✗[/red] {name}: {more} more rows were refused")
    common.out.print(f"{name}: {found.stored} stored, {found.count} refused")


@app.command("list")
def list_series(
    as_json: common.AsJson = False, url: common.Url = common.DEFAULT_URL, token: common.Token = None
) -> None:
    """Metrics and sensors that there are readings of."""

    async def ask() -> None:
        async with Api(url, token=token) as api:
            series = await api.readings.series()
        if as_json:
            sys.stdout.write(msgspec.json.encode(series).decode() + "\n")
            return
        table = Table("metric", "sensor", "unit", "newest", box=None)
        for one in series:
            table.add_row(*(common.escape(text) for text in (one.metric, one.sensor, one.unit, one.newest)))
        common.out.print(table if series else "no readings yet; bring some in with: parley readings import FILE")

    common.run(ask())


@app.command("rm")
def remove(
    metric: Annotated[str, typer.Argument(help="Name of the metric, as parley readings list shows it.")],
    sensor: Annotated[str, typer.Argument(help="Sensor; without one those of all sensors go.")] = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    url: common.Url = common.DEFAULT_URL,
    token: common.Token = None,
) -> None:
    """Remove readings for good."""
    if not yes:
        typer.confirm(f"Remove all readings of {metric} {sensor or 'of every sensor'}?", abort=True)

    async def ask() -> int:
        async with Api(url, token=token) as api:
            return await api.readings.drop(metric, sensor)

    removed = common.run(ask())
    common.out.print(f"removed {removed} readings")
    raise typer.Exit(0 if removed else 1)
