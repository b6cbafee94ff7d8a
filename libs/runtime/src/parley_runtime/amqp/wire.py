"""One connection attempt: dialing, half-open detection, and hearing that the broker blocks publishers."""

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pamqp.frame
from aiormq import Connection, spec
from aiormq.channel import Channel
from aiormq.connection import FrameReceiver, TCPTransportFactory, TLSTransportFactory, TransportFactory
from aiormq.exceptions import ConnectionClosed
from pamqp.base import Frame
from pamqp.frame import FrameTypes
from yarl import URL

from parley_runtime.amqp.address import Address
from parley_runtime.amqp.faults import WireError, wire_errors
from parley_runtime.errors import ConfigError

DIAL_S = 5.0
CLOSE_S = 3.0
REFUSALS = frozenset({403, 530})
"""Reply codes to a login: wrong user or password, unknown or forbidden virtual host."""

CHANNEL_FRAMES = 256
"""Frames that may wait between the socket's reader and a channel's."""

OnBlocked = Callable[[str], None]
"""Called with the broker's reason, or "" when it reads publishes again."""


def silence_limit_s(heartbeat_s: int) -> float:
    """The longest time in seconds between the broker's last byte and the link's knowing that the peer is gone.

    aiormq calls a wire stuck ``grace`` after the last frame and looks every half heartbeat. The broker sends a
    heartbeat every ``heartbeat_s / 2`` seconds when it has nothing else to say.
    """
    return _grace_s(heartbeat_s) + max(1, heartbeat_s // 2)


def _grace_s(heartbeat_s: int) -> float:
    return float((heartbeat_s + 1) * Wire.HEARTBEAT_GRACE_MULTIPLIER)


class _Transport(TransportFactory):
    """Opens the socket and keeps hold of it, so that a wire that cannot be closed politely can be cut."""

    def __init__(self, *, tls: bool, user_timeout_s: float) -> None:
        self._factory: TransportFactory = TLSTransportFactory() if tls else TCPTransportFactory()
        self._user_timeout_ms = int(user_timeout_s * 1000)
        self._writer: asyncio.StreamWriter | None = None

    async def create(self, url: URL, **kwargs: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await self._factory.create(url, **kwargs)
        self._writer = writer
        sock = writer.get_extra_info("socket")
        if sock is not None and hasattr(socket, "TCP_USER_TIMEOUT"):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, self._user_timeout_ms)
        return reader, writer

    def abort(self) -> None:
        if self._writer is not None:
            self._writer.transport.abort()


class Wire(Connection):
    """An aiormq connection that gives up on a silent peer after ``2 * (heartbeat + 1)`` seconds (aiormq waits three
    times as long as it takes to miss one) and tells when the broker blocks it.
    """

    HEARTBEAT_GRACE_MULTIPLIER = 2
    FRAME_BUFFER_SIZE = 512

    def __init__(self, address: Address, *, name: str, heartbeat_s: int) -> None:
        self._transport = _Transport(tls=address.url.startswith("amqps:"), user_timeout_s=_grace_s(heartbeat_s))
        super().__init__(address.url, transport_factory=self._transport, client_properties={"connection_name": name})
        self.blocked = ""
        self.on_blocked: OnBlocked = lambda _: None

    @staticmethod
    async def _rpc(
        request: Frame, writer: asyncio.StreamWriter, frame_receiver: FrameReceiver, wait_response: bool = True
    ) -> FrameTypes | None:
        """One step of the handshake. aiormq's own loses the broker's reason when the virtual host is refused."""
        writer.write(pamqp.frame.marshal(request, 0))
        await writer.drain()
        if not wait_response:
            return None
        _, _, frame = await frame_receiver.get_frame()
        if isinstance(frame, spec.Connection.Close):
            raise ConnectionClosed(frame.reply_code, frame.reply_text)
        return frame

    # aiormq has no public callback for these two frames. The contract suite raises a memory alarm, so a rename there
    # is noticed here.
    async def _Connection__handle_connection_blocked(self, frame: spec.Connection.Blocked) -> None:
        self.blocked = str(frame.reason or "blocked by the broker")
        self.on_blocked(self.blocked)

    async def _Connection__handle_connection_unblocked(self, _: spec.Connection.Unblocked) -> None:
        self.blocked = ""
        self.on_blocked("")

    async def hang_up(self) -> None:
        """Close politely within 3 s, else cut the socket. Never raises."""
        with suppress(TimeoutError, WireError):
            async with asyncio.timeout(CLOSE_S):
                with wire_errors():
                    await self.close()
        self._transport.abort()
        await self.release_writers()

    async def release_writers(self) -> None:
        """Free whoever waits to put a frame into the write queue of a wire that nobody writes any more."""
        while not self.write_queue.empty():
            self.write_queue.get_nowait()
            await asyncio.sleep(0)

    async def open_channel(self, *, confirms: bool = False) -> Channel:
        """A channel of its own; a cancelled call leaves none behind. Raises WireError."""
        try:
            with wire_errors():
                channel = await self.channel(publisher_confirms=confirms, frame_buffer_size=CHANNEL_FRAMES)
        except RuntimeError:
            raise WireError("the connection has closed") from None
        assert isinstance(channel, Channel)
        return channel

    def cut(self) -> None:
        """Drop the socket at once."""
        self._transport.abort()


async def dial(address: Address, *, name: str, heartbeat_s: int) -> Wire:
    """A connected wire, or an error within 5 s.

    Raises:
        ConfigError: the broker refused user, password or virtual host.
        WireError: it cannot be reached.
    """
    wire = Wire(address, name=name, heartbeat_s=heartbeat_s)
    try:
        async with asyncio.timeout(DIAL_S):
            with wire_errors():
                await wire.connect()
    except TimeoutError:
        wire.cut()
        raise WireError(f"no answer from {address.host}:{address.port} within {DIAL_S:g} s", quick=False) from None
    except WireError as error:
        wire.cut()
        if error.reply_code in REFUSALS:
            raise ConfigError(
                f"RabbitMQ refused {address}: {error}. Check user, password and virtual host in AMQP_URL."
            ) from None
        where = f"{address.host}:{address.port}"
        raise WireError(f"{where}: {error}", reply_code=error.reply_code, quick=error.quick) from error
    except BaseException:
        wire.cut()
        raise
    return wire
