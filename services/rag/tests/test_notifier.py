"""Notices to the owner's webhook over the in-memory broker: retried, parked with their cause, told by their id."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from parley_protocol import codec
from parley_protocol.contact import ContactMessage, ContactNotice
from parley_protocol.routes import WORK, Stage, retry_exchange, stage_queue, topology
from parley_rag.notifier import Notifier, NotifierOptions
from parley_rag.parker import Parker
from parley_runtime.ports import Message
from parley_runtime.store import open_store
from parley_testkit.memory import MemoryBroker

pytestmark = pytest.mark.unit

URL = "http://hook.example/secret-path?key=s3cret"
NOTICE = ContactNotice(
    tenant="acme",
    message=ContactMessage(
        id=7,
        client_id="v-1",
        sender="visitor",
        kind="contact_request",
        message="请联系我",
        timestamp="2026-01-02T03:04:05.678+00:00",
        user_agent="M/5",
    ),
)


async def eventually(condition: Callable[[], object]) -> None:
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("not within 10 s")


class Hook:
    """The owner's server: says what a test says, and remembers what it was sent."""

    def __init__(self) -> None:
        self.say: Callable[[httpx.Request], Any] = lambda _: 204
        self.requests: asyncio.Queue[httpx.Request] = asyncio.Queue()

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.put_nowait(request)
        said = self.say(request)
        if isinstance(said, Exception):
            raise said
        if said is None:
            await asyncio.Event().wait()
        return httpx.Response(said)

    async def next(self) -> httpx.Request:
        async with asyncio.timeout(30):
            return await self.requests.get()


class House:
    def __init__(self, broker: MemoryBroker, folder: Path, stack: AsyncExitStack) -> None:
        self.broker, self.folder, self.stack = broker, folder, stack
        self.hook = Hook()

    async def notifier(self, **options: Any) -> Notifier:
        broker = self.broker.process("rag")
        http = httpx.AsyncClient(transport=httpx.MockTransport(self.hook))
        settings = NotifierOptions(**{"webhook": URL, **options})
        made = Notifier(broker, await broker.open("publish"), settings, http=http)
        self.stack.push_async_callback(made.aclose)
        await made.start()
        assert made.check() is None
        return made

    async def send(self, body: bytes = codec.pack(NOTICE)) -> None:
        link = await self.broker.process("gw").open("publish")
        await link.publish(WORK, Stage.NOTIFY, Message(body))

    async def settled(self, queue: str, count: int) -> tuple[bytes, ...]:
        await eventually(lambda: len(self.broker.messages(queue)) == count)
        return self.broker.messages(queue)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with AsyncExitStack() as stack:
        broker = MemoryBroker(topology())
        stack.push_async_callback(broker.close)
        yield House(broker, tmp_path, stack)


async def test_a_notice_is_posted_with_its_id(house: House) -> None:
    await house.notifier()
    await house.send()
    request = await house.hook.next()
    assert (request.method, str(request.url)) == ("POST", URL)
    assert request.headers["parley-notice-id"] == request.headers["idempotency-key"] == "contact-7"
    assert request.headers["content-type"] == "application/json"
    assert httpx.Response(200, content=request.content).json() == {
        "type": "contact_request",
        "notice_id": "contact-7",
        "tenant": "acme",
        "id": 7,
        "client_id": "v-1",
        "sender": "visitor",
        "kind": "contact_request",
        "message": "请联系我",
        "timestamp": "2026-01-02T03:04:05.678+00:00",
        "userAgent": "M/5",
    }
    await house.settled(stage_queue(Stage.NOTIFY), 0)


async def test_what_the_webhook_does_not_take_is_tried_again_later_with_the_same_id(house: House) -> None:
    await house.notifier(post_s=0.1)
    says = {1: 500, 2: 404, 3: 302, 4: httpx.ConnectError("no"), 5: None}
    house.hook.say = lambda request: says[msgspec.json.decode(request.content)["id"]]
    for id in says:
        message = msgspec.structs.replace(NOTICE.message, id=id)
        await house.send(codec.pack(msgspec.structs.replace(NOTICE, message=message)))
        await house.hook.next()
    await eventually(lambda: len(waiting(house, 0)) == 5)
    house.hook.say = lambda _: 200
    again = {(await house.hook.next()).headers["parley-notice-id"] for _ in says}  # the first rung waits for a second
    assert again == {f"contact-{id}" for id in says}
    await house.settled(stage_queue(Stage.NOTIFY), 0)


async def test_each_try_waits_longer_up_to_the_last_rung(house: House) -> None:
    await house.notifier()
    house.hook.say = lambda _: 503
    for tries, rung in ((0, 0), (1, 1), (2, 2), (7, 2)):
        await house.send(codec.pack(ContactNotice(tenant="acme", message=NOTICE.message, tries=tries)))
        await house.hook.next()
        await eventually(lambda tries=tries, rung=rung: tries + 1 in waiting(house, rung))


def waiting(house: House, rung: int) -> list[int]:
    """Tries of the notices on a rung."""
    return [codec.unpack_notice(body).tries for body in house.broker.messages(retry_exchange(rung))]


async def test_after_its_last_try_it_is_parked_with_its_cause_and_without_the_address(house: House) -> None:
    store = await open_store(f"sqlite+aiosqlite:///{house.folder / 'p.db'}")
    house.stack.push_async_callback(store.aclose)
    broker = house.broker.process("rag")

    async def delivered(*_: object) -> None:
        raise AssertionError("a notice has no turn")

    parker = Parker(broker, store, await broker.open("publish"), delivered)
    house.stack.push_async_callback(parker.aclose)
    await parker.start()
    await house.notifier(tries=3)
    house.hook.say = lambda _: 410
    await house.send(codec.pack(ContactNotice(tenant="acme", message=NOTICE.message, tries=2)))
    await house.settled(stage_queue(Stage.NOTIFY), 0)
    await parker.drain(5)
    (row,) = await store.dead()
    assert (row.queue, row.reason, row.cause) == ("parley.notify", "exhausted", "the webhook answered 410")
    (whole,) = await store.dead(id=row.id)
    assert codec.unpack_notice(whole.body).message == NOTICE.message
    assert "s3cret" not in row.cause


async def test_garbage_is_dead_lettered_and_holds_nothing_up(house: House) -> None:
    await house.notifier()
    await house.send(b"\xc1")
    await house.send()
    await house.hook.next()
    await house.settled("parley.dead", 1)


async def test_a_worker_without_the_setting_loses_nothing(house: House) -> None:
    await house.notifier(webhook="")
    await house.send()
    await house.settled(retry_exchange(0), 1)
    assert house.hook.requests.empty()


async def test_a_notifier_that_dies_at_work_leaves_the_notice_to_the_next(house: House) -> None:
    dying = await house.notifier()
    house.hook.say = lambda _: None
    await house.send()
    first = await house.hook.next()
    await dying.aclose()
    house.hook.say = lambda _: 200
    await house.notifier()
    second = await house.hook.next()
    assert first.headers["parley-notice-id"] == second.headers["parley-notice-id"]
    await house.settled(stage_queue(Stage.NOTIFY), 0)


def test_an_address_that_is_none_is_refused_at_start() -> None:
    with pytest.raises(ValueError, match="PARLEY_CONTACT_WEBHOOK"):
        NotifierOptions(webhook="hook.example")
