"""Puts headings and blocks one after another and remembers where each lies."""

import re

from parley_rag.documents.model import Block, BlockKind, Extracted, Limits, Section
from parley_runtime.errors import Invalid

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_SPACE = re.compile(r"[ \t\r\f\v\u00a0\u3000]*\n[ \t\r\f\v\u00a0\u3000]*|[ \t\r\f\v\u00a0]+")
_WIDE = r"[\u3000-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef]"
_WIDE_BREAK = re.compile(rf"(?<={_WIDE})\n(?={_WIDE})")

MAX_HEADING = 300
"""Code points of a heading; longer ones are cut in paths, never in the text."""


def flow(text: str) -> str:
    """Running text on one line: white space becomes one space, and nothing between two Chinese characters."""
    tidy = _SPACE.sub(lambda match: "\n" if "\n" in match.group() else " ", text.strip())
    return _WIDE_BREAK.sub("", re.sub(r"\n+", "\n", tidy)).replace("\n", " ")


def clean(text: str) -> str:
    """Line ends as LF, without control characters; halves of surrogate pairs (some PDF fonts) as U+FFFD."""
    if _SURROGATE.search(text):
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return _CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


class TextBuilder:
    """Collects one document in reading order. Raises Invalid when the text outgrows ``limits.text``."""

    def __init__(self, limits: Limits) -> None:
        self._limit = limits.text
        self._parts: list[str] = []
        self._size = 0
        self._path: list[tuple[int, str]] = []
        self._sections: list[Section] = []
        self._blocks: list[Block] = []
        self._start = 0
        self.first_heading = ""

    def heading(self, level: int, text: str) -> None:
        """Begin a section. ``level`` 1 is the outermost; it ends every open section of its level or deeper."""
        label = flow(clean(text))
        if not label:
            return
        self._close()
        self._open(level, label)
        self._start, _ = self._append(label)

    def mark(self, level: int, label: str) -> None:
        """Begin a section whose heading is not in the text (a page)."""
        self._close()
        self._open(level, flow(clean(label)))
        self._start = self._size

    def block(self, text: str, kind: BlockKind = BlockKind.PARAGRAPH) -> None:
        """Append a block; white space alone is ignored."""
        body = clean(text).strip("\n") if kind in (BlockKind.CODE, BlockKind.TABLE) else clean(text).strip()
        if body.strip():
            self._blocks.append(Block(*self._append(body), kind))

    def page_break(self) -> None:
        """Keep a form feed between two pages."""
        self._parts.append("\n\f")
        self._size += 2

    def build(self, title: str) -> Extracted:
        """The document. Raises Invalid when it holds no text."""
        self._close()
        if not self._sections:
            raise Invalid("the document holds no text; nothing was ingested")
        return Extracted(
            flow(clean(title))[:MAX_HEADING] or self.first_heading, "".join(self._parts), tuple(self._sections)
        )

    def _open(self, level: int, label: str) -> None:
        while self._path and self._path[-1][0] >= level:
            self._path.pop()
        self._path.append((level, label[:MAX_HEADING]))
        self.first_heading = self.first_heading or label[:MAX_HEADING]

    def _append(self, text: str) -> tuple[int, int]:
        gap = "\n\n" if self._size else ""
        start = self._size + len(gap)
        self._size = start + len(text)
        if self._size > self._limit:
            raise Invalid(f"the document holds more than {self._limit:,} characters of text; split it")
        self._parts += (gap, text)
        return start, self._size

    def _close(self) -> None:
        if self._blocks or (self._path and self._size > self._start):
            path = tuple(label for _, label in self._path)
            self._sections.append(Section(path, self._start, self._size, tuple(self._blocks)))
        self._blocks = []
        self._start = self._size
