"""What an installation keeps in its folder, as far as more than one program needs to know of it."""

import hashlib
import hmac

SECRET_FILE = "session.secret"  # noqa: S105 - a file's name
"""In ``PARLEY_DATA``: the secret of an installation without PARLEY_AUTH_SECRET, made at first start."""


def development_secret(installation: bytes) -> str:
    """The secret of HS256 tokens where PARLEY_AUTH_SECRET is not set, out of what :data:`SECRET_FILE` holds. Gateways
    take such tokens on a loopback address only, for what always demands one.
    """
    return hmac.new(installation, b"development tokens", hashlib.sha256).hexdigest()
