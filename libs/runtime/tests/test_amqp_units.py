"""Parts of the AMQP layer that need no broker."""

import asyncio
import re
from typing import Any, cast

import pytest
from aiormq.exceptions import ChannelPreconditionFailed, ConnectionClosed, ProbableAuthenticationError

from parley_protocol.routes import QueueSpec, Topology, event_queue
from parley_runtime.amqp import AmqpBroker, meters
from parley_runtime.amqp.address import parse
from parley_runtime.amqp.backoff import QUICK_CAP_S, delay_s
from parley_runtime.amqp.faults import WireError, wire_errors
from parley_runtime.amqp.publisher import Publisher
from parley_runtime.amqp.supervisor import Supervisor
from parley_runtime.amqp.wire import silence_limit_s
from parley_runtime.errors import ConfigError, Unavailable
from parley_runtime.ports import Message

pytestmark = pytest.mark.unit


def test_an_address_never_shows_its_password() -> None:
    address = parse("amqp://user:s3cret%2F@rabbit.example:5673/my%2Fhost?timeout=3&heartbeat=99", heartbeat_s=5)
    assert "s3cret" not in str(address) + repr(address)
    assert str(address) == "user@rabbit.example:5673 (virtual host 'my/host')"
    assert address.url == "amqp://user:s3cret%2F@rabbit.example:5673/my%2Fhost?timeout=3&heartbeat=5"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("amqp://localhost", ("guest", "localhost", 5672, "/")),
        ("amqp://u:p@[::1]:1/", ("u", "::1", 1, "/")),
        ("amqps://u@host/v", ("u", "host", 5671, "v")),
        ("amqp://u@host/%2F", ("u", "host", 5672, "/")),
    ],
)
def test_what_an_address_leaves_out_has_a_default(url: str, expected: tuple[str, str, int, str]) -> None:
    address = parse(url, heartbeat_s=5)
    assert (address.user, address.host, address.port, address.vhost) == expected


@pytest.mark.parametrize("url", ["", "localhost", "http://secret@h/", "amqp://", "amqp://u:secret@h:port/", "amqp://["])
def test_a_bad_url_is_a_config_error_without_the_url(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        AmqpBroker(url, name="p", topology=Topology((), ()))
    assert "AMQP_URL" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_half_open_detection_keeps_its_limit() -> None:
    assert silence_limit_s(5) <= 15
    assert silence_limit_s(1) == 5


def test_back_off_grows_to_its_cap_with_full_jitter() -> None:
    quick = [delay_s(n, quick=True) for n in range(1, 200)]
    slow = [delay_s(50, quick=False) for _ in range(400)]
    assert max(quick) <= QUICK_CAP_S
    assert min(slow) < 2 < 8 < max(slow) <= 10
    assert all(delay_s(1, quick=False) <= 0.2 for _ in range(50))


def test_private_queues_share_one_label() -> None:
    assert meters.queue_label(event_queue("gateway-1", "7")) == "parley.events"
    assert meters.queue_label(QueueSpec("parley.retrieve", {}, ())) == "parley.retrieve"


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (ProbableAuthenticationError("ACCESS_REFUSED"), 403, "ACCESS_REFUSED"),
        (ConnectionClosed(530, "NOT_ALLOWED"), 530, "NOT_ALLOWED"),
        (ChannelPreconditionFailed("inequivalent"), 406, "inequivalent"),
        (ConnectionResetError(104, "reset by peer"), 0, "reset by peer"),
        (EOFError(), 0, "EOFError"),
        (StopAsyncIteration(), 0, "the connection ended"),
    ],
)
async def test_failures_of_the_wire_carry_the_brokers_code(error: Exception, code: int, reason: str) -> None:
    with pytest.raises(WireError, match=re.escape(reason)) as caught, wire_errors():
        raise error
    assert caught.value.reply_code == code


async def test_a_cancellation_that_nobody_asked_for_is_a_lost_wire() -> None:
    future = asyncio.get_running_loop().create_future()
    future.cancel()
    with pytest.raises(WireError), wire_errors():
        await future


async def test_a_real_cancellation_passes() -> None:
    started = asyncio.Event()

    async def work() -> None:
        with wire_errors():
            started.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_nobody_there_is_unavailable_and_says_what_to_do() -> None:
    broker = AmqpBroker("amqp://guest:secret@127.0.0.1:1/", name="p", topology=Topology((), ()))
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1: .*AMQP_URL") as caught:
        await broker.open("test", wait_s=0.1)
    assert "secret" not in str(caught.value)


class Alarmed:
    """A supervisor whose broker refuses publishes until ``room`` is set."""

    def __init__(self) -> None:
        self.room = asyncio.Event()
        self.room.set()
        self.opened = 0

    @property
    def wire(self) -> "Alarmed | None":
        return self if self.room.is_set() else None

    async def writable(self) -> "Alarmed":
        await self.room.wait()
        return self

    def why(self) -> str:
        return "an alarm"

    async def open_channel(self, *, confirms: bool) -> Any:
        self.opened += 1
        return Confirming()


class Confirming:
    """A channel that confirms what is written."""

    is_closed = False
    number, max_content_size, delivery_tag = 1, 1000, 0

    def __init__(self) -> None:
        self.confirmations: dict[int, asyncio.Future[None]] = {}
        self.message_id_delivery_tag: dict[str, int] = {}
        self.write_queue = self

    def create_future(self) -> "asyncio.Future[None]":
        return asyncio.get_running_loop().create_future()

    def put_nowait(self, _: object) -> None:
        for confirmation in self.confirmations.values():
            if not confirmation.done():
                confirmation.set_result(None)


async def test_after_an_alarm_the_channel_from_before_it_goes_on() -> None:
    alarmed = Alarmed()
    publisher = Publisher(cast(Supervisor, alarmed), lambda exchange, key: None)

    async def publish() -> None:
        await publisher.publish("x", "k", Message(b"m", {}), timeout_s=5, mandatory=True)

    await publish()
    for _ in range(3):
        alarmed.room.clear()
        waiting = asyncio.create_task(publish())
        await asyncio.sleep(0)
        alarmed.room.set()
        await waiting
    assert alarmed.opened == 1
