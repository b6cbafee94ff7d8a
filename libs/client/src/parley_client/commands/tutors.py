"""`parley tutors`: who may begin tutor sessions through the web side."""

import os
import sys
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import msgspec
import typer
from rich.table import Table

from parley_client.api import Api, http_url
from parley_client.commands import common
from parley_client.errors import ClientError
from parley_client.tokens import make_token
from parley_client.up import dotenv
from parley_client.up.errors import UpError
from parley_client.up.settings import project_folder
from parley_protocol.tutors import TutorInfo

app = typer.Typer(
    no_args_is_help=True,
    help="Tutors: add, list, remove. Needs an owner's token; without --token one is made for the installation here.",
)

HERE_S = 60.0
"""Life of a token made for one call."""
LOCAL = frozenset({"127.0.0.1", "::1", "localhost"})


@app.command()
def add(
    admin: Annotated[str, typer.Option("--admin", help="Whose tutor it is: sub of the administrator's tokens.")],
    name: Annotated[str, typer.Argument(help="A name for people.")] = "",
    as_json: common.AsJson = False,
    url: common.Url = common.DEFAULT_URL,
    token: common.Token = None,
) -> None:
    """Add a tutor. Example: parley tutors add "Ms Li" --admin 1"""

    async def work() -> TutorInfo:
        async with Api(url, token=token or own_token(url)) as api:
            return await api.tutors.add(admin, name)

    made = common.run(work())
    if as_json:
        sys.stdout.write(msgspec.json.encode(made).decode() + "\n")
    else:
        common.out.print(f"tutor {made.id} of administrator {common.escape(made.admin)}")


@app.command("list")
def list_tutors(
    as_json: common.AsJson = False, url: common.Url = common.DEFAULT_URL, token: common.Token = None
) -> None:
    """Every tutor, by id."""

    async def work() -> list[TutorInfo]:
        async with Api(url, token=token or own_token(url)) as api:
            return await api.tutors.all()

    rows = common.run(work())
    if as_json:
        sys.stdout.write(msgspec.json.encode(rows).decode() + "\n")
        return
    table = Table("id", "administrator", "name", "added", box=None)
    for row in rows:
        table.add_row(str(row.id), *(common.escape(cell) for cell in (row.admin, row.name, row.created_at)))
    common.out.print(table if rows else "no tutors")


@app.command()
def remove(
    id: Annotated[int, typer.Argument(help="Id of the tutor, from parley tutors list.", min=0)],
    url: common.Url = common.DEFAULT_URL,
    token: common.Token = None,
) -> None:
    """Remove a tutor; his sessions end."""

    async def work() -> int:
        async with Api(url, token=token or own_token(url)) as api:
            return await api.tutors.remove(id)

    ended = common.run(work())
    common.out.print(f"removed; {ended} of his sessions {'was' if ended == 1 else 'were'} ended")


def own_token(url: str) -> str | None:
    """An owner's token of the installation in this folder, for a gateway on this machine; None where it has no secret.
    To other machines none is sent that was not given.
    """
    if (urlsplit(http_url(url)).hostname or "") not in LOCAL:
        return None
    root = project_folder(Path.cwd())
    try:
        env = dotenv.merged(dotenv.load(root / ".env"), os.environ)
        data = (root / (env.get("PARLEY_DATA") or ".parley")).resolve()
        return make_token(env, "parley tutors", owner=True, life_s=HERE_S, data=data)
    except (UpError, ClientError):
        return None
