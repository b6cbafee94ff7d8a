"""Tokens for gateways of one's own installation, signed with its secret (JWT, HS256)."""

import time
from collections.abc import Mapping

from parley_client.errors import ClientError

LEAST_SECRET = 32
"""Characters; gateways take no shorter secret."""


def make_token(
    env: Mapping[str, str], sub: str, *, tenant: str = "default", owner: bool = False, life_s: float = 3600.0
) -> str:
    """A token for user ``sub`` of ``tenant`` that gateways with the same secret take for ``life_s`` seconds.

    Raises:
        ClientError: ``env`` holds no secret, or one that gateways do not take.
    """
    import jwt

    secret = env.get("PARLEY_AUTH_SECRET", "")
    if len(secret) < LEAST_SECRET:
        raise ClientError(
            f"PARLEY_AUTH_SECRET is {'too short' if secret else 'not set'}: give it the gateways' secret, "
            f"{LEAST_SECRET} characters or more"
        )
    now = int(time.time())
    claims: dict[str, object] = {"sub": sub, "tenant": tenant, "iat": now, "exp": now + int(life_s)}
    if owner:
        claims["owner"] = True
    if audience := env.get("PARLEY_AUTH_AUDIENCE"):
        claims["aud"] = audience
    return jwt.encode(claims, secret, algorithm="HS256")
