"""A passage of Markdown or plain text as units that can be quoted: sentences, list items, table rows, code blocks."""

import enum
import re
from collections.abc import Iterator
from dataclasses import dataclass

MAX_PASSAGE = 20_000
"""Characters of one passage that are read."""
MAX_UNITS = 400
"""Units of one passage."""

LONG_CLAUSE = 60
"""Characters from which a Chinese semicolon ends a sentence; before that it joins two halves of one thought."""


class Kind(enum.Enum):
    """What a unit was in its passage."""

    SENTENCE = "sentence"
    ITEM = "item"
    ROW = "row"
    CODE = "code"


@dataclass(frozen=True, slots=True)
class Unit:
    """``text`` is plain (code keeps its fence); ``block`` numbers paragraphs, lists and so on; ``index`` is the place
    within the passage.
    """

    text: str
    kind: Kind
    heading: str
    block: int
    index: int
    first: bool
    """First of its block."""
    number: str = ""
    """Of an item in a numbered list, for instance ``2.``."""


_HEADING = re.compile(r"\s{0,3}#{1,6}\s+(.*?)\s*#*\s*$")
_FENCE = re.compile(r"\s{0,3}(```+|~~~+)")
_ITEM = re.compile(r"\s*(?:[-*+•·]|(\d{1,3}[.)、]|[(（]\d{1,2}[)）]))\s*(?<=[\s、)）.])(.*)")
_ROW = re.compile(r"\s*\|(.*)\|\s*$")
_RULE = re.compile(r"\s*([-*_=]\s*){3,}$")
_DASHES = re.compile(r"[\s|:-]+$")
_UNDERLINE = re.compile(r"\s*(=+|-+)\s*$")
# Lengths are bounded: marks that never close must not make reading quadratic.
_LINK = re.compile(r"!?\[([^\]]{0,300})\]\((?:[^()\s]|\([^)]*\))*(?:\s+\"[^\"]*\")?\)")
_REF = re.compile(r"\[([^\]]{1,300})\]\[[^\]]{0,300}\]")
_AUTO = re.compile(r"<(https?://[^>]+)>")
_TAG = re.compile(r"</?[A-Za-z][^<>]{0,200}>|<!--.{0,1000}?-->")
_STRONG = re.compile(r"(\*\*|__)(?=\S)(.{1,600}?)(?<=\S)\1")
_EMPHASIS = re.compile(r"(?<![\w*])\*(?=[^\s*])([^*]+?)(?<=[^\s*])\*(?![\w*])|(?<!\w)_(?=\S)([^_]+?)(?<=\S)_(?!\w)")
_SPACE = re.compile(r"\s+")

_END = re.compile(
    r"[。！？；…]+[”’」』）\"']*"
    r"|[.!?]+[\"')\]”’]*(?=\s+[\"'“(\[`*]*[A-Z0-9\u3400-\u9fff`]|\s*$)"
    r"|(?<=[\u3400-\u9fff])[!?]+"
)
_ABBREVIATION = re.compile(r"(?:\b(?:e\.g|i\.e|etc|vs|cf|approx|no|fig|sec|Mr|Mrs|Ms|Dr|St|Inc|Ltd|Jr)|\b[A-Z])\.$")
_BRACKETS = {"(": ")", "（": "）", "「": "」", "“": "”", "[": "]"}


def plain(text: str) -> str:
    """Markdown of one line or paragraph as text; code spans keep their backquotes."""
    parts = re.split(r"(`+[^`]+`+)", text)
    for index in range(0, len(parts), 2):
        part = _TAG.sub("", _AUTO.sub(r"\1", parts[index]))
        part = _REF.sub(r"\1", _LINK.sub(r"\1", part))
        part = _STRONG.sub(r"\2", part)
        parts[index] = _EMPHASIS.sub(lambda found: found[1] or found[2], part)
    return _SPACE.sub(" ", "".join(parts)).strip()


def sentences(text: str) -> list[str]:
    """Sentences of one paragraph, English and Chinese; none is split inside brackets, quotes or a code span."""
    found: list[str] = []
    start = 0
    for match in _END.finditer(text):
        candidate = text[start : match.end()]
        if match[0].startswith(".") and _ABBREVIATION.search(text, max(start, match.start() - 12), match.start() + 1):
            continue
        if _open(candidate) or (match[0] == "；" and len(candidate) < LONG_CLAUSE):
            continue
        found.append(candidate.strip())
        start = match.end()
    found.append(text[start:].strip())
    return [sentence for sentence in found if sentence]


def _open(text: str) -> bool:
    if text.count("`") % 2:
        return True
    # A bracket that never closes must not swallow the rest of the passage.
    return len(text) < 300 and any(text.count(left) > text.count(right) for left, right in _BRACKETS.items())


class _Reader:
    """Collects units line by line."""

    def __init__(self, heading: str) -> None:
        self.units: list[Unit] = []
        self._heading = heading
        self._block = 0
        self._lines: list[str] = []
        self._header: list[str] = []
        self._item: str | None = None
        self._list = False

    def add(self, text: str, kind: Kind, *, first: bool = True, number: str = "") -> None:
        if text and len(self.units) < MAX_UNITS:
            self.units.append(Unit(text, kind, self._heading, self._block, len(self.units), first, number))

    def flush(self) -> None:
        """End the paragraph or list item that is being read."""
        text, self._lines = plain(_join(self._lines)), []
        number, self._item = self._item, None
        if not text:
            return
        if number is not None:
            self.add(text, Kind.ITEM, number=number)
            return
        for place, sentence in enumerate(sentences(text)):
            self.add(sentence, Kind.SENTENCE, first=place == 0)

    def new_block(self) -> None:
        self.flush()
        self._block += 1
        self._header = []
        self._list = False

    def blank(self) -> None:
        """An empty line ends a paragraph or an item, not a list."""
        self.flush()
        if not self._list:
            self.new_block()

    def heading(self, text: str) -> None:
        self.new_block()
        self._heading = plain(text)

    def item(self, number: str, text: str) -> None:
        if not self._list:
            self.new_block()
            self._list = True
        self.flush()
        self._item = number
        self._lines = [text]

    def row(self, line: str) -> None:
        if self._lines:
            self.new_block()
        cells = [plain(cell) for cell in re.split(r"(?<!\\)\|", line)]
        self.add(_row(self._header, cells), Kind.ROW)

    def header(self, line: str) -> None:
        self.new_block()
        self._header = [plain(cell) for cell in re.split(r"(?<!\\)\|", line)]

    def code(self, lines: list[str]) -> None:
        self.new_block()
        if any(line.strip() for line in lines[1:-1]):
            self.add("\n".join(lines), Kind.CODE)
        self.new_block()

    def line(self, text: str) -> None:
        if self._list and not self._lines:
            self.new_block()
        self._lines.append(text)

    @property
    def pending(self) -> bool:
        return bool(self._lines)

    def pop_lines(self) -> str:
        text, self._lines, self._item = _join(self._lines), [], None
        return text


def _join(lines: list[str]) -> str:
    """Lines of one paragraph; nothing goes between two Chinese characters."""
    text = ""
    for line in lines:
        part = line.strip()
        gap = "" if not text or (_wide(text[-1]) and part[:1] and _wide(part[0])) else " "
        text += gap + part
    return text


def _wide(char: str) -> bool:
    return "\u2e80" <= char <= "\u9fff" or "\uff00" <= char <= "\uffef"


def _row(header: list[str], cells: list[str]) -> str:
    named = [(header[i] if i < len(header) else "", cell) for i, cell in enumerate(cells) if cell]
    if not named:
        return ""
    head = named[0][1]
    rest = [f"{name}: {cell}" if name else cell for name, cell in named[1:]]
    return f"{head} — {'; '.join(rest)}" if rest else head


def units(passage: str, title: str = "") -> list[Unit]:
    """Units of ``passage`` in order. ``title`` is the heading of what comes before its first own heading."""
    reader = _Reader(plain(title))
    lines = iter(passage[:MAX_PASSAGE].splitlines())
    held: list[str] = []
    while True:
        line = held.pop() if held else next(lines, None)
        if line is None:
            break
        if fence := _FENCE.match(line):
            reader.code(_fenced(line, fence[1], lines))
        elif row := _ROW.match(line):
            following = next(lines, None)
            if following is not None and "-" in following and _DASHES.match(following):
                reader.header(row[1])
            else:
                reader.row(row[1])
                held.extend([] if following is None else [following])
        else:
            _text_line(reader, line)
    reader.flush()
    return reader.units


def _text_line(reader: _Reader, line: str) -> None:
    if not line.strip():
        reader.blank()
    elif found := _HEADING.match(line):
        reader.heading(found[1])
    elif reader.pending and _UNDERLINE.match(line) and len(line.strip()) > 2:
        reader.heading(reader.pop_lines())
    elif _RULE.match(line):
        reader.new_block()
    elif found := _ITEM.match(line):
        reader.item(found[1] or "", found[2])
    else:
        reader.line(line.lstrip("> "))


def _fenced(first: str, mark: str, lines: Iterator[str]) -> list[str]:
    """A code block to its closing fence, or to the passage's end where the passage was cut."""
    block = [first.strip()]
    for line in lines:
        if line.strip().startswith(mark):
            break
        block.append(line.rstrip())
    return [*block, mark]
