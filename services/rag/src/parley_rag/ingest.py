"""From the bytes of a document to its passages. Pure; ``reader`` decides where it runs."""

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


class Prepared(msgspec.Struct, frozen=True, tag="ok"):
    """What the store keeps of it."""

    title: str
    passages: tuple[Passage, ...]


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """It cannot be used; ``reason`` is for the person who sent it."""

    reason: str


Outcome = Prepared | Refused


def prepare(request: Request) -> Prepared:
    """Extract and cut. Raises Invalid."""
    extracted = extract(request.path, request.media_type, request.data, request.limits)
    return Prepared(extracted.title, tuple(chunk(extracted, kb=request.kb, path=request.path)))
