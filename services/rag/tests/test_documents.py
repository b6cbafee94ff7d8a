"""Extractors: what text comes out of each format, and which documents are refused with which words."""

import io
import zipfile

import docx
import pytest
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.cidfonts import UnicodeCIDFont
from reportlab.pdfgen import canvas

from parley_rag.documents import BlockKind, Extracted, Limits, choose, extract
from parley_rag.documents.builder import TextBuilder
from parley_runtime.errors import Invalid

pytestmark = pytest.mark.unit


def blocks(extracted: Extracted) -> list[tuple[tuple[str, ...], str]]:
    return [
        (section.path, extracted.text[block.start : block.end])
        for section in extracted.sections
        for block in section.blocks
    ]


def pdf(pages: list[list[str]], outline: dict[int, str] | None = None, *, password: str = "") -> bytes:
    pdfmetrics.registerFont(UnicodeCIDFont("STSong-Light"))
    out = io.BytesIO()
    page = canvas.Canvas(out, encrypt=password or None)
    page.setTitle("Manual of pumps")
    for number, lines in enumerate(pages):
        if outline and number in outline:
            page.bookmarkPage(f"p{number}")
            page.addOutlineEntry(outline[number], f"p{number}", 0)
        text = page.beginText(72, 760)
        for line in lines:
            text.setFont("Helvetica" if line.isascii() else "STSong-Light", 12)
            text.textLine(line)
        page.drawText(text)
        page.showPage()
    page.save()
    return out.getvalue()


def word(fill: object) -> bytes:
    document = docx.Document()
    fill(document)
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()


MARKDOWN = """---
title: "Front"
---
Preface with **bold** and a [link](http://x.test/y).

# One

- a
- b
  1. c

## Two `x`

```py
# not a heading
run()
```

| k | v |
|---|---|
| 端口 | 8000 |

<div>raw <b>html</b></div>
"""


def test_markdown_keeps_headings_code_lists_and_tables() -> None:
    found = extract("a.md", "", MARKDOWN.encode())
    assert found.title == "Front"
    assert blocks(found) == [
        ((), "Preface with bold and a link."),
        (("One",), "- a\n- b\n  1. c"),
        (("One", "Two `x`"), "```py\n# not a heading\nrun()\n```"),
        (("One", "Two `x`"), "| k | v |\n| 端口 | 8000 |"),
        (("One", "Two `x`"), "raw html"),
    ]
    kinds = [block.kind for section in found.sections for block in section.blocks]
    assert kinds == [BlockKind.PARAGRAPH, BlockKind.LIST, BlockKind.CODE, BlockKind.TABLE, BlockKind.PARAGRAPH]


def test_markdown_title_is_the_first_heading_or_the_file_name() -> None:
    assert extract("a/b.md", "", b"# Top\n\ntext").title == "Top"
    assert extract("a/b.md", "", b"only text").title == "b"


def test_a_shallower_heading_ends_deeper_ones() -> None:
    found = extract("a.md", "", b"# A\n\n### B\n\nx\n\n## C\n\ny")
    assert [section.path for section in found.sections if section.blocks] == [("A", "B"), ("A", "C")]


def test_text_is_cut_at_blank_lines() -> None:
    found = extract("notes.txt", "", b"one\ntwo\r\n\r\nthree\n")
    assert blocks(found) == [((), "one\ntwo"), ((), "three")]
    assert found.title == "notes"


HTML = """<!doctype html><html><head><title>Site: page</title><style>p{}</style></head><body>
<nav><a href=x>Home</a></nav><header>Head line</header><h1>Main <code>x</code></h1>
<p>First   line<br>second</p><script>alert(1)</script>
<pre>a
  b</pre><ul><li>one</li><li>two<ul><li>deep</li></ul></li></ul>
<table><tr><th>k</th><th>v</th></tr><tr><td>1</td><td>2</td></tr></table>
<h2>Sub</h2>loose text<p>中文
换行</p><footer>© nobody</footer></body></html>"""


def test_html_drops_what_is_no_content() -> None:
    found = extract("p.html", "", HTML.encode())
    assert found.title == "Site: page"
    assert blocks(found) == [
        ((), "Head line"),
        (("Main x",), "First line second"),
        (("Main x",), "```\na\n  b\n```"),
        (("Main x",), "- one\n- two\n  - deep"),
        (("Main x",), "| k | v |\n| 1 | 2 |"),
        (("Main x", "Sub"), "loose text"),
        (("Main x", "Sub"), "中文换行"),
    ]


def test_boxes_beside_the_text_are_content() -> None:
    page = b'<body><p>x</p><div class="sidebar"><p>BACK TO BASICS</p></div><div class="navheader">Prev</div></body>'
    assert extract("p.html", "", page).text == "x\n\nBACK TO BASICS"


def test_what_no_encoding_can_hold_is_replaced() -> None:
    builder = TextBuilder(Limits())
    builder.heading(1, "a\ud835")
    builder.block("\ud83d\ude00 \udc00\x00\x0bend")
    found = builder.build("t\ud800")
    assert found.text.encode() == "a\ufffd\n\n😀 \ufffdend".encode()
    assert found.title == "t\ufffd"


def test_html_nested_without_end_is_read_without_recursion() -> None:
    found = extract("p.html", "", b"<div>" * 20_000 + b"deep inside")
    assert "deep inside" in found.text


def test_html_declares_its_chinese_encoding() -> None:
    page = '<html><head><meta charset="gbk"><title>页</title></head><body><p>数据库</p></body></html>'
    assert extract("p.html", "", page.encode("gbk")).title == "页"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "gb18030"])
def test_encodings(encoding: str) -> None:
    text = "# 水泵手册\n\n启动压力是三百千帕，不得超过。"
    found = extract("a.md", "", text.encode(encoding))
    assert found.title == "水泵手册"
    assert found.text.endswith("启动压力是三百千帕，不得超过。")


def test_pdf_with_an_outline() -> None:
    data = pdf(
        [
            ["Starting the pump", "Turn the red lever. Exam-", "ples of levers are shown below. Never twice."],
            ["Stopping", "水泵的启动压力是三百千帕。"],
        ],
        {0: "Starting the pump", 1: "Stopping"},
    )
    found = extract("pump.pdf", "", data)
    assert found.title == "Manual of pumps"
    assert blocks(found) == [
        (("Starting the pump",), "Turn the red lever. Examples of levers are shown below. Never twice."),
        (("Stopping",), "水泵的启动压力是三百千帕。"),
    ]
    assert found.text.count("\f") == 1


def test_pdf_without_an_outline_is_cut_by_pages() -> None:
    found = extract("pump.pdf", "", pdf([["First."], ["Second."]]))
    assert blocks(found) == [(("p. 1",), "First."), (("p. 2",), "Second.")]


def test_pdf_is_recognised_without_its_ending() -> None:
    data = pdf([["First."]])
    assert choose("upload", "", data).name == "pdf"
    assert choose("upload", "application/pdf", b"").name == "pdf"
    assert choose("a.md", "application/pdf", data).name == "markdown"


def test_docx() -> None:
    def fill(document: object) -> None:
        document.core_properties.title = "Pumps"
        document.add_heading("Install", 1)
        document.add_paragraph("Run the installer as root.")
        document.add_paragraph("one", style="List Bullet")
        document.add_paragraph("two", style="List Bullet")
        document.add_heading("端口", 2)
        table = document.add_table(rows=2, cols=2)
        for row, (name, value) in enumerate((("k", "v"), ("端口", "8000"))):
            table.cell(row, 0).text, table.cell(row, 1).text = name, value

    found = extract("a.docx", "", word(fill))
    assert found.title == "Pumps"
    assert blocks(found) == [
        (("Install",), "Run the installer as root."),
        (("Install",), "- one\n- two"),
        (("Install", "端口"), "| k | v |\n| 端口 | 8000 |"),
    ]


def bomb() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/document.xml", b"0" * 3_000_000)
    return out.getvalue()


def other_archive() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("hello.txt", b"x")
    return out.getvalue()


@pytest.mark.parametrize(
    ("path", "data", "words"),
    [
        ("a.md", b"", "empty"),
        ("a.md", b" \n\t\n", "empty"),
        ("a.md", b"---\n---\n", "no text"),
        ("a.html", b"<html><body><script>x</script></body></html>", "no text"),
        ("a.md", b"\x89PNG\r\n\x1a\n\0\0\0", "binary data"),
        ("a.md", b"abc\0def", "binary data"),
        ("a.md", bytes(range(1, 9)) * 10, "binary data"),
        ("a.txt", b"%PDF-1.7 rest", "binary data"),
        ("a.txt", "café à la crème, déjà vu".encode("latin-1"), "UTF-8"),
        ("a.txt", b"\xff\xfe" + "x".encode("utf-16-le") + b"\x00", "UTF-16"),
        ("a.pdf", b"%PDF-1.7\nrubbish", "damaged"),
        ("a.pdf", b"not a pdf at all", "damaged"),
        ("a.docx", b"PK\x03\x04rubbish", "damaged"),
        ("a.docx", b"plain text", "damaged"),
        ("a.docx", other_archive(), "no Word document"),
        ("a.docx", bomb(), "unpacks to 3,000,000 bytes"),
        ("big.txt", b"x" * 2_000_001, "PARLEY_MAX_DOCUMENT"),
        ("long.txt", b"x " * 300_000, "characters of text"),
    ],
)
def test_refused(path: str, data: bytes, words: str) -> None:
    limits = Limits(document=2_000_000, unpacked=1_000_000, text=500_000)
    with pytest.raises(Invalid, match=words) as error:
        extract(path, "", data, limits)
    assert error.value.code == "invalid"


def test_a_locked_pdf_is_refused() -> None:
    with pytest.raises(Invalid, match="protected by a password"):
        extract("a.pdf", "", pdf([["secret"]], password="x"))


def test_a_pdf_with_too_many_pages_is_refused() -> None:
    with pytest.raises(Invalid, match="more than 2 pages"):
        extract("a.pdf", "", pdf([["a"], ["b"], ["c"]]), Limits(pages=2))


def test_a_scanned_pdf_is_refused() -> None:
    with pytest.raises(Invalid, match="text recognition"):
        extract("a.pdf", "", pdf([[], []]))


def test_a_cut_pdf_leaks_no_warning(capsys: pytest.CaptureFixture[str]) -> None:
    data = pdf([["one"], ["two"]])
    try:
        extract("a.pdf", "", data[: len(data) * 2 // 3])
    except Invalid as error:
        assert "damaged" in str(error) or "no text" in str(error)
    seen = capsys.readouterr()
    assert seen.out == ""
    assert seen.err == ""
