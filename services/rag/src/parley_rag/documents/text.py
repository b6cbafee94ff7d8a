"""Plain text: paragraphs at blank lines."""

import re

from parley_rag.documents.builder import TextBuilder, clean
from parley_rag.documents.encoding import decode
from parley_rag.documents.model import Extracted, Limits

_BLANK = re.compile(r"\n[ \t]*\n\s*")


def extract(data: bytes, fallback_title: str, limits: Limits) -> Extracted:
    """Line breaks within a paragraph are kept. The title is the file's name."""
    builder = TextBuilder(limits)
    for paragraph in _BLANK.split(clean(decode(data))):
        builder.block(paragraph)
    return builder.build(fallback_title)
