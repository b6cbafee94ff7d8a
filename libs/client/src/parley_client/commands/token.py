"""`parley token`: a token for the gateways of one's own installation."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from parley_client.commands import common
from parley_client.errors import ClientError
from parley_client.tokens import make_token
from parley_client.up import dotenv
from parley_client.up.errors import UpError
from parley_client.up.settings import project_folder


def token(
    sub: Annotated[str, typer.Option("--sub", help="The user that the token stands for.")],
    tenant: Annotated[str, typer.Option(help="The tenant that the user belongs to.")] = "default",
    owner: Annotated[bool, typer.Option("--owner", help="May see status, dead letters and contact messages.")] = False,
    hours: Annotated[float, typer.Option(min=0.01, help="How long the token is taken.")] = 24.0,
) -> None:
    """Print a token, signed with PARLEY_AUTH_SECRET from the environment or from .env in the project folder.

    Without that secret it is signed with the one that the first start has made in the data folder: gateways on a
    loopback address take it for what always demands a token.

    Example:

        export PARLEY_TOKEN=$(parley token --sub me --owner)
    """
    common.run(_print(sub, tenant, hours, owner=owner))


async def _print(sub: str, tenant: str, hours: float, *, owner: bool) -> None:
    root = project_folder(Path.cwd())
    try:
        env = dotenv.merged(dotenv.load(root / ".env"), os.environ)
    except UpError as error:
        raise ClientError(str(error)) from None
    data = (root / (env.get("PARLEY_DATA") or ".parley")).resolve()
    sys.stdout.write(make_token(env, sub, tenant=tenant, owner=owner, life_s=hours * 3600, data=data) + "\n")
