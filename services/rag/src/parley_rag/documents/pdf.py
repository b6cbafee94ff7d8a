"""PDF by pypdf. Runs in a child process (see ``pool``): a hostile file may eat time and memory there only."""

import io
import logging
import re
import warnings
from typing import Any

from parley_rag.documents.builder import TextBuilder, flow
from parley_rag.documents.model import Extracted, Limits
from parley_runtime.errors import Invalid

_HYPHEN = re.compile(r"(?<=[a-z])[-\u00ad\u2010]\n(?=[a-z])")
_SENTENCE_END = ".!?:;。！？：；…"
_FULL_LINE = 0.75
"""A line shorter than this share of the longest, and ending a sentence, ends its paragraph."""

SCANNED = "the PDF holds no text (scanned pages?); run it through text recognition first"


def extract(data: bytes, fallback_title: str, limits: Limits) -> Extracted:
    """Sections follow the outline where the file has one, else its pages. Words broken at a line's end are joined."""
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return _extract(data, fallback_title, limits)
        except Invalid:
            raise
        except Exception as error:
            raise Invalid(f"the PDF is damaged and cannot be read ({type(error).__name__}); export it anew") from error


def _extract(data: bytes, fallback_title: str, limits: Limits) -> Extracted:
    from pypdf import PdfReader

    reader = PdfReader(io.BytesIO(data))
    if reader.is_encrypted and not reader.decrypt(""):
        raise Invalid("the PDF is protected by a password; remove the protection first")
    if len(reader.pages) > limits.pages:
        raise Invalid(f"the PDF has more than {limits.pages:,} pages; split it")
    outline = _outline(reader)
    builder = TextBuilder(limits)
    empty = True
    for number, page in enumerate(reader.pages):
        text = page.extract_text()
        empty = empty and not text.strip()
        if number:
            builder.page_break()
        if not outline:
            builder.mark(1, f"p. {number + 1}")
        _page(builder, text, outline.get(number, []))
    if empty:
        raise Invalid(SCANNED)
    title = reader.metadata.title if reader.metadata else None
    return builder.build(flow(str(title or "")) or fallback_title)


def _outline(reader: Any) -> dict[int, list[tuple[int, str]]]:
    """Outline entries as (level, title) by page number; a broken outline counts as none."""
    entries: dict[int, list[tuple[int, str]]] = {}
    try:
        stack = [(reader.outline, 1)]
        while stack:
            items, level = stack.pop(0)
            for item in items:
                if isinstance(item, list):
                    stack.append((item, level + 1))
                    continue
                page = reader.get_destination_page_number(item)
                if page is not None and page >= 0 and item.title:
                    entries.setdefault(page, []).append((level, flow(str(item.title))))
    except Exception:
        return {}
    return entries


def _page(builder: TextBuilder, text: str, headings: list[tuple[int, str]]) -> None:
    """The page's paragraphs; a heading goes where its line stands, or at the top where no line matches."""
    lines = [line.rstrip() for line in _HYPHEN.sub("", text).splitlines()]
    at: dict[int, list[tuple[int, str]]] = {}
    for level, title in headings:
        place = next((i for i, line in enumerate(lines) if _squash(line) == _squash(title)), -1)
        at.setdefault(place, []).append((level, title))
    for level, title in at.get(-1, []):
        builder.mark(level, title)
    pending: list[str] = []
    longest = max((len(line) for line in lines), default=0)
    for i, line in enumerate(lines):
        if i in at:
            builder.block(flow("\n".join(pending)))
            pending = []
            for level, title in at[i]:
                builder.heading(level, title)
            continue
        pending.append(line)
        if not line.strip() or (line.endswith(tuple(_SENTENCE_END)) and len(line) < _FULL_LINE * longest):
            builder.block(flow("\n".join(pending)))
            pending = []
    builder.block(flow("\n".join(pending)))


def _squash(text: str) -> str:
    return "".join(text.split()).lower()
