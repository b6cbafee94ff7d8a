"""D1, the contact chat, over real sockets: visitors, the owner's side, and both across gateways."""

import asyncio
import json
import time
import uuid
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

import jwt
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from parley_client.tokens import make_token
from parley_gateway import contact
from parley_gateway.config import AccessSettings, LimitSettings
from parley_gateway.dialects import contact as dialect
from parley_gateway.dialects import contact_frames
from parley_gateway.dialects.settings import ContactSettings
from parley_protocol import codec
from parley_protocol.contact import ContactMessage
from parley_protocol.events import TurnStatus
from parley_protocol.routes import stage_queue
from parley_runtime.errors import StoreAway

from .api_fakes import error_of, http
from .conftest import LIMIT_S

pytestmark = pytest.mark.unit

SECRET = "a secret that is long enough for every test"
FALLBACK = "抱歉，我暂时无法处理您的请求，请稍后再试。"


class Peer:
    """An ordinary WebSocket client."""

    def __init__(self, socket):
        self.socket = socket
        self.client = ""

    async def send(self, **frame):
        await self.socket.send(json.dumps(frame, ensure_ascii=False))

    async def chat(self, text):
        await self.send(type="chat_message", message=text, timestamp="2026-01-01T00:00:00Z")

    async def receive(self):
        async with asyncio.timeout(LIMIT_S):
            return json.loads(await self.socket.recv())

    async def until(self, **fields):
        while True:
            frame = await self.receive()
            if all(frame.get(name) == value for name, value in fields.items()):
                return frame


@asynccontextmanager
async def visitor(gateway, path="/contact", *, greet=True, **options):
    async with connect(f"ws://127.0.0.1:{gateway.port}{path}", **options) as socket:
        peer = Peer(socket)
        if greet:
            peer.client = (await peer.receive())["client_id"]
        yield peer


def owner_token(house, **options):
    """As ``parley token --sub boss --owner`` prints it where no secret is set."""
    return make_token({}, "boss", owner=True, data=house.folder, **options)


@asynccontextmanager
async def owner(house, gateway):
    async with visitor(gateway, f"/contact?role=owner&token={owner_token(house)}") as peer:
        yield peer


@asynccontextmanager
async def inbox(house, gateway):
    async with http(gateway, Authorization=f"Bearer {owner_token(house)}") as client:
        yield client


async def kept(house):
    return [(one.sender, one.kind, one.message) for one in await house.store.contact.messages("default")]


async def test_a_visitor_is_greeted_with_an_id_of_its_own(house):
    gateway = await house.gateway()
    ids = set()
    for _ in range(2):
        async with visitor(gateway, greet=False) as peer:
            frame = await peer.receive()
            assert list(frame) == ["type", "message", "client_id", "timestamp"]
            assert (frame["type"], frame["message"]) == ("connection_established", "WebSocket连接已建立")
            assert datetime.fromisoformat(frame["timestamp"]).utcoffset() == timedelta(0)
            assert frame["timestamp"].endswith("+00:00")
            ids.add(str(uuid.UUID(frame["client_id"])))
    assert len(ids) == 2


async def test_a_message_is_received_at_once_and_answered_through_the_broker(house):
    gateway = await house.gateway()
    async with visitor(gateway) as peer:
        await peer.chat("你们几点开门？")
        received = await peer.receive()
        assert list(received) == ["type", "message", "timestamp"]
        assert (received["type"], received["message"]) == ("chat_message_received", "消息已收到")
        job = await house.worker.jobs.get()
        assert (job.question, job.kb) == ("你们几点开门？", "default")
        await house.worker.answer(job, "早上", "九点。")
        answer = await peer.receive()
        assert (answer["type"], answer["message"]) == ("chat_message", "早上九点。")
        assert answer["timestamp"].endswith("+00:00")
    assert await kept(house) == [
        ("visitor", "chat_message", "你们几点开门？"),
        ("assistant", "chat_message", "早上九点。"),
    ]


async def test_answers_come_in_the_order_of_the_questions_and_one_visitor_is_one_conversation(house):
    gateway = await house.gateway()
    async with visitor(gateway) as peer:
        for text in ("one", "two", "three"):
            await peer.chat(text)
        sessions = set()
        frames = []
        for text in ("one", "two", "three"):
            job = await house.worker.jobs.get()
            assert job.question == text
            sessions.add(job.key.session)
            await house.worker.answer(job, f"to {text}")
        while len([frame for frame in frames if frame["type"] == "chat_message"]) < 3:
            frames.append(await peer.receive())
        assert [frame["message"] for frame in frames if frame["type"] == "chat_message"] == [
            "to one",
            "to two",
            "to three",
        ]
        assert [frame["type"] for frame in frames].count("chat_message_received") == 3
        assert len(sessions) == 1


async def test_where_no_answer_can_be_had_the_fallback_is_said(house):
    gateway = await house.gateway()
    async with visitor(gateway) as peer:
        await peer.chat("hm?")
        await peer.until(type="chat_message_received")
        await house.worker.tell(await house.worker.jobs.get(), TurnStatus.FAILED, "", 0)
        assert (await peer.receive())["message"] == FALLBACK
    assert (await kept(house))[-1] == ("assistant", "chat_message", FALLBACK)


async def test_a_contact_request_is_kept_and_confirmed(house):
    gateway = await house.gateway()
    async with visitor(gateway) as peer:
        await peer.send(
            type="contact_request", message="请联系我", timestamp="2026-01-01T00:00:00", userAgent="M/5", x=1
        )
        received = await peer.receive()
        assert (received["type"], received["message"]) == ("contact_request_received", "联系请求已收到")
        assert received["client_id"] == peer.client
        assert received["timestamp"].endswith("+00:00")
    (message,) = await house.store.contact.messages("default")
    assert (message.client_id, message.kind, message.message) == (peer.client, "contact_request", "请联系我")
    assert message.user_agent == "M/5"


async def test_early_frames_are_handled_after_the_greeting_in_order(house):
    gateway = await house.gateway()
    async with visitor(gateway, greet=False) as peer:
        for _ in range(20):
            await peer.send(type="ping")
        await peer.send(type="contact_request", message="m", timestamp="t", userAgent="u")
        kinds = [(await peer.receive())["type"] for _ in range(22)]
    assert kinds == ["connection_established", *["pong"] * 20, "contact_request_received"]


BAD = (
    "{",
    "7",
    "[]",
    b"\x00\x01",
    "[" * 3000,
    '{"type": "dance"}',
    '{"message": "m", "timestamp": "t"}',
    '{"type": "chat_message", "message": "m"}',
    '{"type": "chat_message", "message": 7, "timestamp": "t"}',
    '{"type": "chat_message", "message": "m", "timestamp": 7}',
    '{"type": "chat_message", "message": "  ", "timestamp": "t"}',
    '{"type": "chat_message", "message": "%s", "timestamp": "t"}' % ("x" * 301),
    '{"type": "contact_request", "message": "m", "timestamp": "t"}',
    '{"type": "contact_request", "message": "m", "timestamp": "t", "userAgent": null}',
    '{"type": "owner_reply", "client_id": "c", "message": "m"}',
    '{"type": "ping", "pad": "%s"}' % ("x" * 5000),
)


async def test_what_cannot_be_taken_is_said_and_the_socket_stays(house):
    gateway = await house.gateway(limits=LimitSettings(connect_rate=0, max_message=4096, max_text=300))
    async with visitor(gateway) as peer, visitor(gateway) as other:
        for data in BAD:
            await peer.socket.send(data)
            frame = await peer.receive()
            assert frame["type"] == "error", data
            assert isinstance(frame["message"], str)
            assert frame["message"]
        await peer.send(type="ping")
        assert (await peer.receive())["type"] == "pong"
        await other.send(type="ping")
        assert (await other.receive())["type"] == "pong"
    assert await kept(house) == []


async def test_a_flood_gets_the_error_frame_and_the_socket_stays(house):
    gateway = await house.gateway(limits=LimitSettings(connect_rate=0, message_rate=0.001, message_burst=3))
    async with visitor(gateway) as peer:
        for _ in range(5):
            await peer.send(type="ping")
        assert [(await peer.receive())["type"] for _ in range(5)] == ["pong"] * 3 + ["error"] * 2


async def test_more_questions_than_may_wait_are_refused_before_they_are_kept(house):
    gateway = await house.gateway(contact=ContactSettings(waiting=2))
    async with visitor(gateway) as peer:
        for text in ("one", "two", "three", "four", "five"):
            await peer.chat(text)
        frames = [await peer.receive() for _ in range(5)]
        assert [frame["type"] for frame in frames] == ["chat_message_received"] * 3 + ["error"] * 2
    assert [text for _, _, text in await kept(house)] == ["one", "two", "three"]


async def test_a_message_that_cannot_be_kept_is_not_called_received(house, monkeypatch):
    gateway = await house.gateway()

    async def away(*_, **__):
        raise StoreAway("the store is away")

    async with visitor(gateway) as peer:
        monkeypatch.setattr(house.store.contact, "keep", away)
        await peer.chat("hm?")
        await peer.send(type="contact_request", message="m", timestamp="t", userAgent="u")
        assert [(await peer.receive())["type"] for _ in range(2)] == ["error", "error"]


# --- the owner's side -----------------------------------------------------------------------------------------


async def test_the_owners_side_always_demands_an_owners_token(house):
    gateway = await house.gateway()
    tokens = {
        "": 401,
        make_token({}, "ann", data=house.folder): 403,
        make_token({"PARLEY_AUTH_SECRET": SECRET}, "boss", owner=True): 401,
        owner_token(house, life_s=-60): 401,
    }
    for token, status in tokens.items():
        async with visitor(gateway, f"/contact?role=owner&token={token}", greet=False) as peer:
            frame = await peer.receive()
            assert (frame["type"], list(frame)[:2]) == ("error", ["type", "message"])
            with pytest.raises(ConnectionClosed):
                await peer.receive()
            assert peer.socket.close_code == 1008
        async with http(gateway, Authorization=f"Bearer {token or 'none'}") as client:
            inbox = await client.get("/v1/contact/messages")
            said = await client.post("/v1/contact/broadcast", json={"message": "m"})
            code = "forbidden" if status == 403 else "unauthorized"
            assert [(one.status_code, error_of(one)["code"]) for one in (inbox, said)] == [(status, code)] * 2


async def test_with_a_secret_visitors_need_a_token_unless_the_dialect_is_open_and_owners_always_do(house):
    closed = await house.gateway("gateway-1", access=AccessSettings(auth_secret=SECRET))
    async with visitor(closed, greet=False) as peer:
        assert (await peer.receive())["type"] == "error"
    opened = await house.gateway("gateway-2", access=AccessSettings(auth_secret=SECRET, open_dialects=("d1",)))
    async with visitor(opened) as peer:
        await peer.send(type="ping")
        assert (await peer.receive())["type"] == "pong"
    async with visitor(opened, "/contact?role=owner", greet=False) as peer:
        assert (await peer.receive())["type"] == "error"
    token = jwt.encode({"sub": "boss", "owner": True, "exp": time.time() + 60}, SECRET, algorithm="HS256")
    async with visitor(opened, f"/contact?role=owner&token={token}") as peer:
        assert peer.client


async def test_the_owner_sees_every_visitor_of_every_gateway(house):
    one, two = await house.gateway("gateway-1"), await house.gateway("gateway-2")
    async with owner(house, one) as boss, owner(house, two) as deputy, visitor(one) as ann, visitor(two) as ben:
        await ann.chat("from ann")
        await house.worker.answer(await house.worker.jobs.get(), "answer")
        await ben.send(type="contact_request", message="from ben", timestamp="t", userAgent="M/5")
        for peer in (boss, deputy):
            first = await peer.receive()
            assert (first["type"], first["message"], first["client_id"]) == ("chat_message", "from ann", ann.client)
            assert first["sender"] == "visitor"
            request = await peer.until(type="contact_request")
            assert (request["message"], request["client_id"], request["sender"]) == ("from ben", ben.client, "visitor")
            assert (request["userAgent"], request["timestamp"][-6:]) == ("M/5", "+00:00")


async def test_the_owner_replies_to_a_visitor_of_another_gateway(house):
    one, two = await house.gateway("gateway-1"), await house.gateway("gateway-2")
    async with owner(house, one) as boss, visitor(two) as ann, visitor(two) as ben:
        await boss.send(type="owner_reply", client_id=ann.client, message="您好")
        frame = await ann.receive()
        assert (frame["type"], frame["message"], frame["sender"]) == ("chat_message", "您好", "owner")
        await boss.send(type="owner_reply", client_id=ben.client, message="to ben")
        assert (await ben.receive())["message"] == "to ben"
        echo = await boss.receive()
        assert (echo["sender"], echo["client_id"], echo["message"]) == ("owner", ann.client, "您好")
    messages = await house.store.contact.messages("default")
    assert [(one.client_id, one.sender, one.message) for one in messages] == [
        (ann.client, "owner", "您好"),
        (ben.client, "owner", "to ben"),
    ]


async def test_a_reply_to_a_visitor_who_has_gone_is_kept_and_the_owner_is_told(house):
    gateway = await house.gateway(contact=ContactSettings(broadcast_s=0.2))
    async with owner(house, gateway) as boss:
        await boss.send(type="owner_reply", client_id="gone", message="hello?")
        told = await boss.until(type="error")
        assert (told["client_id"], "没有送达" in told["message"]) == ("gone", True)
    assert await kept(house) == [("owner", "chat_message", "hello?")]


BAD_OF_OWNER = (
    {"type": "owner_reply", "message": "m"},
    {"type": "owner_reply", "client_id": "", "message": "m"},
    {"type": "owner_reply", "client_id": "c" * 65, "message": "m"},
    {"type": "owner_reply", "client_id": "c", "message": " "},
    {"type": "chat_message", "message": "m", "timestamp": "t"},
)


async def test_an_owners_frame_that_cannot_be_taken_is_said(house):
    gateway = await house.gateway()
    async with owner(house, gateway) as boss:
        for frame in BAD_OF_OWNER:
            await boss.send(**frame)
            assert (await boss.receive())["type"] == "error", frame
        await boss.send(type="ping")
        assert (await boss.receive())["type"] == "pong"


async def test_news_of_several_messages_tell_of_the_last_of_them(house):
    """Nobody looks by himself here, so each message comes by its news alone."""
    settings = ContactSettings(poll_s=60)
    one, two = await house.gateway("gateway-1", contact=settings), await house.gateway("gateway-2", contact=settings)
    async with owner(house, two) as boss, visitor(two) as ann:
        for round in range(3):
            said = [
                one.hub.contact.keep("default", client=ann.client, sender="visitor", kind="chat_message", text=text)
                for text in (f"{round}a", f"{round}b", f"{round}c")
            ]
            said.append(
                one.hub.contact.keep("default", client=ann.client, sender="owner", kind="chat_message", text="o")
            )
            await asyncio.gather(*said)
            seen = {(await boss.receive())["message"] for _ in said}
            assert seen == {f"{round}a", f"{round}b", f"{round}c", "o"}
            assert (await ann.receive())["message"] == "o"


async def test_news_that_are_lost_only_cost_time(house):
    """The visitor's gateway hears nothing over control; it finds the reply in the store."""
    one = await house.gateway("gateway-1", contact=ContactSettings(broadcast_s=0.2))
    two = await house.gateway("gateway-2", contact=ContactSettings(poll_s=0.1))
    async with owner(house, one) as boss, visitor(two) as ann:
        two.hub.control._handlers.clear()
        await boss.send(type="owner_reply", client_id=ann.client, message="found")
        assert (await ann.receive())["message"] == "found"


async def test_after_a_defect_the_next_message_is_told_and_none_is_left_out(house, monkeypatch):
    gateway = await house.gateway(contact=ContactSettings(poll_s=0.05))
    news, deliver, fails = house.store.contact.news, dialect.Owner.deliver, {"news", "deliver"}

    def once(name):
        if name in fails:
            fails.remove(name)
            raise RuntimeError("defect")

    async def read(after, *, limit):
        found = await news(after, limit=limit)
        if found:
            once("news")
        return found

    def write(listener, message):
        if message.message == "two":
            once("deliver")
        return deliver(listener, message)

    monkeypatch.setattr(house.store.contact, "news", read)
    monkeypatch.setattr(dialect.Owner, "deliver", write)
    async with owner(house, gateway) as boss, visitor(gateway) as ann:
        for text in ("one", "two", "three"):
            await gateway.hub.contact.keep(
                "default", client=ann.client, sender="visitor", kind="chat_message", text=text
            )
        assert [(await boss.receive())["message"] for _ in range(2)] == ["one", "three"]
        assert not fails


async def test_the_inbox_is_read_page_by_page(house):
    gateway = await house.gateway()
    for number in range(5):
        await house.store.contact.keep(
            "default", client="v", sender="visitor", kind="contact_request", text=f"m{number}", user_agent="M"
        )
    await house.store.contact.keep("other", client="v", sender="visitor", kind="chat_message", text="not yours")
    async with inbox(house, gateway) as client:
        page = (await client.get("/v1/contact/messages", params={"limit": 3})).json()
        assert [one["message"] for one in page["messages"]] == ["m0", "m1", "m2"]
        assert page["messages"][0].keys() == {
            "id",
            "client_id",
            "sender",
            "kind",
            "message",
            "timestamp",
            "userAgent",
        }
        rest = (await client.get("/v1/contact/messages", params={"after": page["next"], "limit": 3})).json()
        assert [one["message"] for one in rest["messages"]] == ["m3", "m4"]
        assert (await client.get("/v1/contact/messages", params={"after": rest["next"]})).json() == {
            "messages": [],
            "next": rest["next"],
        }
        for bad in ({"after": "x"}, {"after": "-1"}, {"limit": "0"}, {"limit": "1001"}, {"after": "9" * 30}):
            assert (await client.get("/v1/contact/messages", params=bad)).status_code == 400


async def test_a_broadcast_reaches_every_visitor_of_every_gateway_and_a_dead_one_disturbs_nobody(house):
    one, two = await house.gateway("gateway-1"), await house.gateway("gateway-2")
    await house.gateway("gateway-3")  # nobody is there
    async with (
        visitor(one) as ann,
        visitor(two) as ben,
        visitor(two) as cid,
        visitor(two, max_queue=1) as deaf,
        owner(house, two) as boss,
        inbox(house, one) as client,
    ):
        deaf.socket.transport.pause_reading()
        answer = await client.post("/v1/contact/broadcast", json={"message": "今天休息"})
        assert (answer.status_code, answer.json()) == (200, {"reached": 4})
        for peer in (ann, ben, cid, boss):
            frame = await peer.receive()
            assert (frame["type"], frame["message"], frame["sender"]) == ("chat_message", "今天休息", "owner")
        deaf.socket.transport.resume_reading()


async def test_a_broadcast_counts_who_is_there_now(house):
    gateway = await house.gateway()
    async with inbox(house, gateway) as client:
        assert (await client.post("/v1/contact/broadcast", json={"message": "m"})).json() == {"reached": 0}
        async with visitor(gateway) as ann:
            assert (await client.post("/v1/contact/broadcast", json={"message": "n"})).json() == {"reached": 1}
            assert (await ann.receive())["message"] == "n"
        for bad in ({}, {"message": 7}, {"message": " "}, []):
            assert (await client.post("/v1/contact/broadcast", json=bad)).status_code == 400


async def test_a_contact_request_leaves_a_notice_for_the_webhook_before_it_is_confirmed(house):
    gateway = await house.gateway(contact=ContactSettings(webhook="http://127.0.0.1:9/hook"))
    async with visitor(gateway) as peer:
        await peer.send(type="contact_request", message="请联系我", timestamp="t", userAgent="M/5")
        await peer.until(type="contact_request_received")
        await peer.chat("no notice of this")
        await peer.until(type="chat_message_received")
    queue = stage_queue("notify")
    (body,) = house.broker.messages(queue)
    notice = codec.unpack_notice(body)
    assert (notice.tenant, notice.message.message, notice.message.client_id) == ("default", "请联系我", peer.client)


async def test_a_request_that_the_owner_cannot_be_told_of_is_kept_but_not_confirmed(house):
    settings = ContactSettings(webhook="http://127.0.0.1:9/hook", notify_s=0.2)
    gateway = await house.gateway(contact=settings)
    async with visitor(gateway) as peer:
        house.broker.stop()
        await peer.send(type="contact_request", message="m", timestamp="t", userAgent="u")
        assert (await peer.receive())["type"] == "error"
    assert await kept(house) == [("visitor", "contact_request", "m")]


def test_frames_to_clients_stay_below_what_their_libraries_take():
    for text in ("x" * 2_000_000, "漢" * 900_000, "\x01" * 700_000):
        frame = contact_frames.answer(text)
        assert len(json.dumps(frame, ensure_ascii=False).encode()) < 900 * 1024
        assert frame["truncated"] is True
        assert text.startswith(frame["message"])
    message = ContactMessage(id=1, client_id="c", sender="owner", kind="chat_message", message="短", timestamp="t")
    assert "truncated" not in contact_frames.from_store(message)


async def test_messages_kept_out_of_order_are_told_by_the_newest(house, monkeypatch):
    gateway = await house.gateway()
    desk, keep, kept_one, gate = gateway.hub.contact, house.store.contact.keep, asyncio.Event(), asyncio.Event()

    async def slow(tenant, **fields):
        message = await keep(tenant, **fields)
        if fields["text"] == "first":
            kept_one.set()
            await gate.wait()
        return message

    told = asyncio.Queue()
    monkeypatch.setattr(house.store.contact, "keep", slow)
    monkeypatch.setattr(desk._control, "post", lambda key, news: told.put_nowait(news))
    # The later one's news must still wait as the first one comes.
    monkeypatch.setattr(contact, "HINT_S", 0.5)
    fields = {"client": "c", "sender": "visitor", "kind": "chat_message"}
    first = asyncio.create_task(desk.keep("default", text="first", **fields))
    await kept_one.wait()
    second = await desk.keep("default", text="second", **fields)
    gate.set()
    assert (await first).id < second.id
    async with asyncio.timeout(LIMIT_S):
        assert (await told.get()).id == second.id
