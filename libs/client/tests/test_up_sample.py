"""The sample: what is sent, what is skipped, what is deleted; against a scripted gateway."""

from hashlib import sha256
from pathlib import Path

import httpx
import pytest

from parley_client.api import Api
from parley_client.up import sample

pytestmark = pytest.mark.unit


class Gateway:
    """Keeps documents as the gateway's knowledge-base routes do."""

    def __init__(self) -> None:
        self.bases: dict[str, dict[str, bytes]] = {}
        self.writes: list[tuple[str, str, str]] = []
        self.refuse = ""

    def answer(self, request: httpx.Request) -> httpx.Response:
        base = request.url.path.split("/")[3]
        if request.method == "GET":
            return self._list(base, request.url.params["after"])
        path = request.url.params["path"]
        self.writes.append((request.method, base, path))
        if path == self.refuse:
            return httpx.Response(507, json={"error": {"code": "full", "message": "the disk is full"}})
        documents = self.bases.setdefault(base, {})
        if request.method == "PUT":
            outcome = "replaced" if path in documents else "created"
            documents[path] = request.content
            return httpx.Response(200, json=self._info(base, path) | {"outcome": outcome})
        return httpx.Response(200, json={"removed": int(documents.pop(path, None) is not None)})

    def _list(self, base: str, after: str) -> httpx.Response:
        if base not in self.bases:
            return httpx.Response(404, json={"error": {"code": "unknown_kb", "message": "Knowledge base not found"}})
        page = [self._info(base, path) for path in sorted(self.bases[base]) if path > after]
        return httpx.Response(200, json={"documents": page})

    def _info(self, base: str, path: str) -> dict[str, object]:
        data = self.bases[base][path]
        facts = {"path": path, "title": path, "digest": sha256(data).hexdigest(), "size": len(data), "passages": 1}
        return facts | {"updated_at": "2026-01-01T00:00:00Z"}


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
    """What was changed in each base."""
    async with Api("http://gateway", transport=httpx.MockTransport(gateway.answer)) as api:
        done = await sample.load(api, root, root.parent)
    return {base: found.created + found.replaced + found.removed for base, found in done.items()}


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


async def test_a_document_that_is_refused_is_sent_again_next_time(project: Path) -> None:
    gateway = Gateway()
    gateway.refuse = "README.md"
    assert await load(gateway, project) == {"default": 2, "test": 2}
    gateway.refuse = ""
    assert await load(gateway, project) == {"default": 1, "test": 1}


def test_the_sample_readings_are_the_same_every_time_and_end_at_load_time() -> None:
    now = 1_795_891_234.5  # 2026-11-28T18:40:34Z
    first = sample.readings(now).decode().splitlines()
    assert first == sample.readings(now + 300).decode().splitlines()
    assert first[0] == "metric,sensor,timestamp,value,unit"
    assert 300 < len(first) < 1000
    newest = {line.split(",")[0]: line.split(",")[2] for line in first[1:]}
    assert newest == dict.fromkeys(
        ("temp", "do", "ph", "turbidity", "air_temp", "humidity"), "2026-11-28T18:40:00+00:00"
    )
    later = sample.readings(now + 7200).decode().splitlines()[1:]
    assert all(line.split(",")[2] > "2026-11-28T18:40" or line in first for line in later)
