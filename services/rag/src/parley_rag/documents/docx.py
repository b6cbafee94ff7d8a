"""DOCX by python-docx. Runs in a child process (see ``pool``); the archive's sizes are checked before it is opened."""

import io
import re
import zipfile
from typing import Any

from parley_rag.documents.builder import TextBuilder, flow
from parley_rag.documents.markdown import table_text
from parley_rag.documents.model import BlockKind, Extracted, Limits
from parley_runtime.errors import Invalid

_HEADING = re.compile(r"(?:heading|标题)\s*(\d)", re.IGNORECASE)


def extract(data: bytes, fallback_title: str, limits: Limits) -> Extracted:
    """Heading styles make sections; list paragraphs and tables are kept as text."""
    _check(data, limits)
    import docx

    try:
        document = docx.Document(io.BytesIO(data))
        builder = TextBuilder(limits)
        _body(builder, document)
        title = document.core_properties.title
    except Invalid:
        raise
    except Exception as error:
        raise Invalid(f"the DOCX is damaged and cannot be read ({type(error).__name__}); save it anew") from error
    return builder.build(flow(title or "") or builder.first_heading or fallback_title)


def _check(data: bytes, limits: Limits) -> None:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
            names = archive.namelist()
    except (zipfile.BadZipFile, ValueError, EOFError, NotImplementedError) as error:
        raise Invalid("the DOCX is damaged: it is not a readable archive; save it anew") from error
    if unpacked > limits.unpacked:
        raise Invalid(f"the DOCX unpacks to {unpacked:,} bytes, more than the {limits.unpacked:,} allowed")
    if "word/document.xml" not in names:
        raise Invalid("the file is an archive, but no Word document")


def _body(builder: TextBuilder, document: Any) -> None:
    items: list[str] = []
    for part in document.iter_inner_content():
        if hasattr(part, "rows"):
            _flush(builder, items)
            builder.block(table_text([_cells(row) for row in part.rows]), BlockKind.TABLE)
            continue
        style = part.style.name if part.style is not None else ""
        if style.startswith(("List", "列表")) or _numbered(part):
            items.append(f"- {flow(part.text)}")
            continue
        _flush(builder, items)
        if match := _HEADING.match(style):
            builder.heading(int(match.group(1)), part.text)
        elif style in ("Title", "标题"):
            builder.heading(1, part.text)
        else:
            builder.block(flow(part.text))
    _flush(builder, items)


def _flush(builder: TextBuilder, items: list[str]) -> None:
    builder.block("\n".join(item for item in items if item != "- "), BlockKind.LIST)
    items.clear()


def _numbered(paragraph: Any) -> bool:
    properties = paragraph._p.pPr  # python-docx has no public view of numbering
    return properties is not None and properties.numPr is not None


def _cells(row: Any) -> list[str]:
    """Merged cells come back once per column; each is kept once."""
    seen: list[Any] = []
    for cell in row.cells:
        if not seen or seen[-1]._tc is not cell._tc:
            seen.append(cell)
    return [flow(cell.text) for cell in seen]
