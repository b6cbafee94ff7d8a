"""The login probe against a scripted peer on a loopback socket."""

import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from parley_client.up import amqp_probe
from parley_client.up.errors import BrokerRefused, BrokerUnreachable, ConfigurationError, NotABroker
from parley_client.up.ports import free_port

pytestmark = pytest.mark.unit

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
PASSWORD = "pa55/w:rd"
PROPERTIES = b"\x07productS\x00\x00\x00\x08RabbitMQ\x07versionS\x00\x00\x00\x063.10.8"
START = b"\x00\x0a\x00\x0a\x00\x09" + struct.pack(">I", len(PROPERTIES)) + PROPERTIES + b"\0\0\0\5PLAIN\0\0\0\5en_US"
TUNE = b"\x00\x0a\x00\x1e\x07\xff\x00\x02\x00\x00\x00\x3c"
OPEN_OK = b"\x00\x0a\x00\x29\x00"
CLOSE_OK = b"\x00\x0a\x00\x33"


def frame(payload: bytes) -> bytes:
    return b"\x01\x00\x00" + struct.pack(">I", len(payload)) + payload + b"\xce"


def close(code: int) -> bytes:
    return frame(b"\x00\x0a\x00\x32" + struct.pack(">H", code) + b"\x02no\x00\x00\x00\x00")


async def client_frame(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readexactly(7)
    return (await reader.readexactly(struct.unpack(">I", head[3:])[0] + 1))[:-1]


@asynccontextmanager
async def peer(script: Script) -> AsyncIterator[str]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await script(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        yield f"amqp://me:{PASSWORD.replace('/', '%2F').replace(':', '%3A')}@127.0.0.1:{port}/my%2Fhost"


def broker(after_login: list[bytes], seen: list[bytes] | None = None) -> Script:
    """Says START, then one of `after_login` after each frame of the client; then closes."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readexactly(8) == b"AMQP\x00\x00\x09\x01"
        writer.write(frame(START))
        for answer in after_login:
            said = await client_frame(reader)
            if seen is not None:
                seen.append(said)
            writer.write(answer)

    return script


async def test_a_login_that_succeeds_names_the_broker() -> None:
    seen: list[bytes] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await broker([frame(TUNE)], seen)(reader, writer)
        seen.append(await client_frame(reader))  # tune-ok, answered by nothing
        seen.append(await client_frame(reader))
        writer.write(b"\x08\x00\x00\x00\x00\x00\x00\xce" + frame(OPEN_OK))  # a heartbeat may come at any time
        seen.append(await client_frame(reader))
        writer.write(frame(CLOSE_OK))

    async with peer(script) as url:
        assert await amqp_probe.probe(url) == "RabbitMQ 3.10.8"
    assert f"\x00me\x00{PASSWORD}".encode() in seen[0]
    assert seen[1] == b"\x00\x0a\x00\x1f" + TUNE[4:]
    assert b"\x07my/host" in seen[2]
    assert seen[3].startswith(b"\x00\x0a\x00\x32\x00\xc8")


@pytest.mark.parametrize("answers", [[close(403)], [b""]], ids=["close method", "closed socket"])
async def test_a_refused_password(answers: list[bytes]) -> None:
    async with peer(broker(answers)) as url:
        with pytest.raises(BrokerRefused, match="refused the user name or password") as error:
            await amqp_probe.probe(url)
    assert PASSWORD not in str(error.value)


async def test_a_virtual_host_that_is_not_there() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await broker([frame(TUNE)])(reader, writer)
        await client_frame(reader)
        await client_frame(reader)
        writer.write(close(530))

    async with peer(script) as url:
        with pytest.raises(BrokerRefused, match=r"not the virtual host 'my/host' \(AMQP 530\)"):
            await amqp_probe.probe(url)


@pytest.mark.parametrize(
    "greeting",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"AMQP\x00\x01\x00\x00",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        frame(TUNE),
        b"\x01\x00\x00\xff\xff\xff\xff" + b"x" * 16,
        b"",
    ],
    ids=["http", "amqp 1.0", "ssh", "wrong method", "huge frame", "closes at once"],
)
async def test_something_else_listens(greeting: bytes) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(8)
        writer.write(greeting)

    async with peer(script) as url:
        with pytest.raises(NotABroker):
            await amqp_probe.probe(url)


async def test_a_silent_peer_is_given_up_in_time() -> None:
    release = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await release.wait()

    async with peer(script) as url:
        with pytest.raises(BrokerUnreachable, match=r"within 0\.2 s"):
            await amqp_probe.probe(url, within=0.2)
        release.set()


async def test_nobody_listens() -> None:
    with pytest.raises(BrokerUnreachable, match=r"No broker answers at 127\.0\.0\.1:\d+"):
        await amqp_probe.probe(f"amqp://127.0.0.1:{free_port()}/")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("amqp://h", amqp_probe.Address("h", 5672, "/", "guest", "guest")),
        ("amqp://a:b%40@h:1/", amqp_probe.Address("h", 1, "/", "a", "b@")),
        ("amqps://a:b@h/v%2Fw", amqp_probe.Address("h", 5671, "v/w", "a", "b", tls=True)),
    ],
)
def test_an_address_is_taken_apart(url: str, shown: amqp_probe.Address) -> None:
    assert amqp_probe.address(url) == shown


def test_an_address_never_shows_its_login() -> None:
    found = amqp_probe.address("amqp://me:s3cret@h/")
    assert "s3cret" not in f"{found} {found!r}"
    assert str(found) == "h:5672"


@pytest.mark.parametrize("url", ["", "http://me:s3cret@h/", "amqp://", "amqp://me:s3cret@h:port/", "me:s3cret@h"])
def test_what_is_no_address_is_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(ConfigurationError, match="AMQP_URL") as error:
        amqp_probe.address(url)
    assert "s3cret" not in str(error.value)
