"""The web side of tutor sessions, and the list of tutors: who may do what, and what is said where the engine fails."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import jwt
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from parley_client.tokens import make_token
from parley_gateway.app import Gateway
from parley_gateway.config import AccessSettings
from parley_gateway.dialects.settings import TutorSettings

from .api_fakes import error_of, http
from .conftest import LIMIT_S, House

pytestmark = pytest.mark.unit

SECRET = "a secret that is long enough for every test"
STUDENT = {"student_id": 999}


def bearer(house: House, sub: str = "1", **options: Any) -> dict[str, str]:
    """As ``parley token --sub 1`` prints it where no secret is set."""
    return {"Authorization": f"Bearer {make_token({}, sub, data=house.folder, **options)}"}


async def tutor(house: House, admin: str = "1", tenant: str = "default") -> int:
    return (await house.store.tutors.add(tenant, admin=admin, name="Ms Li")).id


@asynccontextmanager
async def web(house: House, gateway: Gateway) -> AsyncIterator[httpx.AsyncClient]:
    async with http(gateway, **bearer(house)) as client:
        yield client


class Engine:
    """Another installation's engine: says what a test says."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, str, dict[str, str], Any]] = []
        self.says: list[tuple[int, dict[str, str], str]] = []
        self.url = ""
        self.silent = asyncio.Event()
        self.silent.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            method, path, _ = head.split(" ", 2)
            headers = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if line)
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            self.heard.append((method, path, headers, json.loads(body) if body else None))
            await self.silent.wait()
            status, extra, text = self.says.pop(0)
            lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(text.encode())}", "Connection: close"]
            lines += [f"{name}: {value}" for name, value in extra.items()]
            writer.write("\r\n".join([*lines, "", text]).encode())
            await writer.drain()
        finally:
            writer.close()


@pytest.fixture
async def engine() -> AsyncIterator[Engine]:
    made = Engine()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield made
    made.silent.set()
    server.close()
    await server.wait_closed()


async def test_an_administrator_begins_a_session_of_his_tutor_and_ends_it(house: House) -> None:
    gateway = await house.gateway()
    id = await tutor(house)
    async with web(house, gateway) as client:
        asked: list[dict[str, Any]] = [
            {"json": STUDENT | {"kb_id": None}},
            {"params": STUDENT},
            {"json": {"kb_id": None}, "params": {"student_id": "999", "kb_id": ""}},
        ]
        for how in asked:
            answer = await client.post(f"/api/tutors/{id}/sessions", **how)
            body = answer.json()
            assert (answer.status_code, list(body)) == (200, ["session_id", "engine_url", "engine_token", "status"])
            shown = (await client.get(f"/v1/sessions/{body['session_id']}")).json()
            assert (shown["tutor_id"], shown["student_id"], shown["kb_id"]) == (id, 999, None)
        async with connect(body["engine_url"]) as socket:
            deleted = await client.delete(f"/api/tutors/sessions/{body['session_id']}")
            assert (deleted.status_code, deleted.json()) == (200, {"status": "deleted"})
            with pytest.raises(ConnectionClosed):
                async with asyncio.timeout(LIMIT_S):
                    while True:
                        await socket.recv()
            assert socket.close_code == 1008
        again = await client.delete(f"/api/tutors/sessions/{body['session_id']}")
        assert (again.status_code, again.json()) == (404, {"detail": "Session not found"})


async def test_whoever_has_no_good_token_is_not_authenticated(house: House) -> None:
    gateway = await house.gateway()
    id = await tutor(house)
    now = time.time()
    tokens = [
        "",
        "garbage",
        make_token({}, "1", data=house.folder, life_s=-60),
        jwt.encode({"sub": "1", "exp": now + 60}, SECRET, algorithm="HS256"),
        jwt.encode({"sub": "1", "exp": now + 60}, None, algorithm="none"),
    ]
    for token in tokens:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        async with http(gateway, **headers) as client:
            for answer in (
                await client.post(f"/api/tutors/{id}/sessions", json=STUDENT),
                await client.delete("/api/tutors/sessions/unknown"),
            ):
                assert (answer.status_code, answer.json()) == (401, {"detail": "Not authenticated"})


async def test_a_numbered_administrator_is_taken_with_a_secret_too(house: House) -> None:
    gateway = await house.gateway(access=AccessSettings(auth_secret=SECRET))
    id = await tutor(house, admin="42")
    token = jwt.encode({"sub": 42, "exp": time.time() + 60}, SECRET, algorithm="HS256")
    async with http(gateway, Authorization=f"Bearer {token}") as client:
        assert (await client.post(f"/api/tutors/{id}/sessions", json=STUDENT)).status_code == 200


async def test_foreign_and_unknown_tutors_and_sessions_are_not_found(house: House) -> None:
    gateway = await house.gateway()
    mine, foreign = await tutor(house), await tutor(house, admin="2")
    of_others = await tutor(house, tenant="other")
    async with web(house, gateway) as client, http(gateway, **bearer(house, "2")) as stranger:
        for id in (foreign, of_others, 99_999, "x", "-1", "9" * 30):
            answer = await client.post(f"/api/tutors/{id}/sessions", json=STUDENT)
            assert (answer.status_code, answer.json()) == (404, {"detail": "Tutor not found"})
        session = (await client.post(f"/api/tutors/{mine}/sessions", json=STUDENT)).json()["session_id"]
        direct = (await client.post("/v1/sessions", json={"tutor_id": mine, "student_id": 1})).json()["session_id"]
        for asker, id in ((stranger, session), (client, direct), (client, "unknown")):
            answer = await asker.delete(f"/api/tutors/sessions/{id}")
            assert (answer.status_code, answer.json()) == (404, {"detail": "Session not found"})
        assert (await client.delete(f"/api/tutors/sessions/{session}")).status_code == 200


async def test_bad_requests_are_refused_in_the_shape_of_the_dialect(house: House) -> None:
    gateway = await house.gateway()
    id = await tutor(house)
    async with web(house, gateway) as client:
        for data in (b"", b"{", b"[]", b"{}", b'{"student_id": []}', b'{"student_id": 1, "kb_id": 7}', b" " * 70_000):
            answer = await client.post(f"/api/tutors/{id}/sessions", content=data)
            assert answer.status_code in (400, 413), data
            assert list(answer.json()) == ["detail"]


async def test_what_this_gateway_refuses_is_told_as_the_engines_error(house: House) -> None:
    gateway = await house.gateway(tutor=TutorSettings(max_sessions=1, timeout_s=30))
    id = await tutor(house)
    async with web(house, gateway) as client:
        unknown = await client.post(f"/api/tutors/{id}/sessions", json=STUDENT | {"kb_id": "X"})
        assert unknown.status_code == 503
        assert unknown.json() == {"detail": "GPU Server error: Knowledge base not found: X"}
        assert (await client.post(f"/api/tutors/{id}/sessions", json=STUDENT)).status_code == 200
        full = await client.post(f"/api/tutors/{id}/sessions", json=STUDENT)
        assert full.status_code == 503
        assert full.json()["detail"].startswith("GPU Server error: ")
        assert 1 <= int(full.headers["retry-after"]) <= 30


async def test_another_engine_is_asked_with_its_token_and_its_answer_is_passed_on(house: House, engine: Engine) -> None:
    gateway = await house.gateway(tutor=TutorSettings(engine_url=engine.url + "/", engine_token="let-me-in"))
    id = await tutor(house)
    made = {"session_id": "s-9", "engine_url": "ws://e/ws/ws/s-9?token=t", "engine_token": "t", "status": "active"}
    engine.says = [(200, {}, json.dumps(made)), (200, {}, '{"status": "deleted"}')]
    async with web(house, gateway) as client, http(gateway, **bearer(house, "2")) as stranger:
        answer = await client.post(f"/api/tutors/{id}/sessions", json=STUDENT | {"kb_id": "test"})
        assert (answer.status_code, answer.json()) == (200, made)
        assert (await stranger.delete("/api/tutors/sessions/s-9")).status_code == 404
        deleted = await client.delete("/api/tutors/sessions/s-9")
        assert (deleted.status_code, deleted.json()) == (200, {"status": "deleted"})
        assert (await client.delete("/api/tutors/sessions/s-9")).status_code == 404
    (begin, end) = engine.heard
    assert begin[:2] == ("POST", "/v1/sessions")
    assert begin[2]["authorization"] == "bearer let-me-in"  # the stub lowers everything
    assert begin[3] == {"tutor_id": id, "student_id": 999, "kb_id": "test"}
    assert end[:2] == ("DELETE", "/v1/sessions/s-9")


@pytest.mark.parametrize(
    ("says", "detail", "after"),
    [
        ((503, {"Retry-After": "17"}, '{"detail": "full"}'), "GPU Server error: full", "17"),
        ((404, {}, '{"detail": "Knowledge base not found: X"}'), "GPU Server error: Knowledge base not found: X", None),
        ((500, {}, "<html>"), "GPU Server error: it answered 500", None),
        ((200, {}, "[]"), "GPU Server error: it answered 200", None),
        ((302, {"Location": "/"}, ""), "GPU Server error: it answered 302", None),
    ],
)
async def test_an_engine_that_refuses_is_said(
    house: House, engine: Engine, says: tuple[int, dict[str, str], str], detail: str, after: str | None
) -> None:
    gateway = await house.gateway(tutor=TutorSettings(engine_url=engine.url))
    id = await tutor(house)
    engine.says = [says]
    async with web(house, gateway) as client:
        answer = await client.post(f"/api/tutors/{id}/sessions", json=STUDENT)
    assert (answer.status_code, answer.json()) == (503, {"detail": detail})
    assert after is None or answer.headers["retry-after"] == after


async def test_an_engine_that_is_away_or_silent_is_said_in_time(house: House, engine: Engine) -> None:
    away = await house.gateway("gateway-1", tutor=TutorSettings(engine_url="http://127.0.0.1:9"))
    slow = await house.gateway("gateway-2", tutor=TutorSettings(engine_url=engine.url, engine_s=0.2))
    engine.silent.clear()
    engine.says = [(200, {}, "{}")]
    id = await tutor(house)
    for gateway, why in ((away, "cannot be reached"), (slow, "no answer within 0.2 s")):
        async with web(house, gateway) as client:
            answer = await client.post(f"/api/tutors/{id}/sessions", json=STUDENT)
            assert answer.status_code == 503
            assert answer.json()["detail"].startswith("GPU Server error: ")
            assert why in answer.json()["detail"]


async def test_the_owner_keeps_the_list_of_tutors(house: House) -> None:
    gateway = await house.gateway()
    async with http(gateway, **bearer(house, "boss", owner=True)) as client, web(house, gateway) as user:
        made = await client.post("/v1/tutors", json={"admin": "1", "name": "李老师"})
        assert made.status_code == 201
        id = made.json()["id"]
        assert [one["name"] for one in (await client.get("/v1/tutors")).json()["tutors"]] == ["李老师"]
        assert (await client.get("/v1/tutors", params={"after": id})).json() == {"tutors": []}
        for bad in ({}, {"admin": ""}, {"admin": 1}, {"admin": "1", "name": "x" * 201}):
            assert (await client.post("/v1/tutors", json=bad)).status_code == 400
        assert (await client.get("/v1/tutors", params={"after": "x"})).status_code == 400
        for refused in (await user.get("/v1/tutors"), await user.delete(f"/v1/tutors/{id}")):
            assert (refused.status_code, error_of(refused)["code"]) == (403, "forbidden")
        session = (await user.post(f"/api/tutors/{id}/sessions", json=STUDENT)).json()
        async with connect(session["engine_url"]) as socket:
            removed = await client.delete(f"/v1/tutors/{id}")
            assert removed.json() == {"removed": 1, "sessions": 1}
            with pytest.raises(ConnectionClosed):
                async with asyncio.timeout(LIMIT_S):
                    while True:
                        await socket.recv()
        assert (await client.delete(f"/v1/tutors/{id}")).status_code == 404
        assert (await user.post(f"/api/tutors/{id}/sessions", json=STUDENT)).status_code == 404
