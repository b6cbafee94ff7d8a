"""What a question is and which passages it finds, against the conversation that it is asked in.

By the same code for a turn and ahead of one. What was found ahead is used by the turn only where the same search would
find the same now: it is for the same words, and the index here holds of the base what the one that was searched held.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from parley_protocol.events import Source
from parley_protocol.work import ChatMessage, Early, Retrieve, SearchPassages
from parley_rag import conversation
from parley_rag.retrieval import Query, Retriever
from parley_rag.routing import Decision, Route, decide
from parley_runtime.answering import RETRIEVING
from parley_runtime.store.ports import Exchange, Store
from parley_runtime.telemetry import metrics, names, tracing

NEAR_BEST = 0.35
"""Passages that score less than this share of the best one are noise beside it. (Known items score 0.79 of the best
or more in 99 of 100 questions of ``bench/retrieval``.)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """``passages`` offered to an answer, none scored below ``min_score``; ``history_turns`` read from the store; code
    points of history in a prompt.
    """

    passages: int = 5
    min_score: float = 0.08
    history_turns: int = 6
    history_chars: int = 6_000
    engine: str = ""
    """Of jobs that name none, where it is known here."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, and what was said before it. ``query`` is what to look for."""

    history: list[Exchange]
    query: Query
    decision: Decision


class Positions(Protocol):
    """Says what a retriever holds. See :class:`parley_rag.retrieval.IndexFollower`."""

    def position(self, tenant: str, kb: str) -> int | None:
        """Two processes that say the same of a base hold the same of it; None: that cannot be told at present."""
        ...


class Finder:
    """Shared by everything that searches as a turn does; keeps nothing between questions."""

    def __init__(
        self, store: Store, retriever: Retriever, options: Options, positions: Positions | None = None
    ) -> None:
        """``positions`` None: nothing can be found ahead of a turn, and nothing that was is used."""
        self._store = store
        self._retriever = retriever
        self._options = options
        self._positions = positions

    async def asked(self, tenant: str, session: str, question: str, messages: Sequence[ChatMessage]) -> Asked:
        """``messages``: the client's own conversation, used instead of the stored one. Raises Unavailable."""
        history = await self._history(tenant, session, messages)
        query, leaned = conversation.rewrite(question, history)
        return Asked(history, query, decide(question, leans=leaned))

    async def search(self, job: Retrieve, query: Query) -> list[Source]:
        """Passages worth showing to an engine. Raises Unavailable."""
        early = job.early
        if early is not None:
            fits = self._fits(early, job, query)
            metrics.counter(names.EARLY).labels("used" if fits else "stale").inc()
            if fits:
                return relevant(early.sources, self._options.min_score)
        sources = await self._look(job.key.tenant, job.key.session, job.kb, query)
        return relevant(sources, self._options.min_score)

    async def ahead(self, command: SearchPassages) -> Early | None:
        """What ``search`` will find for the foreseen turn, if nothing changes. None: that turn will not search, or it
        cannot be told what was searched. Raises Unavailable.
        """
        turn = command.foreseen
        if turn is None or self._positions is None or self._options.engine in RETRIEVING:
            return None
        asked = await self.asked(command.tenant, turn.session, command.query, turn.messages)
        at = self._positions.position(command.tenant, command.kb)
        if asked.decision.route is not Route.KNOWLEDGE_BASE or at is None:
            return None
        sources = await self._look(command.tenant, turn.session, command.kb, asked.query)
        if self._positions.position(command.tenant, command.kb) != at:
            return None
        return Early(
            kb=command.kb,
            query=asked.query.text,
            context=asked.query.context,
            limit=self._options.passages,
            at=at,
            sources=tuple(sources),
        )

    def _fits(self, early: Early, job: Retrieve, query: Query) -> bool:
        at = None if self._positions is None else self._positions.position(job.key.tenant, job.kb)
        now = (job.kb, query.text, query.context, self._options.passages, at)
        return at is not None and now == (early.kb, early.query, early.context, early.limit, early.at)

    async def _history(self, tenant: str, session: str, messages: Sequence[ChatMessage]) -> list[Exchange]:
        if messages:
            return exchanges(around(messages)[0])
        if not self._options.history_turns:
            return []
        return await self._store.conversation(tenant, session, limit=self._options.history_turns)

    async def _look(self, tenant: str, session: str, kb: str, query: Query) -> list[Source]:
        begun = time.perf_counter()
        attributes: tracing.Attributes = {
            names.ATTR_KB: kb,
            names.ATTR_CONVERSATION: tracing.conversation(session),
        }
        with tracing.span(names.SPAN_RETRIEVAL.format(kb=kb), kind="internal", attributes=attributes):
            sources = await self._retriever.search(tenant, kb, query, self._options.passages)
        metrics.histogram(names.RETRIEVE_SECONDS).observe(time.perf_counter() - begun)
        return sources


def relevant(sources: Sequence[Source], min_score: float) -> list[Source]:
    """Those worth showing to an engine: at least ``min_score``, and near enough to the best."""
    floor = max(min_score, NEAR_BEST * sources[0].score) if sources else 0.0
    return [source for source in sources if source.score >= floor]


def around(messages: Sequence[ChatMessage]) -> tuple[Sequence[ChatMessage], Sequence[ChatMessage]]:
    """What a client's own conversation holds before and after its question, which is the user's last message."""
    for index in range(len(messages) - 1, -1, -1):
        if messages[index].role == "user":
            return messages[:index], messages[index + 1 :]
    return messages, ()


def exchanges(messages: Sequence[ChatMessage]) -> list[Exchange]:
    """A client's own messages as questions with their answers; messages of other roles are left out."""
    found: list[Exchange] = []
    question = ""
    for message in messages:
        if message.role == "user":
            if question:
                found.append(Exchange("", question, ""))
            question = message.content
        elif message.role == "assistant" and question and not message.calls:
            found.append(Exchange("", question, message.content))
            question = ""
    if question:
        found.append(Exchange("", question, ""))
    return found
