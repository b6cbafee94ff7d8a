"""Which web pages may speak with this gateway: one check for sockets and HTTP, below every framework, because
middleware for HTTP never sees a socket.
"""

import ipaddress
from collections.abc import Sequence
from urllib.parse import urlsplit

LOCAL = frozenset({"null", "file://"})
"""Origins of pages opened from disk."""


class Origins:
    """The allow-list. Empty: on a loopback address any loopback page and pages from disk, otherwise the own host."""

    def __init__(self, allowed: Sequence[str], *, loopback: bool) -> None:
        self._any = "*" in allowed
        self._allowed = frozenset(origin.rstrip("/").lower() for origin in allowed)
        self._loopback = loopback

    def allows(self, origin: str, host: str) -> bool:
        """``origin``: of the request ("" for none: not a browser). ``host``: the Host header."""
        lowered = origin.lower().rstrip("/") if origin not in LOCAL else origin
        if not origin or self._any or lowered in self._allowed:
            return True
        if self._allowed:
            return False
        if self._loopback:
            # Never the own host: a foreign name that resolves to this machine would be its own host too.
            return origin in LOCAL or is_loopback(_host(lowered))
        return bool(host) and lowered.partition("://")[2] == host.lower()


def is_loopback(host: str) -> bool:
    """Whether a host name or address can only be this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _host(origin: str) -> str:
    try:
        return urlsplit(origin).hostname or ""
    except ValueError:
        return ""
