"""Who a client is, and session ids that only their owner can use."""

import hashlib
import hmac
import os
import secrets
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from contextlib import suppress
from pathlib import Path

import msgspec

from parley_protocol.ids import DEFAULT_TENANT, SessionId, Tenant
from parley_protocol.installation import SECRET_FILE
from parley_runtime.errors import ConfigError

_RANDOM = 15
_MAC = 15
SECRET_BYTES = 32
LOOKS = 50
LOOK_EVERY_S = 0.02
"""Another process that starts at the same time may have made the secret's file and not filled it yet."""


class Identity(msgspec.Struct, frozen=True):
    """A tenant's user. ``known`` is False for everyone on a gateway without authentication."""

    tenant: Tenant = DEFAULT_TENANT
    user: str = ""
    known: bool = False
    owner: bool = False
    """May see the installation itself: status, dead letters."""


ANONYMOUS = Identity()


class SessionIds:
    """Makes and verifies session ids: random bytes and a MAC over them, tenant and user (HMAC-SHA-256, 120 bits).

    Every gateway with the same secret verifies the ids of every other.
    """

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def make(self, identity: Identity) -> SessionId:
        """A new id for ``identity``."""
        raw = secrets.token_bytes(_RANDOM)
        return urlsafe_b64encode(raw + self._mac(raw, identity)).decode("ascii")

    def named(self, identity: Identity, name: str) -> SessionId:
        """The id that ``identity`` gets for ``name`` from every gateway with this secret."""
        raw = hmac.new(self._secret, b"named\0" + name.encode(), hashlib.sha256).digest()[:_RANDOM]
        return urlsafe_b64encode(raw + self._mac(raw, identity)).decode("ascii")

    def verify(self, session: SessionId, identity: Identity) -> bool:
        """Whether ``session`` was made for ``identity`` with this secret."""
        try:
            raw = urlsafe_b64decode(session.encode("ascii"))
        except ValueError:
            return False
        if len(raw) != _RANDOM + _MAC:
            return False
        return hmac.compare_digest(raw[_RANDOM:], self._mac(raw[:_RANDOM], identity))

    def _mac(self, raw: bytes, identity: Identity) -> bytes:
        names = b"\0".join(hashlib.sha256(name.encode()).digest() for name in (identity.tenant, identity.user))
        return hmac.new(self._secret, b"session\0" + raw + names, hashlib.sha256).digest()[:_MAC]


def install_secret(folder: str) -> bytes:
    """The secret of an installation without PARLEY_AUTH_SECRET, made at first use and readable by its owner only.

    Raises:
        ConfigError: the folder cannot be written.
    """
    path = Path(folder) / SECRET_FILE
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "wb") as file:
                file.write(secrets.token_bytes(SECRET_BYTES))
        secret = _read(path)
    except OSError as error:
        raise ConfigError(f"PARLEY_DATA={folder}: cannot keep the installation's secret there ({error})") from error
    if len(secret) < SECRET_BYTES:
        raise ConfigError(f"{path} is damaged: delete it (clients then begin new sessions)")
    return secret


def _read(path: Path) -> bytes:
    for _ in range(LOOKS):
        secret = path.read_bytes()
        if len(secret) >= SECRET_BYTES:
            break
        time.sleep(LOOK_EVERY_S)
    return secret
