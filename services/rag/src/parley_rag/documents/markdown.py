"""Markdown (CommonMark with tables): headings make sections; inline marks go, code, lists and tables stay readable."""

from collections.abc import Iterator

from markdown_it import MarkdownIt
from markdown_it.token import Token

from parley_rag.documents.builder import TextBuilder, clean, flow
from parley_rag.documents.encoding import decode
from parley_rag.documents.html import plain
from parley_rag.documents.model import BlockKind, Extracted, Limits

_PARSER = MarkdownIt("commonmark").enable("table")
_LIST_OPEN = ("bullet_list_open", "ordered_list_open")
_LIST_CLOSE = ("bullet_list_close", "ordered_list_close")


def extract(data: bytes, fallback_title: str, limits: Limits) -> Extracted:
    """The title is the first heading of level 1, or else of ``title:`` in a front matter, or the file's name."""
    body, title = _front_matter(clean(decode(data)))
    builder = TextBuilder(limits)
    walker = _Walker(builder)
    walker.walk(_PARSER.parse(body))
    return builder.build(title or walker.title or fallback_title)


def _front_matter(text: str) -> tuple[str, str]:
    if not text.startswith("---\n"):
        return text, ""
    end = text.find("\n---", 3)
    if end < 0:
        return text, ""
    title = ""
    for line in text[4:end].splitlines():
        key, colon, value = line.partition(":")
        if colon and key.strip().lower() == "title":
            title = value.strip().strip("\"'")
    _, _, rest = text[end + 1 :].partition("\n")
    return rest, title


def inline(token: Token) -> str:
    """The readable text of an inline token: links and emphasis by their text, code in its backticks."""
    parts = []
    for child in token.children or ():
        if child.type == "text":
            parts.append(child.content)
        elif child.type == "code_inline":
            parts.append(f"`{child.content}`")
        elif child.type in ("softbreak", "hardbreak"):
            parts.append("\n")
        elif child.type == "image":
            parts.append(child.content)
        elif child.type == "html_inline" and child.content.lower().startswith("<br"):
            parts.append("\n")
    return flow("".join(parts))


class _Walker:
    """Feeds the builder from the flat token stream."""

    def __init__(self, builder: TextBuilder) -> None:
        self._builder = builder
        self.title = ""

    def walk(self, tokens: list[Token]) -> None:
        stream = iter(tokens)
        for token in stream:
            if token.type == "heading_open":
                self._heading(int(token.tag[1]), next(stream))
            elif token.type in _LIST_OPEN:
                self._builder.block(_list(token, stream), BlockKind.LIST)
            elif token.type == "table_open":
                self._builder.block(_table(stream), BlockKind.TABLE)
            elif token.type in ("fence", "code_block"):
                self._builder.block(_fence(token), BlockKind.CODE)
            elif token.type == "html_block":
                self._builder.block(plain(token.content))
            elif token.type == "inline":
                self._builder.block(inline(token))

    def _heading(self, level: int, token: Token) -> None:
        text = inline(token)
        if level == 1 and not self.title:
            self.title = text
        self._builder.heading(level, text)


def _fence(token: Token) -> str:
    mark = token.markup if token.type == "fence" else "```"
    return f"{mark}{token.info.strip()}\n{token.content.rstrip()}\n{mark}"


def _list(opening: Token, stream: Iterator[Token]) -> str:
    """A list with everything nested in it, one item to a line, nested items indented by two spaces a level."""
    lines: list[str] = []
    counters = [_first_number(opening)]
    lead = ""
    for token in stream:
        if token.type in _LIST_OPEN:
            counters.append(_first_number(token))
        elif token.type in _LIST_CLOSE:
            counters.pop()
            if not counters:
                break
        elif token.type == "list_item_open":
            number = counters[-1]
            lead = "  " * (len(counters) - 1) + ("- " if number is None else f"{number}. ")
            counters[-1] = None if number is None else number + 1
        elif token.type == "inline":
            lines.append(lead + inline(token))
            lead = "  " * len(counters)
        elif token.type in ("fence", "code_block"):
            lines += ("  " * len(counters) + line for line in _fence(token).splitlines())
        elif token.type == "html_block":
            lines.append(lead + plain(token.content))
    return "\n".join(lines)


def _first_number(token: Token) -> int | None:
    if token.type == "bullet_list_open":
        return None
    return int(token.attrGet("start") or 1)


def _table(stream: Iterator[Token]) -> str:
    rows: list[list[str]] = []
    for token in stream:
        if token.type == "table_close":
            break
        if token.type == "tr_open":
            rows.append([])
        elif token.type == "inline":
            rows[-1].append(inline(token))
    return table_text(rows)


def table_text(rows: list[list[str]]) -> str:
    """Rows as ``| a | b |`` lines."""
    return "\n".join("| " + " | ".join(cells) + " |" for cells in rows)
