"""Tokens, origins and tenants on a gateway that demands tokens, beside the open one of the same installation."""

import time
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import jwt
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from parley_testkit.stack import Service, Stack

from .sockets import opened

pytestmark = pytest.mark.e2e

SECRET = "a long secret of these tests, forty characters"


def token(sub: str = "ann", *, tenant: str = "north", secret: str = SECRET, life_s: float = 600, **claims: Any) -> str:
    return jwt.encode({"sub": sub, "tenant": tenant, "exp": time.time() + life_s, **claims}, secret, algorithm="HS256")


@pytest.fixture(scope="module")
def guarded(stack: Stack) -> Iterator[Service]:
    """A second gateway of the default installation, with a secret."""
    gateway = stack.add("gateway", PARLEY_AUTH_SECRET=SECRET, PARLEY_ORIGINS="https://chat.example")
    gateway.wait_ready()
    yield gateway
    stack.services.remove(gateway)
    gateway.end()


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        pytest.param("", "a token is required", id="missing"),
        pytest.param("nonsense", "cannot be taken", id="nonsense"),
        pytest.param(token(secret="another secret, just as long as it"), "cannot be taken", id="foreign signature"),
        pytest.param(token(life_s=-60), "expired", id="expired"),
        pytest.param(jwt.encode({"sub": "ann"}, SECRET, algorithm="HS256"), "cannot be taken", id="without exp"),
    ],
)
async def test_a_bad_token_is_refused_with_4101_and_reasons(guarded: Service, bad: str, words: str) -> None:
    headers = {"Authorization": f"Bearer {bad}"} if bad else {}
    async with opened(guarded.url, greet=False, additional_headers=headers) as socket:
        await socket.send(type="hello")
        code, reason = await socket.closed()
    assert code == 4101
    assert words in reason
    (error,) = socket.frames
    assert (error["type"], error["code"], error["retryable"]) == ("error", "unauthorized", False)
    assert words in error["message"]
    answer = await _get(guarded.url + "/v1/kb", headers)
    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert words in answer.json()["error"]["message"]


@pytest.mark.parametrize("way", ["header", "subprotocol", "hello", "query"])
async def test_a_token_is_taken_each_way_and_never_logged(stack: Stack, guarded: Service, way: str) -> None:
    good = token(jti=uuid.uuid4().hex)
    options: dict[str, Any] = {"greet": False}
    fields: dict[str, Any] = {}
    match way:
        case "header":
            options["additional_headers"] = {"Authorization": f"Bearer {good}"}
        case "subprotocol":
            options["subprotocols"] = [Subprotocol("parley.v1.json"), Subprotocol("parley.token." + good)]
        case "hello":
            fields["token"] = good
        case "query":
            options["query"] = f"?token={good}"
    async with opened(guarded.url, **options) as socket:
        welcome = await socket.hello(**fields)
        assert welcome["resumed"] is False
    if way == "subprotocol":
        assert socket.ws.subprotocol == "parley.v1.json"
    written = stack.logs() + stack.trace_file.read_text(encoding="utf-8")
    assert good not in written
    assert good.rpartition(".")[2] not in written


async def test_a_page_of_a_foreign_origin_gets_403_that_names_the_setting(stack: Stack, guarded: Service) -> None:
    for gateway in (stack.gateway, guarded):
        with pytest.raises(InvalidStatus) as refused:
            async with connect(
                gateway.url.replace("http", "ws") + "/v1/connect",
                origin="https://evil.example",  # type: ignore[arg-type]  # a plain text
                proxy=None,
            ):
                pass
        assert refused.value.response.status_code == 403
        assert b"PARLEY_ORIGINS" in (refused.value.response.body or b"")
        answer = await _get(gateway.url + "/v1/models", {"Origin": "https://evil.example"})
        assert (answer.status_code, "PARLEY_ORIGINS" in answer.text) == (403, True)
        assert "PARLEY_ORIGINS" in gateway.text()


async def test_an_allowed_origin_may_connect(guarded: Service) -> None:
    headers = {"Authorization": f"Bearer {token()}", "Origin": "https://chat.example"}
    answer = await _get(guarded.url + "/v1/models", headers)
    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == "https://chat.example"
    async with opened(guarded.url, additional_headers=headers):
        pass


async def test_knowledge_bases_belong_to_their_tenant(guarded: Service) -> None:
    async with _api(guarded, token("ann", tenant="north")) as ann, _api(guarded, token("bob", tenant="south")) as bob:
        put = await ann.put("/v1/kb/secrets/documents", params={"path": "a.txt"}, content=b"The password is kumquat.")
        assert put.status_code == 201
        assert [base["name"] for base in (await ann.get("/v1/kb")).json()["bases"]] == ["secrets"]
        assert (await bob.get("/v1/kb")).json() == {"bases": []}
        for path in ("/v1/kb/secrets/documents", "/v1/kb/secrets/search?q=password"):
            answer = await bob.get(path)
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_kb")
            assert "kumquat" not in answer.text
        assert (await bob.delete("/v1/kb/secrets")).json() == {"removed": 0}
        assert len((await ann.get("/v1/kb/secrets/search?q=password")).json()["sources"]) == 1
        asked = {"messages": [{"role": "user", "content": "What is the password?"}], "kb": "secrets"}
        assert (await bob.post("/v1/chat/completions", json=asked)).status_code == 404
        answer = await ann.post("/v1/chat/completions", json=asked)
        assert "kumquat" in answer.json()["choices"][0]["message"]["content"]


async def test_a_session_belongs_to_its_user(guarded: Service) -> None:
    async def hello(as_: str, session: str) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {as_}"}
        async with opened(guarded.url, greet=False, additional_headers=headers) as socket:
            return await socket.hello(session=session, pending=["t1"])

    async with opened(guarded.url, additional_headers={"Authorization": f"Bearer {token('ann')}"}) as socket:
        session = socket.memory.session
    again = await hello(token("ann"), session)
    assert (again["session"], again["resumed"]) == (session, True)
    for other in (token("eve"), token("ann", tenant="south")):
        welcome = await hello(other, session)
        assert (welcome["resumed"], welcome["gap"]) == (False, True)
        assert welcome["session"] != session


async def test_status_and_dead_letters_are_the_owners(guarded: Service) -> None:
    async with _api(guarded, token()) as user, _api(guarded, token(owner=True)) as owner:
        for path in ("/v1/status", "/v1/dead", "/v1/dead/x"):
            answer = await user.get(path)
            assert (answer.status_code, answer.json()["error"]["code"]) == (403, "forbidden")
        assert (await owner.get("/v1/status")).status_code == 200
        assert (await owner.get("/v1/dead")).status_code == 200


async def _get(url: str, headers: dict[str, str]) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False, timeout=60) as http:
        return await http.get(url, headers=headers)


def _api(gateway: Service, bearer: str) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {bearer}"}
    return httpx.AsyncClient(base_url=gateway.url, headers=headers, trust_env=False, timeout=60)
