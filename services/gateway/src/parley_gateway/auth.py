"""Tokens: JWT signed with PARLEY_AUTH_SECRET (HS256) or with a key of PARLEY_AUTH_JWKS (RS256, ES256 and their like).

The algorithm list is ours, never the token's; keys come from the address in the settings, never from a token.
"""

import asyncio
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

import jwt

from parley_gateway.config import AccessSettings
from parley_gateway.identity import ANONYMOUS, Identity
from parley_protocol.client import SUBPROTOCOLS_BEARER
from parley_protocol.faults import FaultCode, ProtocolError
from parley_protocol.ids import DEFAULT_TENANT
from parley_runtime.telemetry.logging import get_logger

log = get_logger(__name__)

SYMMETRIC = ("HS256",)
ASYMMETRIC = ("RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA")
JWKS_LIFE_S = 300.0
"""How long fetched keys are used."""
JWKS_PAUSE_S = 15.0
"""At most one fetch in this time, whatever key ids tokens name."""
MAX_KEYS = 100
MAX_TOKEN = 8192
"""Characters of a token."""
LEEWAY_S = 5.0


def credential(headers: Mapping[str, str], subprotocols: list[str], query: bytes) -> str:
    """The token that a request carries, "" for none: Authorization, then subprotocol, then ``?token=`` (the first)."""
    scheme, _, value = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and value.strip():
        return value.strip()
    for name in subprotocols:
        for begin in SUBPROTOCOLS_BEARER:
            if name.startswith(begin):
                return name[len(begin) :]
    if b"token=" in query:
        for key, text in parse_qsl(query.decode("latin-1")):
            if key == "token":
                return text
    return ""


class Authenticator:
    """Turns a token into an identity. Without a secret and without a JWKS address everybody is anonymous, but for what
    always demands a token: ``development`` signs those then.
    """

    def __init__(self, settings: AccessSettings, development: str = "") -> None:
        self._secret = settings.auth_secret or ("" if settings.auth_jwks else development)
        self._configured = bool(settings.auth_secret)
        self._audience = settings.auth_audience or None
        self._keys = _Keys(settings.auth_jwks) if settings.auth_jwks else None

    @property
    def required(self) -> bool:
        """Whether clients need a token."""
        return self._configured or self._keys is not None

    async def identify(self, token: str) -> Identity:
        """Who ``token`` was made for.

        Raises:
            ProtocolError: ``unauthorized``; the message says what is wrong, never what the token holds.
        """
        return await self.demand(token) if self.required else ANONYMOUS

    async def demand(self, token: str) -> Identity:
        """As :meth:`identify`, but nobody is anonymous: where clients need no token, ``parley token`` prints one."""
        if not token:
            raise _unauthorized(
                "a token is required: send it in the Authorization header, as subprotocol parley.token.<token>, "
                "in hello or as ?token="
            )
        if len(token) > MAX_TOKEN:
            raise _unauthorized(f"the token is longer than {MAX_TOKEN} characters")
        return _identity(await self._claims(token))

    async def _claims(self, token: str) -> dict[str, Any]:
        try:
            head = jwt.get_unverified_header(token)
            algorithm = head.get("alg")
            if algorithm in SYMMETRIC and self._secret:
                return self._decode(token, self._secret, SYMMETRIC)
            if algorithm in ASYMMETRIC and self._keys is not None:
                key = await self._keys.get(str(head.get("kid", "")))
                return self._decode(token, key, (algorithm,))
        except jwt.ExpiredSignatureError:
            raise _unauthorized("the token has expired; get a new one") from None
        except jwt.PyJWTError as error:
            raise _unauthorized(f"the token cannot be taken: {type(error).__name__}") from None
        raise _unauthorized("the token is signed in a way that this gateway does not take")

    def _decode(self, token: str, key: Any, algorithms: tuple[str, ...]) -> dict[str, Any]:
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=list(algorithms),
            audience=self._audience,
            leeway=LEEWAY_S,
            options={"require": ["exp", "sub"], "verify_aud": self._audience is not None, "verify_sub": False},
        )
        return claims


def _identity(claims: Mapping[str, Any]) -> Identity:
    user, tenant = claims.get("sub"), claims.get("tenant", DEFAULT_TENANT)
    if type(user) is int:  # other systems number their users
        user = str(user)
    if not isinstance(user, str) or not user or not isinstance(tenant, str) or not tenant:
        raise _unauthorized("the token's sub and tenant must be texts that are not empty")
    if len(user) > 256 or len(tenant) > 128:
        raise _unauthorized("the token's sub or tenant is too long")
    return Identity(tenant, user, known=True, owner=claims.get("owner") is True)


def _unauthorized(message: str) -> ProtocolError:
    return ProtocolError(FaultCode.UNAUTHORIZED, message)


class _Keys:
    """Keys of one JWKS address, fetched in a thread, kept for :data:`JWKS_LIFE_S`, bounded in number."""

    def __init__(self, url: str) -> None:
        self._client = jwt.PyJWKClient(url, cache_keys=False, cache_jwk_set=False, timeout=5)
        self._keys: dict[str, Any] = {}
        self._fetched = self._tried = float("-inf")
        self._lock = asyncio.Lock()

    async def get(self, kid: str) -> Any:
        """The key named ``kid``. Raises PyJWTError where there is none."""
        async with self._lock:
            now = time.monotonic()
            stale = kid not in self._keys or now - self._fetched > JWKS_LIFE_S
            if stale and now - self._tried > JWKS_PAUSE_S:
                self._tried = now
                await self._fetch(now)
        if kid not in self._keys:
            raise jwt.InvalidKeyError("no such key")
        return self._keys[kid]

    async def _fetch(self, now: float) -> None:
        try:
            found = await asyncio.to_thread(self._client.get_signing_keys)
        except jwt.PyJWTError as error:
            log.warning("keys cannot be fetched; those known are used", cause=type(error).__name__)
            return
        self._keys = {str(key.key_id): key.key for key in found[:MAX_KEYS]}
        self._fetched = now
