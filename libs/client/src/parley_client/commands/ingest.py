"""`parley ingest`: documents into a knowledge base."""

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from parley_client import ingest as work
from parley_client.api import Api
from parley_client.commands import common


def ingest(
    path: Annotated[Path, typer.Argument(help="A file, or a folder that is searched for documents.")],
    kb: Annotated[str, typer.Option(help="Knowledge base to fill; made when it does not exist.")] = "default",
    keep: Annotated[bool, typer.Option("--keep", help="Keep documents that the folder no longer holds.")] = False,
    parallel: Annotated[int, typer.Option(min=1, max=32, help="Uploads at a time.")] = 4,
    url: common.Url = common.DEFAULT_URL,
    token: common.Token = None,
) -> None:
    """Bring Markdown, text, HTML, PDF and DOCX files into a knowledge base.

    What has not changed is left alone, what has changed is replaced, and what a folder no longer holds is removed from
    the base. A file that cannot be read is named with the reason; the others go in, and the exit status is 1.

    Examples:

        parley ingest ./handbook --kb handbook

        parley ingest report.pdf --kb reports
    """
    summary = common.run(_ingest(url, token, path, kb, keep=keep, parallel=parallel))
    for name, reason in summary.failed:
        common.err.print(f"[red]✗[/red] {common.escape(name)}: {common.escape(reason)}")
    common.out.print(
        f"{kb}: {summary.created} created, {summary.replaced} replaced, {summary.unchanged} unchanged, "
        f"{summary.removed} removed, {len(summary.failed)} failed; {summary.passages} passages written"
    )
    raise typer.Exit(1 if summary.failed else 0)


async def _ingest(url: str, token: str | None, path: Path, kb: str, *, keep: bool, parallel: int) -> work.Summary:
    columns = (
        TextColumn("[progress.description]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    async with Api(url, token=token, timeout_s=300.0) as api:
        with Progress(*columns, console=common.err, transient=True) as bar:
            task = bar.add_task("looking", total=None)

            def progress(name: str, done: int, total: int) -> None:
                bar.update(task, description=common.escape(name[-40:]), completed=done, total=total)

            return await work.ingest(api, path, kb, keep=keep, parallel=parallel, progress=progress)
