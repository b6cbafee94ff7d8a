"""``/v1/reviews``: what is taken, what is refused at once, and what a flood is told."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import jwt
import pytest

from parley_gateway.app import Gateway
from parley_gateway.config import AccessSettings, LimitSettings, TurnSettings
from parley_gateway.dialects.settings import ReviewSettings
from parley_protocol import codec
from parley_protocol.reviews import ClauseResult, ReadReview, ReviewStatus, Risk, Verdict
from parley_protocol.routes import Stage
from parley_runtime.errors import OutcomeUnknown, ParleyError, Refused
from parley_runtime.store.review_ports import NewClause
from parley_testkit.turns import JobTap

from .api_fakes import SECRET, http
from .conftest import House

pytestmark = pytest.mark.unit

PDF = b"%PDF-1.7 and so on"


@pytest.fixture
async def gateway(house: House) -> Gateway:
    limits = LimitSettings(connect_rate=0, max_document=100_000)
    return await house.gateway(limits=limits, reviews=ReviewSettings(queued=3), turns=TurnSettings(retry_after_s=4))


@pytest.fixture
async def client(gateway: Gateway) -> AsyncIterator[httpx.AsyncClient]:
    async with http(gateway) as made:
        yield made


def error_of(answer: httpx.Response) -> dict[str, Any]:
    """The error that the body holds; its words stand in `detail` too, where this dialect's clients look for them."""
    body = answer.json()
    assert list(body) == ["error", "detail"]
    error: dict[str, Any] = body["error"]
    assert body["detail"] == error["message"]
    return error


async def post(client: httpx.AsyncClient, **body: Any) -> httpx.Response:
    return await client.post("/v1/reviews", json={"text": "第一条 付款", **body})


async def test_json_is_taken_and_its_job_sent(house: House, client: httpx.AsyncClient) -> None:
    tap = await JobTap.open(house.broker.process("tap"), Stage.REVIEW)
    answer = await post(client, contract_type="purchase", role="buyer", unknown=1)
    assert answer.status_code == 202
    task = answer.json()["task_id"]
    assert answer.json() == {"task_id": task, "status": "PENDING"}
    delivery = await tap.delivery()
    assert codec.unpack_review(delivery.body) == ReadReview(tenant="default", task=task)
    document = await house.store.reviews.document("default", task)
    assert document is not None
    assert (document.name, document.data.decode()) == ("", "第一条 付款")
    shown = (await client.get(f"/v1/reviews/{task}")).json()
    assert {key: shown[key] for key in ("task_id", "status", "contract_type", "role", "stage", "progress")} == {
        "task_id": task,
        "status": "PENDING",
        "contract_type": "purchase",
        "role": "buyer",
        "stage": "pending",
        "progress": 0,
    }
    assert shown["created_at"].endswith("+00:00")


FILES = {"合同.pdf": PDF, "a.DOCX": b"PK\x03\x04 and so on", "a.md": b"# x"}


async def test_files_are_taken(house: House, client: httpx.AsyncClient) -> None:
    for name, data in FILES.items():
        form = {"role": "卖方", "contract_type": "x"}
        answer = await client.post("/v1/reviews", files={"file": (name, data)}, data=form)
        assert answer.status_code == 202, answer.text
        document = await house.store.reviews.document("default", answer.json()["task_id"])
        assert document is not None
        assert (document.name, document.data) == (name, data)


async def test_a_form_with_text_is_taken(house: House, client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/reviews", files={"text": (None, "条款"), "role": (None, "buyer")})
    assert answer.status_code == 202, answer.text
    row = await house.store.reviews.row("default", answer.json()["task_id"])
    assert row is not None
    assert (row.role, row.name) == ("buyer", "")


BAD: tuple[tuple[dict[str, Any], int, str], ...] = (
    ({"content": b"{"}, 400, "body"),
    ({"content": b"[]"}, 400, "body"),
    ({"json": {}}, 400, "text"),
    ({"json": {"text": 7}}, 400, "text"),
    ({"json": {"text": " \n "}}, 400, "empty"),
    ({"json": {"text": "x", "role": "r" * 65}}, 400, "role"),
    ({"json": {"text": "x", "contract_type": "r" * 65}}, 400, "contract_type"),
    ({"json": {"text": "x", "id": "1"}}, 400, "id"),
    ({"json": {"text": "x", "id": 0}}, 400, "from 1 to 1000"),
    ({"json": {"text": "x", "id": 5000}}, 400, "from 1 to 1000"),
    ({"content": b'{"text": "\\ud800"}'}, 400, ""),
    ({"json": {"text": "x" * 100_001}}, 413, "PARLEY_MAX_DOCUMENT"),
    ({"content": b"x" * 300_000}, 413, "PARLEY_MAX_DOCUMENT"),
    ({"files": {"f": ("a.pdf", b"no PDF")}}, 400, "damaged"),
    ({"files": {"f": ("a.docx", b"no archive")}}, 400, "damaged"),
    ({"files": {"f": ("a.exe", b"MZ")}}, 400, ".docx"),
    ({"files": {"f": ("noending", b"text")}}, 400, ".docx"),
    ({"files": {"f": ("a.txt", b"")}}, 400, "empty"),
    ({"files": {"f": ("x" * 300 + ".txt", b"x")}}, 400, "name"),
    ({"files": {"f": ("a.txt", b"x"), "text": (None, "y")}}, 400, "either"),
    ({"files": [("f", ("a.txt", b"x")), ("g", ("b.txt", b"x"))]}, 400, "form"),
    ({"files": {"text": (None, "x"), "id": (None, "abc")}}, 400, "id"),
    ({"content": b"rubbish", "headers": {"Content-Type": "multipart/form-data; boundary=x"}}, 400, ""),
    ({"content": b"rubbish", "headers": {"Content-Type": "multipart/form-data"}}, 400, "form"),
)


async def test_what_is_wrong_is_said_at_once(house: House, client: httpx.AsyncClient) -> None:
    for request, status, words in BAD:
        answer = await client.post("/v1/reviews", **request)
        assert answer.status_code == status, (request, answer.text)
        assert words in error_of(answer)["message"], request
    assert await house.store.reviews.stalled(-60, limit=10) == []


async def test_unknown_reviews_and_those_of_others(house: House, client: httpx.AsyncClient) -> None:
    for path in ("999", "abc", "9" * 30, "-1"):
        answer = await client.get(f"/v1/reviews/{path}")
        assert answer.status_code == 404
        assert error_of(answer)["message"] == "there is no review with this id"
    task = (await post(client)).json()["task_id"]
    assert (await client.get(f"/v1/reviews/{task}/text")).status_code == 404
    access = AccessSettings(auth_secret=SECRET)
    async with http(await house.gateway("gateway-2", access=access), **token("other")) as other:
        assert (await other.get(f"/v1/reviews/{task}")).status_code == 404
    async with http(await house.gateway("gateway-3", access=access)) as nobody:
        assert (await nobody.get(f"/v1/reviews/{task}")).status_code == 401


def token(tenant: str, **claims: Any) -> dict[str, str]:
    made = jwt.encode({"sub": "me", "tenant": tenant, "exp": 9_999_999_999, **claims}, SECRET, algorithm="HS256")
    return {"Authorization": f"Bearer {made}"}


async def test_an_id_is_for_the_owner_and_stands_for_one_contract(house: House, client: httpx.AsyncClient) -> None:
    first = await post(client, id=123)
    assert (first.status_code, first.json()) == (202, {"task_id": 123, "status": "PENDING"})
    again = await post(client, id=123)
    assert (again.status_code, again.json()) == (200, {"task_id": 123, "status": "PENDING"})
    assert (await post(client, id=123, role="seller")).status_code == 409
    gateway = await house.gateway("gateway-2", access=AccessSettings(auth_secret=SECRET))
    async with http(gateway, **token("default")) as guest:
        assert (await post(guest, id=7)).status_code == 403
        assert (await post(guest)).status_code == 202
    async with http(gateway, **token("default", owner=True)) as owner:
        assert (await post(owner, id=7)).status_code == 202


async def test_a_flood_is_told_when_to_come_back(client: httpx.AsyncClient) -> None:
    answers = await asyncio.gather(*(post(client) for _ in range(10)))
    assert sorted(answer.status_code for answer in answers) == [202] * 3 + [503] * 7
    full = next(answer for answer in answers if answer.status_code == 503)
    assert int(full.headers["retry-after"]) > 0
    assert error_of(full)["code"] == "overloaded"


@pytest.mark.parametrize(("error", "status"), [(Refused("full"), 503), (OutcomeUnknown("no confirm"), 202)])
async def test_a_job_that_is_nowhere_leaves_no_task(
    house: House,
    gateway: Gateway,
    client: httpx.AsyncClient,
    monkeypatch: pytest.MonkeyPatch,
    error: ParleyError,
    status: int,
) -> None:
    async def publish(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(gateway.hub.publisher, "publish", publish)
    answer = await post(client)
    assert answer.status_code == status
    assert len(await house.store.reviews.stalled(-60, limit=10)) == int(status == 202)
    if status == 503:
        assert answer.headers["retry-after"] == "4"


async def test_a_complete_review_is_whole_over_http(house: House, client: httpx.AsyncClient) -> None:
    task = (await post(client)).json()["task_id"]
    reviews = house.store.reviews
    await reviews.begin("default", task)
    count = 260
    await reviews.cut("default", task, "全文", "", [NewClause(i, i + 1, "条" * 1500) for i in range(count)])
    verdict = Verdict(risk=Risk.HIGH, reason="理由")
    result = ClauseResult(assessor="playbook", verdicts=(verdict,), note="n")
    await reviews.assess("default", task, [(i, result) for i in range(count)])
    answer = await client.get(f"/v1/reviews/{task}")
    shown = answer.json()
    assert (shown["status"], shown["progress"], shown["stage"]) == (ReviewStatus.COMPLETED.value, 100, "complete")
    assert len(shown["result"]["findings"]) == count
    assert (shown["result"]["truncated"], shown["result"]["notes"]) == (False, ["n"])
    text = await client.get(f"/v1/reviews/{task}/text")
    assert (text.status_code, text.text) == (200, "全文")
