"""`parley dead`: messages that were parked, with their cause."""

import sys
from typing import Annotated

import msgspec
import typer
from rich.table import Table

from parley_client.api import Api, Retried
from parley_client.commands import common

app = typer.Typer(no_args_is_help=True, help="Dead letters: list, show, retry.")

Id = Annotated[str, typer.Argument(help="Id of the dead letter, from parley dead list.")]


@app.command("list")
def list_dead(as_json: common.AsJson = False, url: common.Url = common.DEFAULT_URL, token: common.Token = None) -> None:
    """Parked messages, newest first."""

    async def work() -> None:
        async with Api(url, token=token) as api:
            rows = await api.dead()
        if as_json:
            sys.stdout.write(msgspec.json.encode(rows).decode() + "\n")
            return
        table = Table("id", "parked", "queue", "reason", "cause", box=None)
        for row in rows:
            table.add_row(*(common.escape(cell) for cell in (row.id, row.parked_at, row.queue, row.reason, row.cause)))
        common.out.print(table if rows else "no dead letters")

    common.run(work())


@app.command()
def show(id: Id, url: common.Url = common.DEFAULT_URL, token: common.Token = None) -> None:
    """One parked message, whole: it may hold what a user said."""

    async def work() -> None:
        async with Api(url, token=token) as api:
            row = await api.dead_one(id)
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
    """Ask a parked turn's question again, as a new turn of a new session of yours."""

    async def work() -> Retried:
        async with Api(url, token=token) as api:
            return await api.dead_retry(id)

    made = common.run(work())
    common.out.print(f"started as turn {made.turn}; to go on from its answer: parley chat --session {made.session}")
