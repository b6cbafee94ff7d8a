"""Loads Parley's own documentation as the sample knowledge bases `default` and `test`, over HTTP as anyone would."""

import asyncio
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx

BASES = ("default", "test")
_ABREAST = 4
_WITHIN = httpx.Timeout(60.0)
_NAME = "sample.json"


class SampleError(Exception):
    """The gateway did not take a document; the message says which and why."""


def files(root: Path) -> Mapping[str, Path]:
    """The documents of the sample by their path in the project: English and, in docs/zh, Chinese."""
    return {str(path.relative_to(root)): path for path in sorted(_files(root))}


def _files(root: Path) -> Iterator[Path]:
    for name in ("README.md", "ARCHITECTURE.md"):
        if (root / name).is_file():
            yield root / name
    yield from (root / "docs").rglob("*.md")


def digest(found: Mapping[str, Path]) -> str:
    """Changes whenever a document, or the set of them, does."""
    total = hashlib.sha256()
    for name, path in found.items():
        total.update(name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


async def load(client: httpx.AsyncClient, address: str, root: Path, data: Path) -> dict[str, int]:
    """Brings both bases up to date; returns how many documents were sent to each, 0 where it was current.

    Documents that left the project are deleted from a base only where this command put them. Raises SampleError.
    """
    found = files(root)
    wanted, memory = digest(found), _recall(data)
    sent: dict[str, int] = {}
    for base in BASES:
        listed = await _listed(client, address, base)
        if memory.get("digest") == wanted and found.keys() <= listed:
            sent[base] = 0
            continue
        await _send(client, address, base, found)
        for name in sorted(set(memory.get("paths", [])) & listed - found.keys()):
            await _call(client, "DELETE", _url(address, base), name)
        sent[base] = len(found)
    (data / _NAME).write_text(json.dumps({"digest": wanted, "paths": sorted(found)}), encoding="utf-8")
    return sent


def _url(address: str, base: str) -> str:
    return f"{address}/v1/kb/{base}/documents"


def _recall(data: Path) -> dict[str, Any]:
    try:
        memory = json.loads((data / _NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return memory if isinstance(memory, dict) else {}


async def _listed(client: httpx.AsyncClient, address: str, base: str) -> set[str]:
    answer = await _call(client, "GET", _url(address, base), "")
    if answer.status_code == httpx.codes.NOT_FOUND:
        return set()
    body = answer.json()
    rows: list[Any] = (body.get("documents") or []) if isinstance(body, dict) else body
    return {str(row.get("path", "")) for row in rows if isinstance(row, dict)}


async def _send(client: httpx.AsyncClient, address: str, base: str, found: Mapping[str, Path]) -> None:
    abreast = asyncio.Semaphore(_ABREAST)

    async def one(name: str, path: Path) -> None:
        async with abreast:
            await _call(client, "PUT", _url(address, base), name, await asyncio.to_thread(path.read_bytes))

    await asyncio.gather(*(one(name, path) for name, path in found.items()))


async def _call(
    client: httpx.AsyncClient, method: str, url: str, path: str, content: bytes | None = None
) -> httpx.Response:
    try:
        answer = await client.request(
            method, url, params={"path": path} if path else None, content=content, timeout=_WITHIN
        )
    except httpx.HTTPError as error:
        raise SampleError(f"{method} {url} failed ({type(error).__name__}: {error})") from None
    if answer.is_error and not (method in {"GET", "DELETE"} and answer.status_code == httpx.codes.NOT_FOUND):
        raise SampleError(f"{method} {url} {path}: HTTP {answer.status_code} {answer.text[:200]}")
    return answer
