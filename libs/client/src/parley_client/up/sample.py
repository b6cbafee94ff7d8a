"""Loads Parley's own documentation as the sample knowledge bases `default` and `test`, over HTTP as anyone would."""

import json
from collections.abc import Iterator
from pathlib import Path

from parley_client.api import Api
from parley_client.ingest import Candidate, Summary, upsert

BASES = ("default", "test")
_NAME = "sample.json"


def files(root: Path) -> list[Candidate]:
    """The documents of the sample, by their path in the project: English and, in docs/zh, Chinese."""
    return [Candidate(path, path.relative_to(root).as_posix()) for path in sorted(_files(root))]


def _files(root: Path) -> Iterator[Path]:
    for name in ("README.md", "ARCHITECTURE.md"):
        if (root / name).is_file():
            yield root / name
    yield from (root / "docs").rglob("*.md")


async def load(api: Api, root: Path, data: Path) -> dict[str, Summary]:
    """Brings both bases up to date; returns what was done to each.

    Documents that are there already, by their digest, are not sent again. One that left the project is removed only
    where an earlier call had put it: what the user added stays. Raises ApiError.
    """
    found = files(root)
    here = {candidate.path for candidate in found}
    before = _recall(data)
    done: dict[str, Summary] = {}
    for base in BASES:
        known = {document.path: document.digest for document in await api.all_documents(base)}
        done[base] = await upsert(api, found, base, known)
        for path in sorted(before & known.keys() - here):
            done[base].removed += await api.delete(base, path)
    (data / _NAME).write_text(json.dumps(sorted(here), ensure_ascii=False), encoding="utf-8")
    return done


def _recall(data: Path) -> set[str]:
    """The paths that the last call put."""
    try:
        paths = json.loads((data / _NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return set()
    return {str(path) for path in paths} if isinstance(paths, list) else set()
