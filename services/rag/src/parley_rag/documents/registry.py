"""The formats: one line each. A new format is a module with ``extract`` and its line here."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import cast

from parley_rag.documents.model import Extracted, Limits
from parley_runtime.errors import Invalid

Extract = Callable[[bytes, str, Limits], Extracted]


@dataclass(frozen=True, slots=True)
class Format:
    """``costly``: parsing may take long or much memory, so it always runs in a child process."""

    name: str
    endings: tuple[str, ...]
    media_types: tuple[str, ...]
    costly: bool = False

    def extract(self, data: bytes, title: str, limits: Limits) -> Extracted:
        """Run the module of this name. Raises Invalid."""
        module = importlib.import_module(f"parley_rag.documents.{self.name}")
        return cast(Extract, module.extract)(data, title, limits)


TEXT = Format("text", (".txt", ".text", ".log", ".rst"), ("text/plain",))
FORMATS = (
    Format("markdown", (".md", ".markdown", ".mdown", ".mkd"), ("text/markdown", "text/x-markdown")),
    Format("html", (".html", ".htm", ".xhtml"), ("text/html", "application/xhtml+xml")),
    Format("pdf", (".pdf",), ("application/pdf",), costly=True),
    Format(
        "docx",
        (".docx",),
        ("application/vnd.openxmlformats-officedocument.wordprocessingml.document",),
        costly=True,
    ),
    TEXT,
)


def choose(path: str, media_type: str, data: bytes) -> Format:
    """By the path's ending, else by the media type, else by the first bytes; plain text where nothing speaks."""
    ending = PurePosixPath(path).suffix.lower()
    kind = media_type.partition(";")[0].strip().lower()
    for candidates in (
        [item for item in FORMATS if ending in item.endings],
        [item for item in FORMATS if kind in item.media_types],
        [item for item in FORMATS if item.name == _sniff(data)],
    ):
        if candidates:
            return candidates[0]
    return TEXT


def _sniff(data: bytes) -> str:
    head = data[:1024].lstrip().lower()
    if head.startswith(b"%pdf-"):
        return "pdf"
    if head.startswith((b"<!doctype html", b"<html")):
        return "html"
    if data.startswith(b"PK\x03\x04") and b"word/" in data:
        return "docx"
    return "text"


def extract(path: str, media_type: str, data: bytes, limits: Limits | None = None) -> Extracted:
    """The text of one document.

    Raises:
        Invalid: empty, too large, binary, damaged, protected or in an unknown encoding; the message says which and
            what to do.
    """
    limits = limits or Limits()
    if not data.strip():
        raise Invalid("the document is empty; nothing was ingested")
    if len(data) > limits.document:
        raise Invalid(f"the document has {len(data):,} bytes; PARLEY_MAX_DOCUMENT allows {limits.document:,}")
    return choose(path, media_type, data).extract(data, PurePosixPath(path).stem, limits)
