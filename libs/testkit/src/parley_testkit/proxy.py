"""A TCP proxy on 127.0.0.1 that a test can cut, close, silence and slow down."""

import asyncio
from contextlib import suppress

CHUNK = 64 * 1024
QUEUED_CHUNKS = 64
"""Bound of what one direction of one connection holds back."""


class CuttableProxy:
    """Forwards every connection to ``host:port``. ``latency_s`` is added to each direction."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._server: asyncio.Server | None = None
        self._port = 0
        self._pipes: set[_Pipe] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self.latency_s = 0.0
        self.accepted = 0

    @property
    def port(self) -> int:
        """The port it listens on; the same after every ``restore``."""
        return self._port

    @property
    def connections(self) -> int:
        """Connections being forwarded now."""
        return len(self._pipes)

    async def start(self) -> None:
        """Listen; the first call picks a free port."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    def cut(self) -> None:
        """Reset every connection; new ones are accepted."""
        for pipe in tuple(self._pipes):
            pipe.abort()

    def orphan(self) -> None:
        """Reset the client's side only: the server goes on believing in the connection."""
        for pipe in tuple(self._pipes):
            pipe.orphan()

    async def refuse(self) -> None:
        """Reset every connection and refuse new ones."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.cut()
        await asyncio.sleep(0)

    def blackhole(self) -> None:
        """Half-open: connections stay, also new ones, but not a byte passes."""
        self._flowing.clear()

    async def restore(self) -> None:
        """Forward again; connections that were silenced go on."""
        self._flowing.set()
        if self._server is None:
            await self.start()

    async def close(self) -> None:
        """End everything."""
        await self.refuse()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def __aenter__(self) -> "CuttableProxy":
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.accepted += 1
        try:
            await self._flowing.wait()
            far_reader, far_writer = await asyncio.open_connection(*self._target)
        except (OSError, asyncio.CancelledError):
            writer.transport.abort()
            self._tasks.discard(task)
            return
        pipe = _Pipe(self, writer, far_writer)
        self._pipes.add(pipe)
        try:
            await asyncio.gather(pipe.run(reader, far_writer), pipe.run(far_reader, writer))
        except asyncio.CancelledError:
            pass  # the proxy is closing
        finally:
            pipe.abort()
            self._pipes.discard(pipe)
            self._tasks.discard(task)

    async def flow(self) -> None:
        """Wait until bytes may pass."""
        await self._flowing.wait()


class _Pipe:
    def __init__(self, proxy: CuttableProxy, near: asyncio.StreamWriter, far: asyncio.StreamWriter) -> None:
        self._proxy = proxy
        self._writers = (near, far)
        self._aborted = False
        self._orphaned = False

    def orphan(self) -> None:
        self._orphaned = True
        self._writers[0].transport.abort()

    def abort(self) -> None:
        self._aborted = True
        for writer in self._writers:
            writer.transport.abort()

    async def run(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One direction, until either side ends; then both end."""
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(QUEUED_CHUNKS)
        sender = asyncio.ensure_future(self._send(queue, writer))
        loop = asyncio.get_running_loop()
        try:
            with suppress(OSError):
                while data := await reader.read(CHUNK):
                    await queue.put((loop.time() + self._proxy.latency_s, data))
            if not self._aborted and not self._orphaned:
                # The end of a connection is silenced as well.
                await queue.put((0.0, b""))
                await sender
        finally:
            sender.cancel()
            if not self._orphaned:
                self.abort()

    async def _send(self, queue: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        with suppress(OSError):
            while True:
                due, data = await queue.get()
                if due > loop.time():
                    await asyncio.sleep(due - loop.time())
                await self._proxy.flow()
                if not data:
                    return
                writer.write(data)
                await writer.drain()
