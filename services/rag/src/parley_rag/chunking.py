"""Cuts a document into passages. Every passage is a slice of the extracted text: ``text[start:end] == passage.text``.

A section that fits is one passage. A longer one is cut between blocks, then between sentences; the last whole
sentence of a piece is repeated at the start of the next. Code and tables are cut at line ends only.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import msgspec

from parley_rag.documents.model import Block, BlockKind, Extracted

TARGET = 900
"""Code points of a passage of Latin text: about 150 words, a fifth of a page."""
TARGET_WIDE = 450
"""The same amount of Chinese, which says twice as much per code point."""
OVERLAP = 160
"""A repeated sentence longer than this (half of it for Chinese) is not repeated."""
SLACK = 1.35
"""A section up to this much over the target stays whole: better than a small rest."""

SEPARATOR = " › "
_WIDE = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
_SENTENCE = re.compile(r"[。！？；…]+[”’」』）)]*|[.!?]+[\"')\]”’]*(?=\s)|\n+")


class Passage(msgspec.Struct, frozen=True, kw_only=True):
    """A passage as the store keeps it; defined here so that the child process needs no database driver."""

    id: str
    title: str
    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class _Piece:
    """A run of text that is not cut further. ``soft``: a sentence that may be repeated."""

    start: int
    end: int
    soft: bool


def chunk(extracted: Extracted, *, kb: str, path: str) -> list[Passage]:
    """Passages in reading order, at least one. Ids depend on base, path, place and content alone.

    A heading with neither text nor headings below it is a passage itself, so that nothing is lost.
    """
    passages = []
    for section, after in pairwise((*extracted.sections, None)):
        assert section is not None
        blocks = section.blocks
        if not blocks and (after is None or after.path[: len(section.path)] != section.path):
            blocks = (Block(section.start, section.end),)
        title = SEPARATOR.join(section.path) or extracted.title
        for start, end in _spans(extracted.text, blocks):
            text = extracted.text[start:end]
            passages.append(Passage(id=passage_id(kb, path, start, text), title=title, text=text, start=start, end=end))
    return passages


def passage_id(kb: str, path: str, start: int, text: str) -> str:
    """16 hexadecimal digits."""
    digest = hashlib.blake2b(digest_size=8)
    for part in (kb, path, str(start), text):
        digest.update(part.encode("utf-8", "surrogatepass"))
        digest.update(b"\0")
    return digest.hexdigest()


def _target(text: str) -> int:
    """Between the two targets by the share of wide characters."""
    if not text:
        return TARGET
    share = min(1.0, 2 * len(_WIDE.findall(text)) / len(text))
    return round(TARGET - (TARGET - TARGET_WIDE) * share)


def _spans(text: str, blocks: tuple[Block, ...]) -> Iterator[tuple[int, int]]:
    if not blocks:
        return
    start, end = blocks[0].start, blocks[-1].end
    target = _target(text[start:end])
    if end - start <= target * SLACK:
        yield start, end
        return
    pieces = [piece for block in blocks for piece in _pieces(text, block, target)]
    yield from _pack(pieces, target)


def _pack(pieces: list[_Piece], target: int) -> Iterator[tuple[int, int]]:
    """Fill passages up to the target, in order, repeating one short sentence across a cut."""
    first = 0
    size_limit = target * SLACK
    for i in range(1, len(pieces)):
        rest = pieces[-1].end - pieces[i].start
        grown = pieces[i].end - pieces[first].start
        if grown <= target or (rest < target / 3 and pieces[-1].end - pieces[first].start <= size_limit):
            continue
        yield pieces[first].start, pieces[i - 1].end
        last = pieces[i - 1]
        room = pieces[i].end - last.start <= target
        repeat = last.soft and i - 1 > first and last.end - last.start <= OVERLAP * target / TARGET and room
        first = i - 1 if repeat else i
    yield pieces[first].start, pieces[-1].end


def _pieces(text: str, block: Block, target: int) -> Iterator[_Piece]:
    """A block that fits is whole; code and tables go by lines, running text by sentences, and a monster by force."""
    if block.kind in (BlockKind.CODE, BlockKind.TABLE):
        if block.end - block.start <= 2 * target:
            yield _Piece(block.start, block.end, soft=False)
            return
        cuts = [match.end() for match in re.compile(r"\n").finditer(text, block.start, block.end)]
    else:
        cuts = [match.end() for match in _SENTENCE.finditer(text, block.start, block.end)]
    soft = block.kind is BlockKind.PARAGRAPH
    start = block.start
    for cut in (*cuts, block.end):
        yield from _forced(text, start, cut, target, soft)
        start = cut


def _forced(text: str, start: int, end: int, target: int, soft: bool) -> Iterator[_Piece]:
    """Trim white space; cut a run without any sentence end at a space near the target, or at the target itself."""
    while end - start > 2 * target:
        cut = text.rfind(" ", start + target // 2, start + target) + 1 or start + target
        yield from _forced(text, start, cut, target, soft=False)
        start = cut
    while start < end and text[start] in " \n\f\t":
        start += 1
    while start < end and text[end - 1] in " \n\f\t":
        end -= 1
    if start < end:
        yield _Piece(start, end, soft)
