"""Logs in to an AMQP 0-9-1 broker and out again, to tell a wrong password from a wrong address in one round trip.

Only the handshake of the specification (amqp0-9-1.pdf, 2.2.4 and 1.4) is spoken; the services use a real client.
"""

import asyncio
import ssl
import struct
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from parley_client.up.errors import BrokerRefused, BrokerUnreachable, ConfigurationError, NotABroker

LARGEST_FRAME = 128 * 1024
"""Bytes of one handshake frame; brokers send about 600."""

_START, _START_OK, _TUNE, _TUNE_OK = (10, 10), (10, 11), (10, 30), (10, 31)
_OPEN, _OPEN_OK, _CLOSE, _CLOSE_OK = (10, 40), (10, 41), (10, 50), (10, 51)


@dataclass(frozen=True)
class Address:
    """An AMQP URL taken apart. `str()` shows neither user nor password."""

    host: str
    port: int
    vhost: str
    user: str = field(repr=False)
    password: str = field(repr=False)
    tls: bool = False

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def address(url: str) -> Address:
    """Takes an `amqp://` or `amqps://` URL apart; raises ConfigurationError that does not repeat it."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in {"amqp", "amqps"} or not parts.hostname:
        raise ConfigurationError(
            "AMQP_URL is not an AMQP address: it looks like amqp://USER:PASSWORD@HOST:5672/VHOST, "
            "with special characters in the password percent-encoded."
        )
    tls = parts.scheme == "amqps"
    return Address(
        host=parts.hostname,
        port=port or (5671 if tls else 5672),
        vhost=unquote(parts.path[1:]) or "/",
        user=unquote(parts.username or "guest"),
        password=unquote(parts.password or "guest"),
        tls=tls,
    )


async def probe(url: str, *, within: float = 5.0) -> str:
    """Logs in, opens the virtual host and closes again; returns what the broker calls itself, "RabbitMQ 3.10.8".

    Raises BrokerUnreachable, NotABroker or BrokerRefused after at most `within` seconds. No message holds the password.
    """
    target = address(url)
    try:
        async with asyncio.timeout(within):
            return await _login(target)
    except TimeoutError:
        raise BrokerUnreachable(f"Nothing answered as a broker at {target} within {within:g} s.") from None
    except ssl.SSLError as error:
        raise BrokerUnreachable(f"No TLS connection to {target} ({error.reason or 'handshake failed'}).") from None
    except OSError as error:
        raise BrokerUnreachable(f"No broker answers at {target} ({error.strerror or error}).") from None


async def _login(target: Address) -> str:
    reader, writer = await asyncio.open_connection(target.host, target.port, ssl=target.tls or None)
    try:
        writer.write(b"AMQP\x00\x00\x09\x01")
        product = await _start(reader, target)
        writer.write(_start_ok(target))
        limits = await _expect(reader, target, _TUNE, f"refused the user name or password given for {target}")
        writer.write(_frame(_TUNE_OK, limits[:8]))  # the broker's own limits, taken as they are
        writer.write(_frame(_OPEN, _short(target.vhost) + b"\x00\x00"))
        await _expect(reader, target, _OPEN_OK, f"accepted the login but not the virtual host {target.vhost!r}")
        writer.write(_frame(_CLOSE, struct.pack(">H", 200) + _short("bye") + bytes(4)))
        await _method(reader)
    except (asyncio.IncompleteReadError, struct.error):
        raise NotABroker(
            f"What listens at {target} breaks off the handshake: it is not an AMQP 0-9-1 broker."
        ) from None
    finally:
        writer.close()
    return product


async def _start(reader: asyncio.StreamReader, target: Address) -> str:
    head = await reader.readexactly(8)
    if head[:4] == b"AMQP" or head[0] != 1:
        raise NotABroker(f"What listens at {target} does not speak AMQP 0-9-1.")
    method, arguments = await _method(reader, head)
    if method != _START:
        raise NotABroker(f"What listens at {target} does not start as an AMQP 0-9-1 broker does.")
    size = struct.unpack_from(">I", arguments, 2)[0]
    return _product(arguments[6 : 6 + size])


async def _expect(reader: asyncio.StreamReader, target: Address, wanted: tuple[int, int], refusal: str) -> bytes:
    """Brokers refuse with a close method, or, older ones, by closing the socket at once."""
    try:
        method, arguments = await _method(reader)
    except (asyncio.IncompleteReadError, ConnectionResetError):
        raise BrokerRefused(f"The broker {refusal}.") from None
    if method == _CLOSE:
        raise BrokerRefused(f"The broker {refusal} (AMQP {struct.unpack_from('>H', arguments)[0]}).")
    if method != wanted:
        raise NotABroker(f"What listens at {target} does not log in as an AMQP 0-9-1 broker does.")
    return arguments


async def _method(reader: asyncio.StreamReader, head: bytes = b"") -> tuple[tuple[int, int], bytes]:
    """The next method frame as ((class, method), arguments); heartbeats are passed over."""
    while True:
        head += await reader.readexactly(7 - len(head)) if len(head) < 7 else b""
        kind, _, size = struct.unpack(">BHI", head[:7])
        if not 4 <= size <= LARGEST_FRAME and kind == 1:
            raise NotABroker("The peer sent a frame that no AMQP 0-9-1 broker sends.")
        body = head[7:] + await reader.readexactly(min(size, LARGEST_FRAME) + 1 - len(head[7:]))
        if kind == 1:
            class_id, method_id = struct.unpack(">HH", body[:4])
            return (class_id, method_id), body[4:-1]
        head = b""


def _frame(method: tuple[int, int], arguments: bytes) -> bytes:
    payload = struct.pack(">HH", *method) + arguments
    return struct.pack(">BHI", 1, 0, len(payload)) + payload + b"\xce"


def _short(text: str) -> bytes:
    raw = text.encode()[:255]
    return bytes([len(raw)]) + raw


def _long(raw: bytes) -> bytes:
    return struct.pack(">I", len(raw)) + raw


def _start_ok(target: Address) -> bytes:
    # authentication_failure_close makes the broker say 403 instead of only closing the socket.
    capabilities = _short("authentication_failure_close") + b"t\x01"
    properties = _short("product") + b"S" + _long(b"parley") + _short("capabilities") + b"F" + _long(capabilities)
    response = b"\x00" + target.user.encode() + b"\x00" + target.password.encode()
    return _frame(_START_OK, _long(properties) + _short("PLAIN") + _long(response) + _short("en_US"))


def _product(table: bytes) -> str:
    """`product` and `version` of the server properties; both are long strings wherever RabbitMQ sends them."""
    found = []
    for name in (b"\x07product", b"\x07version"):
        at = table.find(name + b"S")
        if at >= 0:
            size = struct.unpack_from(">I", table, at + 9)[0]
            found.append(table[at + 13 : at + 13 + min(size, 64)].decode(errors="replace"))
    return " ".join(found) or "an AMQP broker"
