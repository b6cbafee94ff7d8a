"""``/v1/kb``: what is asked of the worker, what comes back, and how refusals look."""

from collections.abc import AsyncIterator

import httpx
import pytest

from parley_gateway.config import LimitSettings, TurnSettings
from parley_protocol.events import Fault, Source
from parley_protocol.faults import FaultCode
from parley_protocol.work import (
    BaseInfo,
    DeleteDocument,
    DocumentInfo,
    KnowledgeReply,
    ListDocuments,
    PutDocument,
    SearchPassages,
)

from .api_fakes import Desk, error_of, http
from .conftest import House

pytestmark = pytest.mark.unit

INFO = DocumentInfo(path="a/b.md", title="B", digest="ab" * 32, size=5, passages=1, updated_at="2026-01-01T00:00:00Z")
SOURCE = Source("p1", "a/b.md", "B", 1.5, "hello", 0, 5)


@pytest.fixture
async def desk(house: House) -> Desk:
    return await Desk.open(house.broker.process("rag-1"))


@pytest.fixture
async def client(house: House, desk: Desk) -> AsyncIterator[httpx.AsyncClient]:
    limits = LimitSettings(connect_rate=0, max_document=1000, max_text=100)
    gateway = await house.gateway(limits=limits, turns=TurnSettings(call_s=0.3, ingest_s=1, max_calls=1))
    async with http(gateway) as made:
        yield made


async def test_bases(client: httpx.AsyncClient, desk: Desk) -> None:
    desk.say = lambda _: KnowledgeReply(bases=(BaseInfo(name="one", documents=2, passages=3),))
    answer = await client.get("/v1/kb")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json() == {"bases": [{"name": "one", "documents": 2, "passages": 3}]}
    (command,) = desk.commands
    assert isinstance(command, ListDocuments)
    assert (command.kb, command.tenant) == ("", "default")


async def test_documents(client: httpx.AsyncClient, desk: Desk) -> None:
    desk.say = lambda _: KnowledgeReply(documents=(INFO,))
    answer = await client.get("/v1/kb/one/documents", params={"after": "a/a.md", "limit": "7"})
    assert answer.status_code == 200
    (document,) = answer.json()["documents"]
    assert (document["path"], document["size"]) == ("a/b.md", 5)
    (command,) = desk.commands
    assert isinstance(command, ListDocuments)
    assert (command.kb, command.after, command.limit) == ("one", "a/a.md", 7)


async def test_head_is_get_without_a_body(client: httpx.AsyncClient, desk: Desk) -> None:
    answer = await client.head("/v1/kb")
    assert (answer.status_code, answer.content) == (200, b"")
    assert len(desk.commands) == 1


@pytest.mark.parametrize(("outcome", "status"), [("created", 201), ("replaced", 200), ("unchanged", 200)])
async def test_put(client: httpx.AsyncClient, desk: Desk, outcome: str, status: int) -> None:
    desk.say = lambda _: KnowledgeReply(
        documents=(DocumentInfo(path="x.md", title="X", digest="", size=2, passages=1, updated_at="", outcome=outcome),)
    )
    answer = await client.put(
        "/v1/kb/%E7%9F%A5%E8%AF%86/documents",
        params={"path": "dir/鱼.md"},
        content=b"\x00\xff",
        headers={"Content-Type": "text/markdown; charset=utf-8"},
    )
    assert (answer.status_code, answer.json()["outcome"]) == (status, outcome)
    (command,) = desk.commands
    assert isinstance(command, PutDocument)
    assert (command.kb, command.path, command.data) == ("知识", "dir/鱼.md", b"\x00\xff")
    assert command.media_type == "text/markdown"


async def test_delete_and_drop(client: httpx.AsyncClient, desk: Desk) -> None:
    desk.say = lambda _: KnowledgeReply(removed=3)
    assert (await client.delete("/v1/kb/one")).json() == {"removed": 3}
    assert (await client.delete("/v1/kb/one/documents", params={"path": "a.md"})).json() == {"removed": 3}
    kinds = [(command.kb, command.path) for command in desk.commands if isinstance(command, DeleteDocument)]
    assert kinds == [("one", ""), ("one", "a.md")]


async def test_a_delete_without_a_path_does_not_drop_the_base(client: httpx.AsyncClient, desk: Desk) -> None:
    for params in ({}, {"path": ""}):
        answer = await client.delete("/v1/kb/one/documents", params=params)
        assert (answer.status_code, error_of(answer)["code"]) == (400, "invalid")
    assert desk.commands == []


async def test_search(client: httpx.AsyncClient, desk: Desk) -> None:
    desk.say = lambda _: KnowledgeReply(sources=(SOURCE,))
    answer = await client.get("/v1/kb/one/search", params={"q": "水温?", "limit": "50"})
    (source,) = answer.json()["sources"]
    assert {name: source[name] for name in ("document", "text", "start", "end")} == {
        "document": "a/b.md",
        "text": "hello",
        "start": 0,
        "end": 5,
    }
    (command,) = desk.commands
    assert isinstance(command, SearchPassages)
    assert (command.query, command.limit) == ("水温?", 50)


@pytest.mark.parametrize(
    ("path", "params", "word"),
    [
        pytest.param("documents", {"limit": "0"}, "limit", id="zero"),
        pytest.param("documents", {"limit": "1001"}, "limit", id="above"),
        pytest.param("documents", {"limit": "-1"}, "limit", id="negative"),
        pytest.param("documents", {"limit": "many"}, "limit", id="word"),
        pytest.param("documents", {"limit": "1.5"}, "limit", id="fraction"),
        pytest.param("documents", {"limit": "9" * 5000}, "limit", id="thousands of digits"),
        pytest.param("search", {"q": "x", "limit": "51"}, "limit", id="search above"),
        pytest.param("search", {}, "q", id="no query"),
        pytest.param("search", {"q": "  "}, "q", id="blank query"),
        pytest.param("search", {"q": "x" * 101}, "q", id="long query"),
    ],
)
async def test_bad_query_parameters_are_named(
    client: httpx.AsyncClient, desk: Desk, path: str, params: dict[str, str], word: str
) -> None:
    answer = await client.get(f"/v1/kb/one/{path}", params=params)
    error = error_of(answer)
    assert (answer.status_code, error["code"], error["retryable"]) == (400, "invalid", False)
    assert error["message"].startswith(word)
    assert desk.commands == []


@pytest.mark.parametrize("declared", [True, False], ids=["content-length", "chunked"])
async def test_a_body_over_the_limit_is_refused(client: httpx.AsyncClient, desk: Desk, declared: bool) -> None:
    async def parts() -> AsyncIterator[bytes]:
        for _ in range(101):
            yield b"x" * 10

    content = b"x" * 1010 if declared else parts()
    answer = await client.put("/v1/kb/one/documents", params={"path": "a.md"}, content=content)
    error = error_of(answer)
    assert (answer.status_code, error["code"]) == (413, "too_large")
    assert "PARLEY_MAX_DOCUMENT" in error["message"]
    assert desk.commands == []


async def test_a_body_at_the_limit_is_taken(client: httpx.AsyncClient, desk: Desk) -> None:
    desk.say = lambda _: KnowledgeReply(documents=(INFO,))
    answer = await client.put("/v1/kb/one/documents", params={"path": "a.md"}, content=b"x" * 1000)
    assert answer.status_code == 200


async def test_an_empty_body_is_refused(client: httpx.AsyncClient, desk: Desk) -> None:
    answer = await client.put("/v1/kb/one/documents", params={"path": "a.md"}, content=b"")
    assert (answer.status_code, error_of(answer)["code"]) == (400, "invalid")
    assert desk.commands == []


@pytest.mark.parametrize(
    ("code", "status", "retry"),
    [
        (FaultCode.UNKNOWN_KB, 404, False),
        (FaultCode.NOT_FOUND, 404, False),
        (FaultCode.INVALID, 400, False),
        (FaultCode.TOO_LARGE, 400, False),
        (FaultCode.CONFLICT, 409, False),
        (FaultCode.UNAVAILABLE, 503, True),
        (FaultCode.EXPIRED, 504, True),
        (FaultCode.FAILED, 500, False),
    ],
)
async def test_what_the_worker_refuses(
    client: httpx.AsyncClient, desk: Desk, code: FaultCode, status: int, retry: bool
) -> None:
    desk.say = lambda _: Fault(code.value, "the worker's own words", retry)
    answer = await client.get("/v1/kb/one/documents")
    error = error_of(answer)
    assert (answer.status_code, error["message"], error["retryable"]) == (status, "the worker's own words", retry)
    assert ("Retry-After" in answer.headers) is retry
    assert not retry or int(answer.headers["Retry-After"]) >= 1


async def test_no_worker_answers(client: httpx.AsyncClient, desk: Desk) -> None:
    desk.say = lambda _: None
    answer = await client.get("/v1/kb")
    error = error_of(answer)
    assert (answer.status_code, error["code"], error["retryable"]) == (503, "unavailable", True)
    assert "rag worker" in error["message"]
    assert int(answer.headers["Retry-After"]) >= 1


async def test_too_many_calls_at_once(client: httpx.AsyncClient, desk: Desk) -> None:
    import asyncio

    desk.say = lambda _: None
    answers = await asyncio.gather(client.get("/v1/kb"), client.get("/v1/kb"))
    codes = sorted(error_of(answer)["code"] for answer in answers)
    assert codes == ["overloaded", "unavailable"]
    assert all(answer.headers["Retry-After"] == "1" for answer in answers)


async def test_a_method_that_is_not_served(client: httpx.AsyncClient) -> None:
    answer = await client.patch("/v1/kb")
    assert answer.status_code == 405
    assert set(answer.headers["Allow"].split(", ")) == {"GET", "HEAD"}


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/nothing", 404, "not_found"),
        ("PUT", "/v1/kb/a%2Fb/documents?path=x", 404, "not_found"),
        ("POST", "/v1/kb", 405, "invalid"),
    ],
)
async def test_what_is_not_served_is_refused_like_everything_else(
    client: httpx.AsyncClient, method: str, path: str, status: int, code: str
) -> None:
    answer = await client.request(method, path)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["retryable"]) == (status, code, False)
    assert "path" in error["message"]
    assert answer.json()["detail"] == error["message"]
    assert ("Allow" in answer.headers) == (status == 405)
