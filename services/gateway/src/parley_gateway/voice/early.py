"""Passages are looked for when a speaker pauses, for the case that the question ends there.

A retrieval that is ready when the question has been heard travels with it; the worker uses it only where the same
search would still find the same. It is never waited for, counts against nobody's limits, and is dropped when speech
goes on. Whatever goes wrong with it is counted, and the turn is as it would have been.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any

from parley_gateway.calls import HEADERS
from parley_protocol.faults import ProtocolError
from parley_protocol.ids import SessionId
from parley_protocol.work import ChatMessage, Early, Foreseen, SearchPassages
from parley_runtime.errors import ParleyError
from parley_runtime.telemetry import names, tracing
from parley_runtime.telemetry.logging import get_logger
from parley_runtime.telemetry.metrics import counter

if TYPE_CHECKING:
    from parley_gateway.hub import Hub
    from parley_gateway.identity import Identity

log = get_logger("parley.ear")

Find = Callable[[str, tuple[ChatMessage, ...]], Awaitable[Early | None]]
"""(question, the client's own conversation) -> what it finds, if that can be told."""
Spawn = Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"]


class Ahead:
    """One stream's: one search at a time, for the whole question as it stands at a pause. Every search that was asked
    for is counted by what became of it.
    """

    __slots__ = ("_find", "_found", "_open", "_spawn", "_task", "_text")

    def __init__(self, find: Find | None, spawn: Spawn) -> None:
        """``find`` None: nothing is looked for."""
        self._find = find
        self._spawn = spawn
        self._text = ""
        """What was looked for; empty: nothing."""
        self._found: Early | None = None
        self._open = False
        """What became of it has not been counted."""
        self._task: asyncio.Task[None] | None = None

    def said(self, text: str, *, paused: bool, messages: tuple[ChatMessage, ...] = ()) -> None:
        """The question so far. ``paused``: silence has begun that may end it."""
        if paused and text == self._text:
            return
        self.drop()
        if self._find is not None and paused and text:
            self._text, self._open = text, True
            counter(names.EARLY).labels("asked").inc()
            self._task = self._spawn(self._look(self._find, text, messages))

    def drop(self) -> None:
        """Speech goes on, or nothing will be asked."""
        self._end("resumed")

    def take(self, text: str) -> Early | None:
        """This is asked: what was found for it, if that is there."""
        found = self._found if text == self._text else None
        self._end("resumed" if text != self._text else "late" if found is None else "sent")
        return found

    def _end(self, outcome: str) -> None:
        if self._task is not None:
            self._task.cancel()
        self._count(outcome)
        self._task, self._found, self._text = None, None, ""

    def _count(self, outcome: str) -> None:
        if self._open:
            self._open = False
            counter(names.EARLY).labels(outcome).inc()

    async def _look(self, find: Find, text: str, messages: tuple[ChatMessage, ...]) -> None:
        found, outcome = None, "failed"
        try:
            found = await find(text, messages)
            outcome = "nothing"
        except (ParleyError, ProtocolError) as error:
            log.info("early retrieval failed", code=error.code.value)
        except Exception:
            log.exception("early retrieval failed on a defect")
        if self._task is not asyncio.current_task():
            return  # too late even to be cancelled
        self._found = found
        if found is None:
            self._count(outcome)


def ahead_of(hub: Hub, identity: Identity, session: SessionId, kb: str, context: Any = None) -> Ahead:
    """For turns of this session about this base. ``context``: the trace that they will belong to."""
    settings = hub.settings.early
    if not settings.on:
        return Ahead(None, hub.spawn)

    async def find(text: str, messages: tuple[ChatMessage, ...]) -> Early | None:
        def command(call: str, reply_to: str) -> SearchPassages:
            foreseen = Foreseen(session, messages)
            return SearchPassages(
                call=call, reply_to=reply_to, tenant=identity.tenant, kb=kb, query=text, foreseen=foreseen
            )

        headers = dict(HEADERS)
        tracing.inject(headers, context)
        reply = await hub.calls.knowledge(command, timeout_s=settings.wait_s, headers=headers, spare=True)
        return reply.early

    return Ahead(find, hub.spawn)
