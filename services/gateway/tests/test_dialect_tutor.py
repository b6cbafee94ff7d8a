"""D2, tutor sessions: the engine's HTTP side and its sockets, on one gateway and across two."""

import asyncio
import base64
import json
import time
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import jwt
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from parley_gateway.attendance import pause_s
from parley_gateway.config import AccessSettings, LimitSettings
from parley_gateway.dialects import tutor_frames
from parley_gateway.dialects.settings import TutorSettings
from parley_gateway.dialects.tutor_frames import engine_url, session_token
from parley_gateway.tutoring import Tokens
from parley_gateway.voice.config import EarSettings
from parley_protocol.events import TurnStatus
from parley_protocol.work import DocumentInfo
from parley_runtime.errors import StoreAway
from parley_runtime.store.ports import StoredPassage
from parley_runtime.store.tutor_ports import SessionState

from .api_fakes import http
from .conftest import LIMIT_S, House, counted

pytestmark = pytest.mark.unit

SECRET = "a secret that is long enough for every test"
ASKED = {"tutor_id": 1, "student_id": 999, "kb_id": "test"}


async def base(house: House, name: str = "test", tenant: str = "default") -> None:
    info = DocumentInfo(path="a.md", title="T", digest="d", size=1, passages=1, updated_at="2026-01-01T00:00:00Z")
    await house.store.put_document(tenant, name, info, [StoredPassage(id="p", title="T", text="x", start=0, end=1)])


async def begin(gateway, **fields):
    """A new session's body."""
    async with http(gateway) as client:
        answer = await client.post("/v1/sessions", json=ASKED | {"kb_id": None} | fields)
    assert answer.status_code == 200, answer.text
    return answer.json()


@asynccontextmanager
async def student(gateway, session, query=None):
    path = f"/ws/ws/{session['session_id']}?" + (f"token={session['engine_token']}" if query is None else query)
    async with connect(f"ws://127.0.0.1:{gateway.port}{path}") as socket:
        yield socket


async def receive(socket):
    async with asyncio.timeout(LIMIT_S):
        return json.loads(await socket.recv())


async def say(socket, text):
    await socket.send(json.dumps({"type": "text", "content": text}, ensure_ascii=False))


async def refused(socket, code=1008):
    """The one error frame of a socket that is closed with ``code``."""
    frame = await receive(socket)
    assert list(frame) == ["type", "content"]
    assert frame["type"] == "error"
    with pytest.raises(ConnectionClosed):
        await receive(socket)
    assert socket.close_code == code
    return frame["content"]


# --- HTTP -----------------------------------------------------------------------------------------------------


async def test_a_session_begins_and_its_address_works_as_it_is(house):
    gateway = await house.gateway()
    await base(house)
    async with http(gateway) as client:
        answer = await client.post("/v1/sessions", json=ASKED)
        body = answer.json()
        assert (answer.status_code, list(body)) == (200, ["session_id", "engine_url", "engine_token", "status"])
        id, token = body["session_id"], body["engine_token"]
        assert body["status"] == "active"
        assert body["engine_url"] == f"ws://127.0.0.1:{gateway.port}/ws/ws/{id}?token={token}"
        assert set(token) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
        shown = await client.get(f"/v1/sessions/{id}")
        assert shown.json() == {
            "session_id": id,
            "tutor_id": 1,
            "student_id": 999,
            "kb_id": "test",
            "status": "active",
        }
        async with connect(body["engine_url"]) as socket:
            await say(socket, "Hello")
            job = await house.worker.jobs.get()
            assert (job.question, job.kb) == ("Hello", "test")
            await house.worker.answer(job, "Good ", "day.")
            assert await receive(socket) == {"type": "text", "content": "Good day."}


async def test_deletion_closes_the_sockets_of_every_gateway_and_the_token_is_worth_nothing(house):
    one, two = await house.gateway("gateway-1"), await house.gateway("gateway-2")
    session = await begin(one)
    other = await begin(one)
    async with student(one, session) as near, student(two, session) as far, student(two, other) as bystander:
        async with http(one) as client:
            where = f"/v1/sessions/{session['session_id']}"
            answer = await client.delete(where)
            assert (answer.status_code, answer.json()) == (200, {"status": "deleted"})
            for gone in (await client.delete(where), await client.get(where)):
                assert (gone.status_code, gone.json()) == (404, {"detail": "Session not found"})
        await refused(near)
        await refused(far)
        await bystander.send('{"type": "audio", "content": ""}')
        assert (await receive(bystander))["type"] == "error"
    async with student(two, session) as socket:
        await refused(socket)


async def test_an_unknown_base_begins_no_session(house):
    gateway = await house.gateway(tutor=TutorSettings(max_sessions=1))
    await base(house, tenant="somebody else")
    async with http(gateway) as client:
        answer = await client.post("/v1/sessions", json=ASKED | {"kb_id": "test"})
        assert (answer.status_code, answer.json()) == (404, {"detail": "Knowledge base not found: test"})
    await begin(gateway)  # the only place is free


async def test_the_limit_holds_across_gateways_and_says_when_to_come_back(house):
    settings = TutorSettings(max_sessions=3, timeout_s=20)
    one = await house.gateway("gateway-1", tutor=settings)
    two = await house.gateway("gateway-2", tutor=settings)
    async with http(one) as near, http(two) as far:
        asks = [client.post("/v1/sessions", json=ASKED | {"kb_id": None}) for client in (near, far) * 4]
        answers = await asyncio.gather(*asks)
        begun = [answer.json() for answer in answers if answer.status_code == 200]
        full = [answer for answer in answers if answer.status_code == 503]
        assert (len(begun), len(full)) == (3, 5)
        for answer in full:
            assert list(answer.json()) == ["detail"]
            assert 1 <= int(answer.headers["retry-after"]) <= 20
        await far.delete(f"/v1/sessions/{begun[0]['session_id']}")
        assert (await near.post("/v1/sessions", json=ASKED | {"kb_id": None})).status_code == 200


async def test_bad_bodies_are_refused_in_the_shape_of_the_dialect(house):
    gateway = await house.gateway(limits=LimitSettings(connect_rate=0, max_message=2048))
    bad = [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b"[" * 2000,
        b'{"student_id": 1}',
        b'{"tutor_id": 1}',
        b'{"tutor_id": "one", "student_id": 1}',
        b'{"tutor_id": -1, "student_id": 1}',
        b'{"tutor_id": 99999999999999999999999, "student_id": 1}',
        b'{"tutor_id": 1, "student_id": null}',
        b'{"tutor_id": 1, "student_id": ""}',
        b'{"tutor_id": 1, "student_id": 1, "kb_id": 7}',
        b'{"tutor_id": 1, "student_id": 1, "pad": "%s"}' % (b"x" * 4000),
    ]
    async with http(gateway) as client:
        for data in bad:
            answer = await client.post("/v1/sessions", content=data)
            assert answer.status_code in (400, 413), data
            assert list(answer.json()) == ["detail"], data
            assert isinstance(answer.json()["detail"], str)
        assert (await client.get("/v1/sessions/unknown")).status_code == 404
        assert (await client.delete("/v1/sessions/un%2Fknown")).status_code == 404


async def test_with_a_secret_a_session_needs_a_token_unless_the_dialect_is_open(house):
    token = jwt.encode({"sub": "web", "exp": time.time() + 60}, SECRET, algorithm="HS256")
    closed = await house.gateway("gateway-1", access=AccessSettings(auth_secret=SECRET))
    async with http(closed) as client:
        answer = await client.post("/v1/sessions", json=ASKED | {"kb_id": None})
        assert (answer.status_code, list(answer.json())) == (401, ["detail"])
        assert answer.headers["www-authenticate"] == "Bearer"
        headers = {"Authorization": f"Bearer {token}"}
        session = (await client.post("/v1/sessions", json=ASKED | {"kb_id": None}, headers=headers)).json()
    async with student(closed, session) as socket:  # the session's own token is enough
        await say(socket, "hm?")
        await house.worker.answer(await house.worker.jobs.get(), "yes")
        assert (await receive(socket))["content"] == "yes"
    opened = await house.gateway("gateway-2", access=AccessSettings(auth_secret=SECRET, open_dialects=("d2",)))
    await begin(opened)


# --- sockets --------------------------------------------------------------------------------------------------


async def test_a_session_is_one_conversation_at_every_gateway_and_no_other(house):
    one, two = await house.gateway("gateway-1"), await house.gateway("gateway-2")
    session, other = await begin(one), await begin(one)
    keys = []
    for gateway, of in ((one, session), (two, session), (two, other)):
        async with student(gateway, of) as socket:
            await say(socket, "hm?")
            job = await house.worker.jobs.get()
            keys.append(job.key.session)
            await house.worker.answer(job, "well")
            assert (await receive(socket))["content"] == "well"
    assert keys[0] == keys[1] != keys[2]


async def test_answers_come_whole_and_in_order_early_frames_included(house):
    gateway = await house.gateway()
    async with student(gateway, await begin(gateway)) as socket:
        for text in ("one", "two", "three"):
            await say(socket, text)
        for text in ("one", "two", "three"):
            job = await house.worker.jobs.get()
            assert job.question == text
            await house.worker.answer(job, "to ", text)
        assert [await receive(socket) for _ in range(3)] == [
            {"type": "text", "content": f"to {text}"} for text in ("one", "two", "three")
        ]


async def test_a_question_without_an_answer_gets_an_error_and_the_next_goes_on(house):
    gateway = await house.gateway()
    async with student(gateway, await begin(gateway)) as socket:
        await say(socket, "one")
        await house.worker.tell(await house.worker.jobs.get(), TurnStatus.FAILED, "", 0)
        assert (await receive(socket))["type"] == "error"
        await say(socket, "two")
        await house.worker.answer(await house.worker.jobs.get(), "yes")
        assert (await receive(socket)) == {"type": "text", "content": "yes"}


BAD = (
    "{",
    "7",
    b"\x00\x01",
    "[" * 3000,
    '{"content": "m"}',
    '{"type": "dance"}',
    '{"type": "text"}',
    '{"type": "text", "content": 7}',
    '{"type": "text", "content": "  "}',
    '{"type": "text", "content": "%s"}' % ("x" * 4100),
    '{"type": "audio"}',
    '{"type": "audio", "content": "AA==", "sample_rate": "x"}',
    json.dumps({"type": "audio", "content": base64.b64encode(bytes(3000)).decode(), "sample_rate": 16000}),
    json.dumps({"type": "audio", "content": base64.b64encode(bytes(300_000)).decode()}),
    json.dumps({"type": "audio", "content": "x" * 600_000}),
)


async def test_what_cannot_be_taken_is_said_audio_included_and_the_socket_stays(house):
    gateway = await house.gateway(
        limits=LimitSettings(connect_rate=0, max_message=4096),
        tutor=TutorSettings(max_audio=500_000),
        ears=EarSettings(lease_s=0.2),
    )
    session = await begin(gateway)
    async with student(gateway, session) as socket, student(gateway, session) as other:
        for data in BAD:
            await socket.send(data)
            frame = await receive(socket)
            assert (frame["type"], bool(frame["content"])) == ("error", True), str(data)[:60]
        await say(socket, "still here?")
        await say(other, "and I?")
        for _ in range(2):
            await house.worker.answer(await house.worker.jobs.get(), "yes")
        assert (await receive(socket))["content"] == (await receive(other))["content"] == "yes"


async def test_audio_says_that_nobody_listens(house):
    gateway = await house.gateway(ears=EarSettings(lease_s=0.2))
    async with student(gateway, await begin(gateway)) as socket:
        await socket.send(json.dumps({"type": "audio", "content": base64.b64encode(bytes(32_000)).decode()}))
        frame = await receive(socket)
        assert frame == {"type": "error", "content": tutor_frames.NO_EARS}


async def test_a_flood_gets_errors_and_the_socket_stays(house):
    gateway = await house.gateway(limits=LimitSettings(connect_rate=0, message_rate=0.001, message_burst=2))
    async with student(gateway, await begin(gateway)) as socket:
        for _ in range(4):
            await socket.send("{")
        frames = [await receive(socket) for _ in range(4)]
        assert [frame["type"] for frame in frames] == ["error"] * 4
        assert ["slow down" in frame["content"] for frame in frames] == [False, False, True, True]


async def test_only_the_sessions_own_token_opens_it(house):
    gateway = await house.gateway()
    session, other = await begin(gateway), await begin(gateway)
    token = session["engine_token"]
    forged = Tokens(b"another installation's secret").make(session["session_id"])
    user = jwt.encode({"sub": "ann", "exp": time.time() + 60}, SECRET, algorithm="HS256")
    for query in ("", "token=", f"token={other['engine_token']}", f"token={forged}", f"token={user}", "token=%00%ff"):
        async with student(gateway, session, query) as socket:
            await refused(socket)
    unknown = {"session_id": "00000000-0000-0000-0000-000000000000"}
    async with student(gateway, unknown, f"token={gateway.hub.tutors.tokens.make(unknown['session_id'])}") as socket:
        assert await refused(socket) == "Session not found"
    for query in (
        f"token={token}?token={token}",
        f"token={token}&token=x",
        f"token={token}?token=x",
        f"a=1&token={token}",
    ):
        async with student(gateway, session, query) as socket:
            await say(socket, "hm?")
            await house.worker.answer(await house.worker.jobs.get(), "yes")
            assert (await receive(socket))["content"] == "yes"


async def test_an_idle_session_is_told_so_at_every_gateway_and_its_place_is_free(house):
    settings = TutorSettings(max_sessions=1, timeout_s=0.6)
    one = await house.gateway("gateway-1", tutor=settings)
    two = await house.gateway("gateway-2", tutor=settings)
    before = counted("parley_tutor_sessions_total", outcome="expired")
    session = await begin(one)
    async with student(one, session) as near, student(two, session) as far:
        assert await refused(near) == "会话已过期"
        assert await refused(far) == "会话已过期"
    async with student(two, session) as late:
        assert await refused(late) == "会话已过期"
    assert counted("parley_tutor_sessions_total", outcome="expired") == before + 1
    async with http(two) as client:
        assert (await client.get(f"/v1/sessions/{session['session_id']}")).status_code == 404
    await begin(two)


async def test_frames_and_answers_in_progress_keep_a_session_awake_for_all_its_sockets(house):
    settings = TutorSettings(timeout_s=2.0)
    one = await house.gateway("gateway-1", tutor=settings)
    two = await house.gateway("gateway-2", tutor=settings)
    session = await begin(one)
    async with student(one, session) as busy, student(two, session) as silent:
        for _ in range(2):  # the store's clock decides: there is none to turn
            await asyncio.sleep(0.9)
            await busy.send("{")  # a frame all the same
            await receive(busy)
        await say(busy, "a long one")
        job = await house.worker.jobs.get()
        await asyncio.sleep(2.5)
        await house.worker.answer(job, "done")
        assert (await receive(busy))["content"] == "done"
        assert (await house.store.tutors.states([session["session_id"]])) == {
            session["session_id"]: SessionState.ACTIVE
        }
        assert await refused(silent) == "会话已过期"
        assert await refused(busy) == "会话已过期"


async def test_many_frames_cost_few_writes(house, monkeypatch):
    gateway = await house.gateway(tutor=TutorSettings(timeout_s=3600))
    writes = []
    touch = house.store.tutors.touch

    async def counting(session, ago_s):
        writes.append(ago_s)
        return await touch(session, ago_s)

    monkeypatch.setattr(house.store.tutors, "touch", counting)
    async with student(gateway, await begin(gateway)) as socket:
        for _ in range(50):
            await socket.send("{")
            await receive(socket)
    async with asyncio.timeout(LIMIT_S):
        while gateway.hub.connections:
            gateway.hub.left.clear()
            await gateway.hub.left.wait()
    assert 1 <= len(writes) <= 3  # the first, one for each pause of 5 s, and the last as the socket goes
    assert pause_s(3600) == 5.0
    assert pause_s(8) == 1.0


async def test_lost_word_of_a_deletion_only_costs_time(house):
    settings = TutorSettings(timeout_s=2)
    one = await house.gateway("gateway-1", tutor=settings)
    two = await house.gateway("gateway-2", tutor=settings)
    session = await begin(one)
    async with student(two, session) as far:
        two.hub.control._handlers.clear()
        async with http(one) as client:
            await client.delete(f"/v1/sessions/{session['session_id']}")
        await refused(far)


async def test_a_store_that_is_away_ends_no_session(house, monkeypatch):
    gateway = await house.gateway()

    async def away(*_):
        raise StoreAway("the store is away")

    session = await begin(gateway)
    async with student(gateway, session) as socket:
        monkeypatch.setattr(house.store.tutors, "touch", away)
        await say(socket, "hm?")
        await house.worker.answer(await house.worker.jobs.get(), "yes")
        assert (await receive(socket))["content"] == "yes"
        monkeypatch.setattr(house.store.tutors, "find", away)
        async with student(gateway, session) as second:
            assert "away" in await refused(second, 1013), "it is to come back later"


async def test_a_store_that_goes_away_as_a_session_is_found_over_only_costs_time(house, monkeypatch):
    gateway = await house.gateway(tutor=TutorSettings(timeout_s=4))
    session = await begin(gateway)
    expire, failures = house.store.tutors.expire, 0

    async def over(*_):
        return False

    async def away():
        nonlocal failures
        failures += 1
        if failures == 1:
            raise StoreAway("the store is away")
        return await expire()

    async with student(gateway, session) as socket:
        await socket.send("{")
        await receive(socket)
        monkeypatch.setattr(house.store.tutors, "touch", over)
        monkeypatch.setattr(house.store.tutors, "expire", away)
        await house.store.tutors.end("default", session["session_id"])
        await socket.send("{")  # written by the next look, which finds the session over and cannot find out why
        await receive(socket)
        assert await refused(socket) == "the session has been deleted; begin a new one"
    assert failures > 1


# --- pure -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("base", "want"),
    [
        ("wss://host/ws", "wss://host/ws/ws/S?token=T"),
        ("wss://host/ws/", "wss://host/ws/ws/S?token=T"),
        ("wss://host/", "wss://host/ws/ws/S?token=T"),
        ("wss://host", "wss://host/ws/ws/S?token=T"),
        ("ws://host:9000", "ws://host:9000/ws/ws/S?token=T"),
        ("https://host/tutor", "wss://host/tutor/ws/ws/S?token=T"),
        ("ws://host/news", "ws://host/news/ws/ws/S?token=T"),
        ("", "ws://example.org:8000/ws/ws/S?token=T"),
    ],
)
def test_the_address_of_a_session(base, want):
    assert engine_url(base, {"host": "example.org:8000"}, "http", "S", "T") == want


def test_the_address_follows_the_request_where_nothing_is_set():
    url = urlsplit(engine_url("", {"host": "example.org"}, "https", "S", "T"))
    assert (url.scheme, url.netloc, url.path, url.query) == ("wss", "example.org", "/ws/ws/S", "token=T")


def test_a_token_fits_its_session_only():
    tokens = Tokens(b"secret")
    token = tokens.make("s1")
    assert tokens.verify(token, "s1")
    assert tokens.make("s1") != token
    for wrong in ("", "x", "é", token[:-4], token + "AAAA", token[:-1] + ("A" if token[-1] != "A" else "B")):
        assert not tokens.verify(wrong, "s1")
    assert not tokens.verify(token, "s2")


def test_the_first_token_of_a_query_counts():
    assert session_token(b"token=A?token=B&token=C") == "A"
    assert session_token(b"x=1&token=A") == "A"
    assert session_token(b"") == ""


def test_an_answer_stays_below_what_clients_take():
    frame = tutor_frames.answer("漢" * 900_000)
    assert len(json.dumps(frame, ensure_ascii=False).encode()) < 900 * 1024
    assert frame["truncated"] is True
