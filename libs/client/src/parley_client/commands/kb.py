"""`parley kb`: look into knowledge bases and remove from them."""

import sys
from typing import Annotated

import msgspec
import typer
from rich.table import Table

from parley_client.api import Api
from parley_client.commands import common

app = typer.Typer(no_args_is_help=True, help="Knowledge bases: list, show, search, remove.")

Name = Annotated[str, typer.Argument(help="Name of the knowledge base.")]


def _print_json(value: object) -> None:
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")


@app.command("list")
def list_bases(
    as_json: common.AsJson = False, url: common.Url = common.DEFAULT_URL, token: common.Token = None
) -> None:
    """Knowledge bases with their documents and passages."""

    async def work() -> None:
        async with Api(url, token=token) as api:
            bases = await api.kb.all()
        if as_json:
            _print_json(bases)
            return
        table = Table("base", "documents", "passages", box=None)
        for base in bases:
            table.add_row(common.escape(base.name), str(base.documents), str(base.passages))
        common.out.print(table if bases else "no knowledge base yet; make one with: parley ingest PATH --kb NAME")

    common.run(work())


@app.command()
def show(
    name: Name, as_json: common.AsJson = False, url: common.Url = common.DEFAULT_URL, token: common.Token = None
) -> None:
    """Documents of a base."""

    async def work() -> None:
        async with Api(url, token=token) as api:
            documents = await api.kb.all_documents(name)
        if as_json:
            _print_json(documents)
            return
        table = Table("path", "title", "bytes", "passages", "updated", box=None)
        for row in documents:
            title, path = common.escape(row.title), common.escape(row.path)
            table.add_row(path, title, str(row.size), str(row.passages), row.updated_at[:19])
        if not documents:
            raise common.nothing(name)
        common.out.print(table)

    common.run(work())


@app.command()
def search(
    name: Name,
    query: Annotated[str, typer.Argument(help="What to look for.")],
    limit: Annotated[int, typer.Option(min=1, max=50, help="Passages at most.")] = 5,
    as_json: common.AsJson = False,
    url: common.Url = common.DEFAULT_URL,
    token: common.Token = None,
) -> None:
    """Passages for a query, best first, without asking the assistant."""

    async def work() -> None:
        async with Api(url, token=token) as api:
            sources = await api.kb.search(name, query, limit=limit)
        if as_json:
            _print_json(sources)
            return
        for number, source in enumerate(sources, 1):
            head = f"{number}. {source.title or source.document}  ({source.document}, {source.score:.2f})"
            common.out.print(f"[bold]{common.escape(head)}[/bold]")
            common.out.print(common.clean(source.text[:400]), markup=False, style="dim")
        if not sources:
            common.out.print("nothing found")

    common.run(work())


@app.command("rm")
def remove(
    name: Name,
    path: Annotated[str, typer.Argument(help="Path of the document within the base.")],
    url: common.Url = common.DEFAULT_URL,
    token: common.Token = None,
) -> None:
    """Remove one document."""

    async def work() -> int:
        async with Api(url, token=token) as api:
            return await api.kb.delete(name, path)

    removed = common.run(work())
    common.out.print(f"removed {removed}" if removed else f"{path} is not in {name}")
    raise typer.Exit(0 if removed else 1)


@app.command()
def drop(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    url: common.Url = common.DEFAULT_URL,
    token: common.Token = None,
) -> None:
    """Remove a whole base."""
    if not yes:
        typer.confirm(f"Remove knowledge base {name} with all its documents?", abort=True)

    async def work() -> int:
        async with Api(url, token=token) as api:
            removed = await api.kb.drop(name)
        if not removed:
            raise common.nothing(name)
        return removed

    common.out.print(f"removed {common.run(work())} documents")
