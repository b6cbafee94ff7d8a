"""HTML: the visible text by blocks, without navigation, scripts, styles, banners and footers."""

import re
from collections.abc import Iterator

from selectolax.lexbor import LexborHTMLParser, LexborNode

from parley_rag.documents.builder import TextBuilder, flow
from parley_rag.documents.encoding import decode
from parley_rag.documents.model import BlockKind, Extracted, Limits
from parley_runtime.errors import Invalid

_DROP = (
    "script, style, noscript, template, nav, footer, aside, form, iframe, svg, canvas, object, button, select,"
    " [hidden], [aria-hidden=true], [role=navigation], [role=banner], [role=contentinfo], [role=search],"
    " .navheader, .navfooter, .docnav, .toc, .breadcrumb, .breadcrumbs, .navbar, .sphinxsidebar, .related, .headerlink,"
    " #banner, #navbar, #toc, #footer, #sidebar"
)
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_BLOCKS = frozenset(
    [
        "address",
        "article",
        "blockquote",
        "body",
        "center",
        "dd",
        "details",
        "dialog",
        "div",
        "dl",
        "dt",
        "fieldset",
        "figcaption",
        "figure",
        "header",
        "hgroup",
        "hr",
        "legend",
        "main",
        "p",
        "section",
        "summary",
        "caption",
        "li",
        "ul",
        "ol",
    ]
)
_CHARSET = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([A-Za-z0-9_.:-]{2,40})", re.IGNORECASE)
_CHINESE = frozenset({"gb2312", "gbk", "gb18030", "hz-gb-2312", "big5"})


def extract(data: bytes, fallback_title: str, limits: Limits) -> Extracted:
    """Headings make sections; lists, preformatted text and tables are kept as such. The title is ``<title>``."""
    tree = LexborHTMLParser(_text(data))
    title = flow(node.text()) if (node := tree.css_first("title")) else ""
    for node in tree.css(_DROP):
        node.decompose()
    root = tree.body
    if root is None:
        raise Invalid("the HTML document has no body")
    builder = TextBuilder(limits)
    _Walker(builder).walk(root)
    return builder.build(title or builder.first_heading or fallback_title)


def plain(fragment: str) -> str:
    """The visible text of a piece of HTML on one line."""
    body = LexborHTMLParser(fragment).body
    if body is None:
        return ""
    for node in body.css("script, style"):
        node.decompose()
    return flow(body.text(separator=" "))


def _text(data: bytes) -> str:
    """Decode by the declared charset where it names a Chinese one; the rules for text hold otherwise."""
    declared = _CHARSET.search(data[:4096])
    name = declared.group(1).decode("ascii").lower() if declared else ""
    if name in _CHINESE and b"\0" not in data:
        try:
            return data.decode("gb18030" if name != "big5" else "big5")
        except UnicodeDecodeError:
            return decode(data)
    return decode(data)


class _Walker:
    """Depth first without recursion: hostile pages nest thousands deep."""

    def __init__(self, builder: TextBuilder) -> None:
        self._builder = builder
        self._inline: list[str] = []

    def walk(self, root: LexborNode) -> None:
        stack: list[tuple[LexborNode, bool]] = [(root, False)]
        while stack:
            node, leaving = stack.pop()
            tag = node.tag or ""
            if leaving:
                self._flush()
            elif tag == "-text":
                self._inline.append(node.text_content or "")
            elif not self._whole(node, tag):
                if tag in _BLOCKS:
                    self._flush()
                    stack.append((node, True))
                stack.extend((child, False) for child in reversed(list(_children(node))))
        self._flush()

    def _whole(self, node: LexborNode, tag: str) -> bool:
        """Elements that are taken at once; True when ``node`` was one."""
        if tag in _HEADINGS:
            self._flush()
            self._builder.heading(_HEADINGS[tag], node.text())
        elif tag == "pre":
            self._flush()
            text = node.text().strip("\n")
            if text.strip():
                self._builder.block(f"```\n{text.rstrip()}\n```", BlockKind.CODE)
        elif tag == "table" and not node.css_first("table table, table h1, table h2, table h3, table pre"):
            self._flush()
            self._builder.block(_table(node), BlockKind.TABLE)
        elif tag in ("ul", "ol") and not node.css_first("pre, table, h1, h2, h3, h4"):
            self._flush()
            self._builder.block(_list(node), BlockKind.LIST)
        elif tag == "br":
            self._inline.append("\n")
        else:
            return tag in ("-comment", "head", "-doctype")
        return True

    def _flush(self) -> None:
        text = flow("".join(self._inline))
        self._inline.clear()
        if text:
            self._builder.block(text)


def _children(node: LexborNode) -> Iterator[LexborNode]:
    return node.iter(include_text=True)


def _list(node: LexborNode) -> str:
    """One item to a line; the text of nested lists follows on lines of their own."""
    lines = []
    for item in node.css("li"):
        depth = _depth(item, node)
        nested = item.css_first("ul, ol")
        own = item.text() if nested is None else _own_text(item)
        if text := flow(own):
            lines.append("  " * depth + "- " + text)
    return "\n".join(lines)


def _depth(item: LexborNode, root: LexborNode) -> int:
    depth, parent = 0, item.parent
    while parent is not None and parent.mem_id != root.mem_id and depth < 8:
        depth += parent.tag in ("ul", "ol")
        parent = parent.parent
    return depth


def _own_text(item: LexborNode) -> str:
    return " ".join(child.text() for child in _children(item) if child.tag not in ("ul", "ol"))


def _table(node: LexborNode) -> str:
    rows = []
    for row in node.css("tr"):
        cells = [flow(cell.text()) for cell in row.css("th, td")]
        if any(cells):
            rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)
