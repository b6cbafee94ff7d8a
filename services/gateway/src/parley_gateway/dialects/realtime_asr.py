"""D4, realtime ASR text: ``ws://host/ws/realtime-asr``. A client's recogniser sends what it hears; questions in it are
answered, streamed.
"""

import asyncio
import secrets
import uuid
from collections.abc import Iterable, Mapping

from parley_gateway.dialects.asr import frames
from parley_gateway.dialects.asr.frames import Control
from parley_gateway.dialects.asr.machine import Asked, Begin, Cancel, Effect, Machine, Say
from parley_gateway.dialects.asr.questions import is_question
from parley_gateway.dialects.dialect import Dialect
from parley_gateway.dialects.socket import DialectSocket
from parley_gateway.dialects.talk import Failed, Question, answer, cancel, no_documents, session_of
from parley_protocol.faults import FaultCode, ProtocolError
from parley_protocol.ids import TurnId
from parley_runtime.telemetry.logging import get_logger

log = get_logger("parley.dialect")

NAME = "realtime_asr"
SYSTEM = "d4"
PIECE = 65_536
"""Characters of one answer frame: what a slow client has not read yet comes in one text."""
STOP_S = 1.0
"""How long a stop waits for the stored end of an answer before it says ``final`` without it."""


class RealtimeAsr:
    """One socket of D4. Answers run in a task, one at a time; frames of the client are handled meanwhile."""

    def __init__(self, socket: DialectSocket) -> None:
        self._socket = socket
        self._machine = Machine(str(uuid.uuid4()), is_question, limit=socket.hub.settings.asr.queued)
        self._task: asyncio.Task[None] | None = None
        self._question: Question | None = None

    @property
    def busy(self) -> bool:
        return self._machine.busy

    def greet(self) -> None:
        self._carry(self._machine.greet())

    async def hear(self, data: str | bytes) -> None:
        heard = frames.decoded(data, self._socket.hub.settings.limits.max_text)
        machine = self._machine
        effects = machine.control(heard.action) if isinstance(heard, Control) else machine.chunk(heard)
        for effect in effects:
            if isinstance(effect, Cancel):
                await self._stop(effect.asked)
        self._carry(effects)

    def refuse(self, error: ProtocolError) -> None:
        self._socket.send("error", frames.refusal(error))

    def gone(self) -> None:
        if self._machine.waiting:
            log.info("questions of a client who has gone are not asked", questions=self._machine.waiting)
        if self._task is not None:
            self._task.cancel()  # nobody reads it here; the turn runs on and is stored

    def _carry(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            match effect:
                case Say(kind, frame):
                    self._socket.send(kind, frame)
                case Begin(asked):
                    self._begin(asked)
                case Cancel():
                    pass  # waited for where it was asked

    def _begin(self, asked: Asked) -> None:
        socket = self._socket
        settings = socket.hub.settings
        self._question = question = Question(
            text=asked.text,
            session=session_of(socket.hub, socket.identity, SYSTEM, asked.session),
            kb=settings.asr.kb,
            engine=settings.asr.engine(settings.engine),
            user=asked.session,
            turn=TurnId(f"a{secrets.token_hex(10)}"),
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

    async def _stop(self, asked: Asked) -> None:
        """The turn is cancelled, which frees its seat at the engine; the rest of what it had said by then is told."""
        task, question = self._task, self._question
        assert task is not None
        assert question is not None
        if cancel(self._socket.hub, question):
            await asyncio.wait({task}, timeout=STOP_S)
        else:
            task.cancel()  # it has not begun: it never will
        self._carry(self._machine.give_up(asked))


async def open_socket(socket: DialectSocket, _: Mapping[str, str]) -> RealtimeAsr:
    """See :data:`parley_gateway.dialects.dialect.Open`."""
    return RealtimeAsr(socket)


DIALECT = Dialect(
    name=NAME,
    path="/ws/realtime-asr",
    system=SYSTEM,
    open=open_socket,
    error=frames.refusal,
)
