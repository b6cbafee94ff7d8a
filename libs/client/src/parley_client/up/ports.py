"""Picks TCP ports, and says clearly when one that was asked for is taken."""

import errno
import socket
from collections.abc import Collection

from parley_client.up.errors import ConfigurationError


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a server could listen on `port` now."""
    return _listen(host, port) is None


def free_port(taken: Collection[int] = (), host: str = "127.0.0.1") -> int:
    """A port nobody listens on now and that is not in `taken`. Another process may still take it before it is used."""
    while True:
        with socket.socket(_family(host)) as probe:
            probe.bind((host, 0))
            port: int = probe.getsockname()[1]
        if port not in taken:
            return port


def remembered_or_free(port: object, taken: Collection[int] = ()) -> int:
    """`port` where it is a free port, else any free one."""
    if isinstance(port, int) and 0 < port < 65536 and port not in taken and is_free(port):
        return port
    return free_port(taken)


def require(host: str, port: int, setting: str) -> None:
    """Raises ConfigurationError naming the port and `setting` unless a server could listen on `host`:`port` now."""
    if not 0 < port < 65536:
        raise ConfigurationError(f"{port} is not a TCP port: give {setting} a number from 1 to 65535.")
    error = _listen(host, port)
    if error is None:
        return
    match error.errno:
        case errno.EADDRINUSE:
            why = f"port {port} on {host} is in use by another program"
        case errno.EACCES:
            why = f"this user may not listen on port {port}"
        case _:
            raise ConfigurationError(f"{host} is not an address of this machine ({error}): change PARLEY_HOST.")
    raise ConfigurationError(f"{why[0].upper()}{why[1:]}: stop it, or choose another with {setting}.")


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _listen(host: str, port: int) -> OSError | None:
    with socket.socket(_family(host)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError as error:
            return error
    return None
