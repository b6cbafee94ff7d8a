"""What every extractor yields: plain text, and where its sections and blocks lie in it."""

import enum

import msgspec


class BlockKind(enum.StrEnum):
    """``CODE`` and ``TABLE`` are kept whole where they fit, and are otherwise cut at line ends only."""

    PARAGRAPH = "paragraph"
    LIST = "list"
    CODE = "code"
    TABLE = "table"


class Block(msgspec.Struct, frozen=True, array_like=True):
    """Code points ``start`` to ``end`` of the extracted text."""

    start: int
    end: int
    kind: BlockKind = BlockKind.PARAGRAPH


class Section(msgspec.Struct, frozen=True, array_like=True):
    """One heading's own text, from the heading to the next one. ``path`` holds the headings above it, then its own.

    ``blocks`` lie within the section in order, do not overlap and leave the heading out.
    """

    path: tuple[str, ...]
    start: int
    end: int
    blocks: tuple[Block, ...] = ()


class Extracted(msgspec.Struct, frozen=True):
    """A document as text. Sections are in order and do not overlap."""

    title: str
    text: str
    sections: tuple[Section, ...]


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of one extraction: bytes, pages, bytes after unpacking, code points of text."""

    document: int = 12 * 1024 * 1024
    pages: int = 5_000
    unpacked: int = 256 * 1024 * 1024
    text: int = 20_000_000
