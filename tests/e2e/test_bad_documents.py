"""Documents that cannot be read: each is named with its reason, and the others go in."""

from pathlib import Path

import httpx
import pytest

from parley_testkit.stack import Stack

from .harness import parley

pytestmark = pytest.mark.e2e

PDF = b"%PDF-1.7\n1 0 obj\n<< /Type /Catalog /Pages 2 0 R >>\nendobj\nthis is where it was cut off"
BINARY = bytes(range(256)) * 40


@pytest.mark.parametrize(
    ("path", "data", "status", "words"),
    [
        pytest.param("corrupt.pdf", PDF, 400, "PDF", id="corrupt pdf"),
        pytest.param("binary.md", BINARY, 400, "", id="binary named md"),
        pytest.param("broken.docx", b"PK\x03\x04 but no more", 400, "", id="broken docx"),
        pytest.param("empty.md", b"", 400, "empty", id="empty"),
        pytest.param("blank.md", b" \n\n ", 400, "", id="blank"),
        pytest.param("", b"text", 400, "path", id="no path"),
        pytest.param("a\x00b.md", b"text", 400, "path", id="path with a zero"),
        pytest.param("x" * 2000, b"text", 400, "path", id="long path"),
        pytest.param("large.txt", b"x" * (12 * 1024 * 1024 + 1), 413, "PARLEY_MAX_DOCUMENT", id="too large"),
    ],
)
def test_a_bad_document_is_refused_with_its_reason(
    stack: Stack, path: str, data: bytes, status: int, words: str
) -> None:
    answer = httpx.put(
        stack.url + "/v1/kb/bad/documents", params={"path": path}, content=data, trust_env=False, timeout=60
    )
    error = answer.json()["error"]
    assert answer.status_code == status, error
    assert words in error["message"]
    assert len(error["message"]) > 15
    assert error["retryable"] is False
    bases = httpx.get(stack.url + "/v1/kb", trust_env=False).json()["bases"]
    assert "bad" not in {base["name"] for base in bases}


def test_ingest_names_what_fails_and_takes_the_rest(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "good.md").write_text("# Good\n\nThe well in the yard is nine metres deep.\n", encoding="utf-8")
    (tmp_path / "corrupt.pdf").write_bytes(PDF)
    (tmp_path / "binary.md").write_bytes(BINARY)
    (tmp_path / "empty.txt").write_bytes(b"")
    (tmp_path / "large.txt").write_bytes(b"word " * 3_000_000)
    (tmp_path / "unreadable.md").symlink_to("/proc/self/mem")
    folder = tmp_path / "looks-like.md"
    folder.mkdir()
    locked = tmp_path / "locked.md"
    locked.write_text("# Locked\n", encoding="utf-8")
    locked.chmod(0)
    done = parley(stack.url, "ingest", str(tmp_path), "--kb", "mixed")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    wanted = {"corrupt.pdf": "damaged", "binary.md": "binary", "empty.txt": "empty", "large.txt": "PARLEY_MAX_DOCUMENT"}
    if not _readable(locked):  # root reads it all the same
        wanted["locked.md"] = "cannot be read"
    lines = [line.removeprefix("✗ ") for line in done.stderr.splitlines() if line.startswith("✗")]
    reasons = dict(line.split(": ", 1) for line in lines)
    assert set(reasons) == set(wanted), done.stderr
    assert all(word in reasons[name] for name, word in wanted.items()), done.stderr
    found = parley(stack.url, "kb", "search", "mixed", "How deep is the well?")
    assert "nine metres" in found.stdout


def _readable(file: Path) -> bool:
    try:
        file.read_bytes()
    except OSError:
        return False
    return True


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(("nowhere",), "does not exist", id="no such folder"),
        pytest.param((".",), "holds no documents", id="empty folder"),
    ],
)
def test_ingest_of_nothing_is_an_error(stack: Stack, tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    done = parley(stack.url, "ingest", str(tmp_path / arguments[0]), "--kb", "nothing")
    assert done.returncode == 1
    assert words in done.stderr
