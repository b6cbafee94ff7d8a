"""The sample of contract review: what is sent, and what stays as it is; against a scripted gateway."""

import json
from pathlib import Path

import httpx
import pytest

from parley_client.api import Api
from parley_client.errors import ApiError
from parley_client.up import sample_review

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[3]


class Gateway:
    """Keeps documents, and answers uploads with ``status``."""

    def __init__(self, status: int = 202) -> None:
        self.documents: dict[str, bytes] = {}
        self.uploads: list[dict[str, object]] = []
        self.status = status

    def answer(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/reviews":
            self.uploads.append(json.loads(request.content))
            if self.status >= 400:
                return httpx.Response(self.status, json={"error": {"code": "x", "message": "no"}})
            return httpx.Response(self.status, json={"task_id": 123, "status": "PENDING"})
        assert request.url.path == "/v1/kb/playbook/documents"
        if request.method == "GET":
            after = request.url.params["after"]
            return httpx.Response(200, json={"documents": [self._info(p) for p in sorted(self.documents) if p > after]})
        path = request.url.params["path"]
        self.documents[path] = request.content
        return httpx.Response(201, json=self._info(path) | {"outcome": "created"})

    def _info(self, path: str) -> dict[str, object]:
        return {"path": path, "title": path, "digest": "d", "size": 1, "passages": 1, "updated_at": ""}


async def load(gateway: Gateway) -> int:
    async with Api("http://gateway", transport=httpx.MockTransport(gateway.answer)) as api:
        return (await sample_review.load(api, ROOT)).created


async def test_rules_in_both_languages_and_the_contract_as_task_123() -> None:
    gateway = Gateway()
    assert await load(gateway) == 2
    assert set(gateway.documents) == {"sample/playbook/zh/买卖合同审查规则.md", "sample/playbook/en/sale-of-goods.md"}
    (upload,) = gateway.uploads
    assert (upload["id"], upload["contract_type"], upload["role"]) == (123, "purchase", "buyer")
    assert "第十三条" in str(upload["text"])


async def test_what_the_user_changed_stays() -> None:
    gateway = Gateway()
    await load(gateway)
    gateway.documents["sample/playbook/en/sale-of-goods.md"] = b"mine"
    gateway.documents["my.md"] = b"mine too"
    gateway.status = 200
    assert await load(gateway) == 0
    assert gateway.documents["sample/playbook/en/sale-of-goods.md"] == b"mine"
    assert len(gateway.uploads) == 2


async def test_another_contract_that_has_the_id_is_left_alone() -> None:
    await load(Gateway(409))
    with pytest.raises(ApiError):
        await load(Gateway(503))
