"""From the bytes of a document to its passages, or to its text. Pure; ``reader`` decides where it runs."""

import msgspec

from parley_rag.chunking import Passage, chunk
from parley_rag.documents import Limits, extract


class Request(msgspec.Struct, frozen=True):
    """One document."""

    kb: str
    path: str
    media_type: str
    data: bytes
    limits: Limits
    whole: bool = False
    """The text as it stands, instead of passages."""


class Prepared(msgspec.Struct, frozen=True, tag="ok"):
    """What the store keeps of it."""

    title: str
    passages: tuple[Passage, ...]


class Whole(msgspec.Struct, frozen=True, tag="whole"):
    """All its text."""

    title: str
    text: str


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """It cannot be used; ``reason`` is for the person who sent it."""

    reason: str


Outcome = Prepared | Whole | Refused


def prepare(request: Request) -> Prepared | Whole:
    """Extract and, unless the whole is asked for, cut. Raises Invalid."""
    extracted = extract(request.path, request.media_type, request.data, request.limits)
    if request.whole:
        return Whole(extracted.title, extracted.text)
    return Prepared(extracted.title, tuple(chunk(extracted, kb=request.kb, path=request.path)))
