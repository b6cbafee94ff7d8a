"""An AMQP URL, taken apart so that its password never reaches a message or a log line."""

from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

from parley_runtime.errors import ConfigError

_PORTS = {"amqp": 5672, "amqps": 5671}


@dataclass(frozen=True, slots=True)
class Address:
    """Where the broker is. ``str()`` names user, host, port and virtual host, never the password."""

    url: str = field(repr=False)
    user: str
    host: str
    port: int
    vhost: str

    def __str__(self) -> str:
        return f"{self.user}@{self.host}:{self.port} (virtual host {self.vhost!r})"


def parse(url: str, *, heartbeat_s: int) -> Address:
    """The address in ``url``, with the heartbeat in seconds set as its query parameter.

    Raises:
        ConfigError: not an AMQP URL.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ConfigError("AMQP_URL is not a URL: use amqp://user:password@host:5672/vhost") from None
    if parts.scheme not in _PORTS or not parts.hostname:
        raise ConfigError("AMQP_URL must look like amqp://user:password@host:5672/vhost (or amqps://)")
    query = {key: value for key, value in parse_qsl(parts.query) if key not in {"heartbeat", "name"}}
    query["heartbeat"] = str(heartbeat_s)
    return Address(
        url=urlunsplit(parts._replace(query=urlencode(query), fragment="")),
        user=unquote(parts.username or "guest"),
        host=parts.hostname,
        port=port or _PORTS[parts.scheme],
        vhost=unquote(parts.path[1:]) or "/",
    )
