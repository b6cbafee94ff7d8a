"""Folders into a base: what is uploaded, left alone, removed and named."""

import hashlib
import os
from pathlib import Path

import httpx
import pytest

from parley_client.api import Api
from parley_client.errors import ApiError, ClientError
from parley_client.ingest import Summary, candidates, ingest

pytestmark = pytest.mark.unit


class Server:
    """A knowledge base in a dict, behind the HTTP routes."""

    def __init__(self) -> None:
        self.documents: dict[str, bytes] = {}
        self.puts: list[str] = []
        self.refuse: dict[str, tuple[int, str]] = {}

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.params.get("path", "")
        match request.method:
            case "GET":
                after = request.url.params["after"]
                rows = [self._row(name) for name in sorted(self.documents) if name > after]
                return httpx.Response(200, json={"documents": rows[:2]})
            case "PUT":
                if path in self.refuse:
                    status, message = self.refuse[path]
                    error = {"code": "invalid", "message": message, "retryable": False}
                    return httpx.Response(status, json={"error": error})
                outcome = "replaced" if path in self.documents else "created"
                self.documents[path] = request.content
                self.puts.append(path)
                return httpx.Response(200, json=self._row(path) | {"outcome": outcome})
            case _:
                return httpx.Response(200, json={"removed": 1 if self.documents.pop(path, None) else 0})

    def _row(self, path: str) -> dict[str, object]:
        data = self.documents[path]
        digest = hashlib.sha256(data).hexdigest()
        return {
            "path": path,
            "title": path,
            "digest": digest,
            "size": len(data),
            "passages": 2,
            "updated_at": "2026-01-01T00:00:00Z",
        }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "guide").mkdir()
    (tmp_path / "a.md").write_text("# A")
    (tmp_path / "guide" / "b.html").write_text("<p>b")
    (tmp_path / "guide" / "c.PDF").write_bytes(b"%PDF-")
    (tmp_path / "photo.png").write_bytes(b"x")
    (tmp_path / ".hidden.md").write_text("no")
    return tmp_path


async def run(server: Server, root: Path, *, keep: bool = False) -> Summary:
    async with Api("http://test", transport=httpx.MockTransport(server)) as api:
        return await ingest(api, root, "kb", keep=keep)


async def test_a_folder_is_brought_in_and_followed(folder: Path) -> None:
    server = Server()
    first = await run(server, folder)
    assert (first.created, first.passages, first.failed) == (3, 6, [])
    assert sorted(server.documents) == ["a.md", "guide/b.html", "guide/c.PDF"]

    (folder / "a.md").write_text("# A changed")
    (folder / "guide" / "b.html").unlink()
    server.puts.clear()
    second = await run(server, folder)
    assert (second.created, second.replaced, second.unchanged, second.removed) == (0, 1, 1, 1)
    assert server.puts == ["a.md"]
    assert sorted(server.documents) == ["a.md", "guide/c.PDF"]


async def test_keep_and_single_files_remove_nothing(folder: Path) -> None:
    server = Server()
    server.documents["other.md"] = b"o"
    assert (await run(server, folder, keep=True)).removed == 0
    assert (await run(server, folder / "a.md")).removed == 0
    assert "other.md" in server.documents


async def test_a_bad_file_is_named_and_the_others_go_in(folder: Path) -> None:
    server = Server()
    server.refuse["guide/c.PDF"] = (400, "the PDF is damaged")
    summary = await run(server, folder)
    assert summary.failed == [("guide/c.PDF", "the PDF is damaged")]
    assert summary.created == 2


async def test_an_unreadable_file_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path.read_bytes

    def read(path: Path) -> bytes:
        if path.name == "a.md":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(Path, "read_bytes", read)
    summary = await run(Server(), folder)
    assert summary.failed == [("a.md", "cannot be read: Permission denied")]
    assert summary.created == 2


async def test_what_lies_in_a_folder_that_cannot_be_read_stays_in_the_base(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Server()
    server.documents |= {"guide/b.html": b"kept", "gone.md": b"removed"}
    real = os.scandir

    def scan(path: str) -> object:
        if Path(path).name == "guide":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scan)
    summary = await run(server, folder)
    assert summary.failed == [("guide", "cannot be read: Permission denied")]
    assert summary.removed == 1
    assert sorted(server.documents) == ["a.md", "guide/b.html"]


async def test_empty_and_endless_files_are_named_without_being_sent(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("parley_client.ingest.LARGEST_FILE", 4)
    (folder / "empty.txt").write_bytes(b"")
    server = Server()
    summary = await run(server, folder)
    assert summary.failed == [
        ("empty.txt", "is empty"),
        ("guide/c.PDF", "has 5 bytes; 4 are the most"),
    ]
    assert sorted(server.documents) == ["a.md", "guide/b.html"]


async def test_a_refused_token_ends_the_whole_run(folder: Path) -> None:
    server = Server()
    server.refuse["a.md"] = (401, "token has expired")
    with pytest.raises(ApiError, match="token has expired"):
        await run(server, folder)


async def test_links_out_of_the_folder_are_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret.md"
    secret.write_text("s")
    root = tmp_path / "docs"
    root.mkdir()
    (root / "link.md").symlink_to(secret)
    (root / "real.md").write_text("r")
    found, closed = candidates(root)
    assert [candidate.path for candidate in found] == ["real.md"]
    assert closed == []


def test_nothing_to_ingest_is_said(tmp_path: Path) -> None:
    with pytest.raises(ClientError, match="does not exist"):
        candidates(tmp_path / "nowhere")
    with pytest.raises(ClientError, match="holds no documents"):
        candidates(tmp_path)


async def test_no_server_is_said_with_what_to_do() -> None:
    async with Api("http://127.0.0.1:1") as api:
        with pytest.raises(ApiError, match="task up") as caught:
            await api.kb.all()
    assert (caught.value.status, caught.value.retryable) == (0, True)


async def test_an_answer_that_is_not_ours_is_still_told() -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(502, text="Bad Gateway"))
    async with Api("http://test", transport=transport) as api:
        with pytest.raises(ApiError, match="Bad Gateway") as caught:
            await api.status()
    assert (caught.value.status, caught.value.retryable) == (502, True)
