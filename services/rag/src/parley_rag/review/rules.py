"""Finds the playbook's rules for a clause: the search finds passages, and a rule is the whole section of one."""

import re
from collections.abc import Sequence

import msgspec

from parley_protocol.events import Source
from parley_rag.retrieval import Query, Retriever
from parley_runtime.store.ports import KnowledgeStore, StoredPassage

PASSAGES = 12
"""Passages looked at for one clause."""
MAX_RULES = 8
"""Rules offered to an assessor."""
MAX_RULE = 4_000
"""Code points of a rule; the rest of a longer section is not read."""


class RuleFinder:
    """For one tenant and playbook. Make one for each job: documents are read once and not looked at again."""

    def __init__(self, retriever: Retriever, store: KnowledgeStore, tenant: str, kb: str) -> None:
        self._retriever = retriever
        self._store = store
        self._tenant = tenant
        self._kb = kb
        self._documents: dict[str, dict[str, Source]] = {}

    async def rules(self, clause: str) -> list[Source]:
        """Best first. Raises Unavailable."""
        found = await self._retriever.search(self._tenant, self._kb, Query(clause), PASSAGES)
        rules: dict[tuple[str, str], Source] = {}
        for source in found:
            sections = await self._sections(source.document)
            rules.setdefault((source.document, source.title), sections.get(source.title, source))
        return list(rules.values())[:MAX_RULES]

    async def _sections(self, document: str) -> dict[str, Source]:
        sections = self._documents.get(document)
        if sections is None:
            passages = await self._store.passages(self._tenant, self._kb, document)
            sections = self._documents[document] = joined(passages, document, self._kb)
        return sections


_BEGINS = re.compile(r"[-*•#|]|[^:：\n{\[]{1,40}[:：]")


def _space(passage: str, width: int) -> str:
    """What was between a passage and the one before it: a line's end where it begins a line of a rule, else a space.
    A long line is cut too, and its rest alone would say something else.
    """
    return "\n" if width > 1 or _BEGINS.match(passage) else " "


def joined(passages: Sequence[StoredPassage], document: str, kb: str) -> dict[str, Source]:
    """The sections of a document by title, each with all its passages' text. Pure."""
    sections: dict[str, Source] = {}
    for passage in passages:
        known = sections.get(passage.title)
        if known is None:
            sections[passage.title] = Source(
                passage.id, document, passage.title, 0.0, passage.text, passage.start, passage.end, kb
            )
            continue
        overlap = known.end - passage.start
        more = passage.text[overlap:] if overlap >= 0 else _space(passage.text, -overlap) + passage.text
        text = (known.text + more)[:MAX_RULE]
        sections[passage.title] = msgspec.structs.replace(known, text=text, end=max(known.end, passage.end))
    return sections
