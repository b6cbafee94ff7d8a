"""What Parley asks of retrieval. The embedded index and any engine outside pass the same conformance suite."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from parley_protocol.events import Source
from parley_runtime.store.ports import StoredPassage


@dataclass(frozen=True, slots=True)
class Query:
    """What to look for. ``context``: words from the conversation, which count less than those of ``text``."""

    text: str
    context: str = ""


class Retriever(Protocol):
    """Finds passages. A base is named by (tenant, kb); nothing of one is ever found through another."""

    async def search(self, tenant: str, kb: str, query: Query, limit: int) -> list[Source]:
        """The best ``limit`` passages, best first, scores falling, equal scores in order of document and place.

        Empty when nothing matches, the query has no words, or the base does not exist. Any text is a valid query.
        Raises Unavailable when the index cannot answer at present.
        """
        ...

    async def upsert(self, tenant: str, kb: str, document: str, title: str, passages: Sequence[StoredPassage]) -> None:
        """Replace all passages of ``document``. Visible to the next search."""
        ...

    async def remove(self, tenant: str, kb: str, document: str) -> None:
        """Forget ``document``. Unknown ones are ignored."""
        ...

    def size(self) -> int:
        """Passages held, over all bases."""
        ...
