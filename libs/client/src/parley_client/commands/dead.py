"""`parley dead`: messages that were parked, with their cause."""

import sys
from collections.abc import Sequence
from typing import Annotated

import msgspec
import typer
from rich.table import Table

from parley_client.api import MAX_DEAD, Api, Retried
from parley_client.commands import common

app = typer.Typer(no_args_is_help=True, help="Dead letters: list, show, retry, drop.")

Id = Annotated[str, typer.Argument(help="Id of the dead letter, from parley dead list.")]


@app.command("list")
def list_dead(
    limit: Annotated[int, typer.Option("--limit", min=1, max=MAX_DEAD, help="How many.")] = 100,
    before: Annotated[str, typer.Option("--before", help="Only those parked before the one with this id.")] = "",
    as_json: common.AsJson = False,
    url: common.Url = common.DEFAULT_URL,
    token: common.Token = None,
) -> None:
    """Parked messages, newest first."""

    async def work() -> None:
        async with Api(url, token=token) as api:
            rows = await api.dead.page(limit=limit, before=before)
        if as_json:
            sys.stdout.write(msgspec.json.encode(rows).decode() + "\n")
            return
        table = Table("id", "parked", "queue", "reason", "cause", box=None)
        for row in rows:
            table.add_row(*(common.escape(cell) for cell in (row.id, row.parked_at, row.queue, row.reason, row.cause)))
        common.out.print(table if rows else "no dead letters")
        if len(rows) == limit:
            common.out.print(f"[dim]there may be more: parley dead list --before {common.escape(rows[-1].id)}[/dim]")

    common.run(work())


@app.command()
def show(id: Id, url: common.Url = common.DEFAULT_URL, token: common.Token = None) -> None:
    """One parked message, whole: it may hold what a user said."""

    async def work() -> None:
        async with Api(url, token=token) as api:
            row = await api.dead.one(id)
        fields = msgspec.to_builtins(row) | {"body": _readable(row.body)}
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(fields), indent=2).decode() + "\n")

    common.run(work())


def _readable(body: bytes) -> object:
    try:
        return msgspec.msgpack.decode(body)
    except msgspec.MsgspecError:
        return body.hex()


@app.command()
def retry(id: Id, url: common.Url = common.DEFAULT_URL, token: common.Token = None) -> None:
    """Ask a parked turn's question again, as a new turn of a new session of yours; send a notice again."""

    async def work() -> Retried:
        async with Api(url, token=token) as api:
            return await api.dead.retry(id)

    made = common.run(work())
    if not made.turn:
        common.out.print("the notice is sent again; parley dead drop removes what was parked")
        return
    common.out.print(f"started as turn {made.turn}; to go on from its answer: parley chat --session {made.session}")


@app.command()
def drop(
    ids: Annotated[list[str] | None, typer.Argument(help="Ids of dead letters, from parley dead list.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All of them, or all with --reason.")] = False,
    reason: Annotated[str, typer.Option("--reason", help="With --all: only those parked for this reason.")] = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: common.AsJson = False,
    url: common.Url = common.DEFAULT_URL,
    token: common.Token = None,
) -> None:
    """Remove parked messages for good. Exit status 1 where an id is not known (the others are removed)."""
    if every == bool(ids) or (reason and not every):
        raise typer.BadParameter("give ids, or --all with or without --reason")
    wanted = list(dict.fromkeys(ids or common.run(_of_reason(url, token, reason))))
    if wanted and not yes:
        typer.confirm(f"Remove {_count(len(wanted))} for good?", abort=True, err=True)
    dropped = common.run(_drop(url, token, wanted)) if wanted else []
    unknown = [id for id in wanted if id not in dropped]
    if as_json:
        sys.stdout.write(msgspec.json.encode({"dropped": dropped, "unknown": unknown}).decode() + "\n")
    else:
        common.out.print(f"dropped {_count(len(dropped))}")
    if unknown:
        common.err.print(f"[red]not_found[/red]: no dead letter is called {common.escape(', '.join(unknown))}")
        raise typer.Exit(1)


async def _of_reason(url: str, token: str | None, reason: str) -> list[str]:
    async with Api(url, token=token) as api:
        return [row.id for row in await api.dead.all() if reason in ("", row.reason)]


async def _drop(url: str, token: str | None, ids: Sequence[str]) -> list[str]:
    async with Api(url, token=token) as api:
        return [id for id in ids if await api.dead.drop(id)]


def _count(number: int) -> str:
    return f"{number} dead letter{'' if number == 1 else 's'}"
