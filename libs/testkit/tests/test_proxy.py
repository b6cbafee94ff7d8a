"""The cuttable proxy does to a connection what it says."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from parley_testkit.contracts.lab import eventually
from parley_testkit.proxy import CuttableProxy

pytestmark = pytest.mark.unit


@contextlib.asynccontextmanager
async def echo() -> AsyncIterator[CuttableProxy]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with CuttableProxy("127.0.0.1", server.sockets[0].getsockname()[1]) as proxy:
        yield proxy
    server.close()


@contextlib.asynccontextmanager
async def client(proxy: CuttableProxy) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def test_it_forwards_both_ways() -> None:
    async with echo() as proxy, client(proxy) as (reader, writer):
        sent = bytes(range(256)) * 4000
        writer.write(sent)
        assert await asyncio.wait_for(reader.readexactly(len(sent)), 5) == sent
        assert (proxy.connections, proxy.accepted) == (1, 1)


async def test_cut_resets_and_accepts_again() -> None:
    async with echo() as proxy:
        async with client(proxy) as (reader, writer):
            writer.write(b"a")
            assert await reader.readexactly(1) == b"a"
            proxy.cut()
            with contextlib.suppress(ConnectionError):
                assert await asyncio.wait_for(reader.read(), 5) == b""
        async with client(proxy) as (reader, writer):
            writer.write(b"b")
            assert await asyncio.wait_for(reader.readexactly(1), 5) == b"b"


async def test_refuse_closes_the_port_until_restored() -> None:
    async with echo() as proxy:
        port = proxy.port
        await proxy.refuse()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
        await proxy.restore()
        assert proxy.port == port
        async with client(proxy) as (reader, writer):
            writer.write(b"c")
            assert await asyncio.wait_for(reader.readexactly(1), 5) == b"c"


async def test_a_black_hole_keeps_connections_and_lets_nothing_through() -> None:
    async with echo() as proxy, client(proxy) as (reader, writer):
        writer.write(b"a")
        assert await reader.readexactly(1) == b"a"
        proxy.blackhole()
        writer.write(b"b")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.2)
        async with client(proxy) as (silent, _):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(silent.read(1), 0.2)
        await proxy.restore()
        assert await asyncio.wait_for(reader.readexactly(1), 5) == b"b"


async def test_an_orphan_is_gone_for_the_client_only() -> None:
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            await reader.read()
        ended.set()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with (
        CuttableProxy("127.0.0.1", server.sockets[0].getsockname()[1]) as proxy,
        client(proxy) as (reader, _),
    ):
        await eventually(lambda: proxy.connections, 1)
        proxy.orphan()
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), 5) == b""
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(ended.wait(), 0.2)
        assert proxy.connections == 1
    await asyncio.wait_for(ended.wait(), 5)
    server.close()


async def test_latency_delays_without_reordering() -> None:
    async with echo() as proxy, client(proxy) as (reader, writer):
        proxy.latency_s = 0.1
        began = asyncio.get_running_loop().time()
        writer.write(b"1")
        await asyncio.sleep(0.01)
        writer.write(b"2")
        assert await asyncio.wait_for(reader.readexactly(2), 5) == b"12"
        assert asyncio.get_running_loop().time() - began >= 0.2
