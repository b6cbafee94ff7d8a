"""Questions of one socket as turns: one at a time, told as they are answered."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterable

from parley_gateway.dialects.asr import frames
from parley_gateway.dialects.asr.machine import Asked, Effect, Machine
from parley_gateway.dialects.socket import DialectSocket
from parley_gateway.dialects.talk import Failed, Question, answer, cancel, no_documents, session_of
from parley_protocol.faults import FaultCode
from parley_protocol.ids import TurnId
from parley_protocol.work import Early
from parley_runtime.telemetry.logging import get_logger

log = get_logger("parley.dialect")

NAME = "realtime_asr"
SYSTEM = "d4"
PIECE = 65_536
"""Characters of one answer frame: what a slow client has not read yet comes in one text."""
STOP_S = 1.0
"""How long a stop waits for the stored end of an answer before it says ``final`` without it."""


class Answering:
    """What becomes of a question is told to the machine, and ``carry`` does what that says."""

    def __init__(self, socket: DialectSocket, machine: Machine, carry: Callable[[Iterable[Effect]], None]) -> None:
        self._socket = socket
        self._machine = machine
        self._carry = carry
        self._task: asyncio.Task[None] | None = None
        self._question: Question | None = None

    def begin(self, asked: Asked, early: Early | None) -> None:
        """``early``: what was found for it while it was being said."""
        socket = self._socket
        settings = socket.hub.settings
        self._question = question = Question(
            text=asked.text,
            session=session_of(socket.hub, socket.identity, SYSTEM, asked.session),
            kb=settings.asr.kb,
            engine=settings.asr.engine(settings.engine),
            user=asked.session,
            turn=TurnId(f"a{secrets.token_hex(10)}"),
            early=early,
        )
        self._task = asyncio.get_running_loop().create_task(self._answer(asked, question), name="realtime asr answer")

    async def _answer(self, asked: Asked, question: Question) -> None:
        """One question to its end. What is not written yet waits in the turn, not here."""
        socket, machine = self._socket, self._machine

        async def told(text: str, anew: bool) -> None:
            for start in range(0, len(text), PIECE):
                await socket.room()
                self._carry(machine.piece(asked, text[start : start + PIECE], anew=anew and not start))

        try:
            outcome = await answer(socket.hub, socket.identity, question, told)
        except Exception:
            log.exception("answer failed on a defect", dialect=NAME)
            outcome = Failed(FaultCode.FAILED, "this question could not be worked on; ask again")
        if said := no_documents(outcome, asked.text):
            log.warning(
                "the base of spoken questions is not there", dialect=NAME, kb=question.kb, setting="PARLEY_ASR_KB"
            )
            self._carry([*machine.piece(asked, said), *machine.ended(asked)])
        elif isinstance(outcome, Failed):
            self._carry(machine.failed(asked, frames.failure(outcome, asked.text)))
        else:
            self._carry(machine.ended(asked))

    async def stop(self, asked: Asked) -> None:
        """The turn is cancelled, which frees its seat at the engine; the rest of what it had said by then is told."""
        task, question = self._task, self._question
        assert task is not None
        assert question is not None
        if cancel(self._socket.hub, question):
            await asyncio.wait({task}, timeout=STOP_S)
        else:
            task.cancel()  # it has not begun: it never will
        self._carry(self._machine.give_up(asked))

    def close(self) -> None:
        """The client has gone."""
        if self._task is not None:
            self._task.cancel()  # nobody reads it here; the turn runs on and is stored
