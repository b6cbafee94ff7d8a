"""Bring a folder into a knowledge base: upsert what changed, remove what has gone, name what cannot be read."""

import asyncio
import hashlib
import mimetypes
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from parley_client.api import Api
from parley_client.errors import ApiError, ClientError

SUFFIXES = frozenset({".md", ".markdown", ".txt", ".text", ".rst", ".html", ".htm", ".xhtml", ".pdf", ".docx"})
"""Endings of the files that a folder is searched for; a file named by itself is always tried."""

LARGEST_FILE = 100 * 1024 * 1024
"""Bytes. No gateway can be set to take more, so a longer file is not even read."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file and its path within the base."""

    file: Path
    path: str


@dataclass(slots=True)
class Summary:
    """What was done. ``failed`` holds (path, reason)."""

    created: int = 0
    replaced: int = 0
    unchanged: int = 0
    removed: int = 0
    passages: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)

    @property
    def done(self) -> int:
        """Files that are in the base now."""
        return self.created + self.replaced + self.unchanged


Progress = Callable[[str, int, int], None]
"""(path just handled, how many so far, of how many)."""


def candidates(root: Path) -> tuple[list[Candidate], list[tuple[str, str]]]:
    """Files to ingest, by path, and the folders below ``root`` that cannot be read, as (path, reason).

    Hidden files and folders are left out; links to files are followed within the folder only, links to folders never.

    Raises:
        ClientError: nothing is there, or no file in the folder can be read as a document.
    """
    if root.is_file():
        return [Candidate(root, root.name)], []
    if not root.is_dir():
        raise ClientError(f"{root} does not exist; name a file or a folder")
    closed: list[tuple[str, str]] = []
    found = [Candidate(file, _within(root, file)) for file in _walk(root, closed)]
    if not found and closed:
        raise ClientError(f"{root} holds no documents that can be read: {closed[0][0]} {closed[0][1]}")
    if not found:
        endings = ", ".join(sorted(SUFFIXES))
        raise ClientError(f"{root} holds no documents; files that end in {endings} are taken")
    return sorted(found, key=lambda candidate: candidate.path), closed


def _within(root: Path, file: Path) -> str:
    return PurePosixPath(*file.relative_to(root).parts).as_posix()


def _walk(root: Path, closed: list[tuple[str, str]]) -> Iterator[Path]:
    def unreadable(error: OSError) -> None:
        closed.append((_within(root, Path(error.filename)), f"cannot be read: {error.strerror}"))

    top = root.resolve()
    for folder, folders, files in os.walk(root, onerror=unreadable):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            file = Path(folder, name)
            if name.startswith(".") or file.suffix.lower() not in SUFFIXES:
                continue
            if file.is_file() and file.resolve().is_relative_to(top):
                yield file


async def ingest(
    api: Api,
    root: Path,
    kb: str,
    *,
    keep: bool = False,
    parallel: int = 4,
    progress: Progress | None = None,
) -> Summary:
    """Make base ``kb`` hold the documents of ``root``. A file that fails is named in the summary, the others go in.

    A folder owns the paths under it: unless ``keep``, documents of the base that the folder no longer holds are
    removed; what lies in a folder that cannot be read is left. A single file removes nothing. At most ``parallel``
    uploads run at a time.
    """
    files, closed = await asyncio.to_thread(candidates, root)
    folder = files[0].file != root
    known = {document.path: document.digest for document in await api.kb.all_documents(kb)}
    summary = await upsert(api, files, kb, known, parallel=parallel, progress=progress)
    if folder and not keep:
        hidden = tuple(f"{path}/" for path, _ in closed)
        for path in sorted(set(known) - {candidate.path for candidate in files}):
            if not path.startswith(hidden):
                summary.removed += await api.kb.delete(kb, path)
    summary.failed = sorted([*summary.failed, *closed])
    return summary


async def upsert(
    api: Api,
    files: Sequence[Candidate],
    kb: str,
    known: Mapping[str, str],
    *,
    parallel: int = 4,
    progress: Progress | None = None,
) -> Summary:
    """Put ``files`` into base ``kb``, but for those whose digest in ``known`` (path to SHA-256) is theirs. Removes
    nothing. At most ``parallel`` uploads run at a time.
    """
    summary = Summary()
    total = len(files)
    finished = 0
    gate = asyncio.Semaphore(parallel)

    async def one(candidate: Candidate) -> None:
        nonlocal finished
        async with gate:
            await _put(api, kb, candidate, known.get(candidate.path), summary)
        finished += 1
        if progress is not None:
            progress(candidate.path, finished, total)

    results = await asyncio.gather(*(one(candidate) for candidate in files), return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return summary


def _read(file: Path) -> bytes:
    size = file.stat().st_size
    if not 0 < size <= LARGEST_FILE:
        raise ClientError("is empty" if not size else f"has {size:,} bytes; {LARGEST_FILE:,} are the most")
    return file.read_bytes()


async def _put(api: Api, kb: str, candidate: Candidate, digest: str | None, summary: Summary) -> None:
    try:
        data = await asyncio.to_thread(_read, candidate.file)
        if digest is not None and hashlib.sha256(data).hexdigest() == digest:
            summary.unchanged += 1
            return
        media_type = mimetypes.guess_type(candidate.file.name)[0] or ""
        info = await api.kb.put(kb, candidate.path, data, media_type)
    except OSError as error:
        summary.failed.append((candidate.path, f"cannot be read: {error.strerror or error}"))
    except ClientError as error:
        if isinstance(error, ApiError) and error.status in (0, 401, 403):
            raise
        summary.failed.append((candidate.path, str(error)))
    else:
        summary.passages += info.passages
        match info.outcome:
            case "created":
                summary.created += 1
            case "replaced":
                summary.replaced += 1
            case _:
                summary.unchanged += 1
