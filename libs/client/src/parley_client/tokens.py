"""Tokens for gateways of one's own installation, signed with its secret (JWT, HS256)."""

import time
from collections.abc import Mapping
from pathlib import Path

from parley_client.errors import ClientError
from parley_protocol.installation import SECRET_FILE, development_secret

LEAST_SECRET = 32
"""Characters; gateways take no shorter secret."""


def make_token(
    env: Mapping[str, str],
    sub: str,
    *,
    tenant: str = "default",
    owner: bool = False,
    life_s: float = 3600.0,
    data: Path | None = None,
) -> str:
    """A token for user ``sub`` of ``tenant`` that gateways with the same secret take for ``life_s`` seconds.

    ``data``: the installation's folder. Where PARLEY_AUTH_SECRET is not set the secret comes from there: gateways on a
    loopback address take such tokens for what always demands one.

    Raises:
        ClientError: there is no secret, or one that gateways do not take.
    """
    import jwt

    secret = env.get("PARLEY_AUTH_SECRET", "") or _installed(data)
    if len(secret) < LEAST_SECRET:
        hint = "" if secret or data is None else f" (an installation started without one keeps its own in {data})"
        raise ClientError(
            f"PARLEY_AUTH_SECRET is {'too short' if secret else 'not set'}: give it the gateways' secret, "
            f"{LEAST_SECRET} characters or more{hint}"
        )
    now = int(time.time())
    claims: dict[str, object] = {"sub": sub, "tenant": tenant, "iat": now, "exp": now + int(life_s)}
    if owner:
        claims["owner"] = True
    if audience := env.get("PARLEY_AUTH_AUDIENCE"):
        claims["aud"] = audience
    return jwt.encode(claims, secret, algorithm="HS256")


def _installed(data: Path | None) -> str:
    """The secret of an installation that was started without PARLEY_AUTH_SECRET; empty where there is none."""
    if data is None:
        return ""
    try:
        return development_secret((data / SECRET_FILE).read_bytes())
    except OSError:
        return ""
