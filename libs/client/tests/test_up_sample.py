"""The sample: what is sent, what is skipped, what is deleted; against a scripted gateway."""

from pathlib import Path

import httpx
import pytest

from parley_client.up import sample

pytestmark = pytest.mark.unit


class Gateway:
    """Keeps documents as the gateway's knowledge-base pages do."""

    def __init__(self) -> None:
        self.bases: dict[str, dict[str, bytes]] = {}
        self.writes: list[tuple[str, str, str]] = []
        self.refuse = 0

    def answer(self, request: httpx.Request) -> httpx.Response:
        _, _, _, base, _ = request.url.path.split("/")
        if request.method == "GET":
            if base not in self.bases:
                return httpx.Response(404, json={"detail": "Knowledge base not found"})
            return httpx.Response(200, json={"documents": [{"path": path} for path in self.bases[base]]})
        path = request.url.params["path"]
        self.writes.append((request.method, base, path))
        if self.refuse:
            return httpx.Response(self.refuse, text="the disk is full")
        documents = self.bases.setdefault(base, {})
        if request.method == "PUT":
            documents[path] = request.content
        else:
            documents.pop(path, None)
        return httpx.Response(200, json={})


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    (root / "docs" / "zh").mkdir(parents=True)
    (root / "README.md").write_text("# Parley", encoding="utf-8")
    (root / "docs" / "operations.md").write_text("# Operations", encoding="utf-8")
    (root / "docs" / "zh" / "概述.md").write_text("# 概述", encoding="utf-8")
    (root / "docs" / "generate.py").write_text("", encoding="utf-8")
    return root


async def load(gateway: Gateway, root: Path) -> dict[str, int]:
    async with httpx.AsyncClient(transport=httpx.MockTransport(gateway.answer)) as client:
        return await sample.load(client, "http://gateway", root, root.parent)


async def test_both_bases_get_the_documents_and_the_second_time_nothing(project: Path) -> None:
    gateway = Gateway()
    assert await load(gateway, project) == {"default": 3, "test": 3}
    wanted = {"README.md": b"# Parley", "docs/operations.md": b"# Operations", "docs/zh/概述.md": "# 概述".encode()}
    assert gateway.bases == {"default": wanted, "test": wanted}
    gateway.writes.clear()
    assert await load(gateway, project) == {"default": 0, "test": 0}
    assert gateway.writes == []


async def test_an_edit_a_removal_and_a_lost_store_are_followed(project: Path) -> None:
    gateway = Gateway()
    await load(gateway, project)
    gateway.bases["default"]["mine.md"] = b"the user's own"
    (project / "README.md").write_text("# Parley 2", encoding="utf-8")
    (project / "docs" / "operations.md").unlink()
    assert await load(gateway, project) == {"default": 2, "test": 2}
    assert set(gateway.bases["default"]) == {"README.md", "docs/zh/概述.md", "mine.md"}
    assert gateway.bases["test"]["README.md"] == b"# Parley 2"
    del gateway.bases["test"]
    assert await load(gateway, project) == {"default": 0, "test": 2}


async def test_a_refusal_is_told_and_tried_again_next_time(project: Path) -> None:
    gateway = Gateway()
    gateway.refuse = 507
    with pytest.raises(sample.SampleError, match=r"HTTP 507 the disk is full"):
        await load(gateway, project)
    gateway.refuse = 0
    assert await load(gateway, project) == {"default": 3, "test": 3}
