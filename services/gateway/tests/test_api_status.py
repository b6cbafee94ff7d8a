"""``/v1/status`` and ``/v1/dead``, with and without tokens."""

import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import jwt
import msgspec
import pytest

from parley_gateway.app import Gateway
from parley_gateway.config import AccessSettings
from parley_protocol import codec
from parley_protocol.contact import ContactMessage, ContactNotice
from parley_protocol.ids import TurnKey
from parley_protocol.work import DeadInfo, DropDead, KnowledgeReply, ListDead, Retrieve

from .api_fakes import SECRET, Desk, error_of, http
from .conftest import House

pytestmark = pytest.mark.unit


def bearer(**claims: Any) -> str:
    token = jwt.encode({"sub": "ann", "exp": time.time() + 60, **claims}, SECRET, algorithm="HS256")
    return f"Bearer {token}"


@pytest.fixture
async def desk(house: House) -> Desk:
    return await Desk.open(house.broker.process("rag-1"))


@pytest.fixture
async def gateway(house: House) -> Gateway:
    return await house.gateway()


@pytest.fixture
async def client(gateway: Gateway, desk: Desk) -> AsyncIterator[httpx.AsyncClient]:
    async with http(gateway) as made:
        yield made


def parked(body: bytes = b"\x01") -> DeadInfo:
    return DeadInfo(
        id="d1", queue="parley.retrieve", reason="rejected", cause="why", parked_at="2026-01-01T00:00:00Z", body=body
    )


def job(question: str = "why?") -> bytes:
    return codec.pack(
        Retrieve(
            key=TurnKey("default", "s1", "t1"),
            submission="x",
            digest="d",
            budget_s=1,
            reply_to=(),
            question=question,
            kb="handbook",
        )
    )


async def test_status(client: httpx.AsyncClient) -> None:
    info = (await client.get("/v1/status")).json()
    assert info["broker"] == "up"
    queues = {queue["name"]: (queue["ready"], queue["consumers"]) for queue in info["queues"]}
    assert queues["parley.knowledge"] == (0, 1)
    assert queues["parley.generate"] == (0, 0)
    (process,) = [process for process in info["processes"] if process["role"] == "gateway"]
    assert (process["id"], process["ready"]) == ("gateway-1", True)


async def test_status_while_the_broker_is_away(house: House, gateway: Gateway, client: httpx.AsyncClient) -> None:
    gateway.hub.degraded = "the broker is away"
    begun = time.monotonic()
    answer = await client.get("/v1/status")
    assert time.monotonic() - begun < 2
    assert answer.status_code == 200
    info = answer.json()
    assert (info["broker"], info["queues"]) == ("the broker is away", [])
    assert [process["id"] for process in info["processes"]] == ["gateway-1"]


async def test_dead(client: httpx.AsyncClient, desk: Desk) -> None:
    desk.say = lambda _: KnowledgeReply(dead=(parked(b""),))
    answer = await client.get("/v1/dead", params={"limit": "3"})
    (row,) = answer.json()["dead"]
    assert (row["id"], row["reason"], "body" in row) == ("d1", "rejected", False)
    (command,) = desk.commands
    assert isinstance(command, ListDead)
    assert (command.limit, command.id, command.before) == (3, "", "")
    await client.get("/v1/dead", params={"before": "d1"})
    assert desk.commands[1].before == "d1"
    refused = await client.get("/v1/dead", params={"limit": "1001"})
    assert (refused.status_code, error_of(refused)["code"]) == (400, "invalid")


@pytest.mark.parametrize("removed", [1, 0])
async def test_a_dead_letter_is_dropped(client: httpx.AsyncClient, desk: Desk, removed: int) -> None:
    desk.say = lambda _: KnowledgeReply(removed=removed)
    answer = await client.delete("/v1/dead/d1")
    assert (answer.status_code, answer.json()) == (200, {"removed": removed})
    (command,) = desk.commands
    assert isinstance(command, DropDead)
    assert (command.id, command.tenant) == ("d1", "default")


async def test_one_dead_letter_with_its_body(client: httpx.AsyncClient, desk: Desk) -> None:
    desk.say = lambda _: KnowledgeReply(dead=(parked(b"\x01\x02"),))
    answer = await client.get("/v1/dead/d1")
    assert (answer.status_code, answer.json()["body"]) == (200, "AQI=")
    (command,) = desk.commands
    assert isinstance(command, ListDead)
    assert command.id == "d1"


@pytest.mark.parametrize(("method", "path"), [("GET", "/v1/dead/none"), ("POST", "/v1/dead/none/retry")])
async def test_an_unknown_dead_letter(client: httpx.AsyncClient, method: str, path: str) -> None:
    answer = await client.request(method, path)
    error = error_of(answer)
    assert (answer.status_code, error["code"], error["retryable"]) == (404, "not_found", False)
    assert "parley dead list" in error["message"]


async def test_retry_asks_the_question_again_as_a_new_turn(house: House, client: httpx.AsyncClient, desk: Desk) -> None:
    desk.say = lambda _: KnowledgeReply(dead=(parked(job()),))
    answer = await client.post("/v1/dead/d1/retry")
    assert answer.status_code == 200
    started = await house.worker.jobs.get()
    assert (started.question, started.kb) == ("why?", "handbook")
    assert started.key == TurnKey("default", answer.json()["session"], answer.json()["turn"])
    assert started.key.turn != "t1"
    await house.worker.answer(started, "because")


@pytest.mark.parametrize(
    "body", [pytest.param(b"\xc1", id="undecodable"), pytest.param(job(""), id="without a question")]
)
async def test_retry_of_what_holds_no_question(client: httpx.AsyncClient, desk: Desk, body: bytes) -> None:
    desk.say = lambda _: KnowledgeReply(dead=(parked(body),))
    answer = await client.post("/v1/dead/d1/retry")
    error = error_of(answer)
    assert (answer.status_code, error["code"]) == (400, "unsupported")
    assert "question" in error["message"]


OWNERS = [
    ("GET", "/v1/status"),
    ("GET", "/v1/dead"),
    ("GET", "/v1/dead/d1"),
    ("DELETE", "/v1/dead/d1"),
    ("POST", "/v1/dead/d1/retry"),
]


@pytest.mark.parametrize(("method", "path"), OWNERS)
async def test_with_tokens_only_the_owner_sees_the_installation(
    house: House, desk: Desk, method: str, path: str
) -> None:
    desk.say = lambda _: KnowledgeReply(dead=(parked(job()),))
    gateway = await house.gateway(access=AccessSettings(auth_secret=SECRET))
    async with http(gateway) as client:
        without = await client.request(method, path)
        assert (without.status_code, error_of(without)["code"]) == (401, "unauthorized")
        assert without.headers["WWW-Authenticate"] == "Bearer"
        for claims in ({}, {"owner": False}, {"owner": "true"}, {"owner": 1}):
            answer = await client.request(method, path, headers={"Authorization": bearer(**claims)})
            assert (answer.status_code, error_of(answer)["code"]) == (403, "forbidden")
        answer = await client.request(method, path, headers={"Authorization": bearer(owner=True)})
        assert answer.status_code == 200


@pytest.mark.parametrize("path", ["/v1/kb", "/v1/models", "/v1/kb/x/documents"])
async def test_other_routes_want_any_good_token(house: House, desk: Desk, path: str) -> None:
    gateway = await house.gateway(access=AccessSettings(auth_secret=SECRET))
    async with http(gateway) as client:
        assert (await client.get(path)).status_code == 401
        assert (await client.get(path, headers={"Authorization": "Bearer nonsense"})).status_code == 401
        assert (await client.get(path, headers={"Authorization": bearer(exp=time.time() - 60)})).status_code == 401
        assert (await client.get(path, headers={"Authorization": bearer()})).status_code == 200


async def test_the_tenant_is_the_tokens(house: House, desk: Desk) -> None:
    gateway = await house.gateway(access=AccessSettings(auth_secret=SECRET))
    async with http(gateway, Authorization=bearer(tenant="north")) as client:
        await client.get("/v1/kb")
    assert [command.tenant for command in desk.commands] == ["north"]


async def test_a_parked_notice_is_sent_again_as_if_it_were_new(
    house: House, client: httpx.AsyncClient, desk: Desk
) -> None:
    message = ContactMessage(id=7, client_id="v", sender="visitor", kind="contact_request", message="m", timestamp="t")
    body = codec.pack(ContactNotice(tenant="default", message=message, tries=12))
    info = msgspec.structs.replace(parked(body), queue="parley.notify")
    desk.say = lambda _: KnowledgeReply(dead=(info,))
    answer = await client.post("/v1/dead/d1/retry")
    assert (answer.status_code, answer.json()) == (200, {"turn": "", "session": ""})
    (queued,) = house.broker.messages("parley.notify")
    assert codec.unpack_notice(queued) == ContactNotice(tenant="default", message=message)
