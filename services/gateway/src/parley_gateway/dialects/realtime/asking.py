"""Responses as turns: asked, told as they are written and spoken, cancelled."""

import asyncio
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from parley_gateway.dialects.realtime import server
from parley_gateway.dialects.realtime.aloud import Given
from parley_gateway.dialects.realtime.effects import Ask, Effect, Say
from parley_gateway.dialects.realtime.items import FunctionCall
from parley_gateway.dialects.realtime.machine import Machine
from parley_gateway.dialects.realtime.response import Outcome, Plan, Responding, Stage
from parley_gateway.dialects.realtime.speaker import Speaker, Told
from parley_gateway.dialects.socket import DialectSocket
from parley_gateway.dialects.talk import Answered, Failed, Question, answer, cancel
from parley_protocol.client import Done
from parley_protocol.events import Ending, TurnStatus
from parley_protocol.faults import FaultCode
from parley_protocol.ids import SessionId, TurnId
from parley_protocol.work import Early, Sampling, Tool
from parley_runtime.telemetry.logging import get_logger

log = get_logger("parley.dialect")

NAME = "realtime"
MODEL = "parley"
PIECE = 16_384
"""Code points of one delta: what a slow client has not read yet comes in one text."""
CUTS: dict[str, Literal["max_output_tokens", "content_filter"]] = {
    "length": "max_output_tokens",
    "filter": "content_filter",
}
"""Why a response is incomplete, by what the engine says of its end."""


@dataclass(frozen=True, slots=True)
class Where:
    """Where a socket's turns go: its conversation's session, a knowledge base, a model; empty: the default one."""

    session: SessionId
    kb: str
    model: str


class Asking:
    """Of one socket. What becomes of a response is told to the machine, and ``carry`` does what that says."""

    def __init__(
        self, socket: DialectSocket, where: Where, machine: Machine, carry: Callable[[Iterable[Effect]], None]
    ) -> None:
        self._socket = socket
        self._where = where
        self._machine = machine
        self._carry = carry
        self._turns: dict[Responding, tuple[Question, asyncio.Task[None]]] = {}
        self.speaker = Speaker(socket.hub, Told(self._on_audio, self._on_void, self._on_spoken))

    def ask(self, asked: Ask, early: Early | None) -> None:
        """Begin a response; ``early``: what was found for it while it was being said."""
        plan, where = asked.response.plan, self._where
        question = Question(
            text=asked.prompt.question,
            session=self._socket.hub.sessions.make(self._socket.identity) if plan.alone else where.session,
            kb=where.kb or None,
            turn=TurnId(f"r{secrets.token_hex(10)}"),
            messages=asked.prompt.messages,
            sampling=sampling_of(plan, where.model),
            early=early,
        )
        task = asyncio.get_running_loop().create_task(self._answer(asked.response, question), name="realtime response")
        self._turns[asked.response] = (question, task)

    def cancel(self, response: Responding) -> None:
        """The turn's end is told by its task. One that has not been begun never will be."""
        if response not in self._turns:  # it is over, and is told once the client has read what there is
            return
        question, task = self._turns[response]
        if not cancel(self._socket.hub, question):
            task.cancel()
            self._turns.pop(response, None)
            self._carry(self._machine.ended(response, Outcome(end="cancelled")))

    def close(self) -> None:
        """The socket is gone."""
        self.speaker.close()
        for _, task in self._turns.values():
            task.cancel()  # nobody reads it here; the turn runs on and is stored

    async def _answer(self, response: Responding, question: Question) -> None:
        """One response to its end. What is not written yet waits in the turn, not here."""
        socket, machine = self._socket, self._machine

        def accepted() -> None:
            self._carry(machine.responses.accepted(response))
            if response.spoken:
                assert question.turn is not None
                self.speaker.say(response, question.session, question.turn)

        async def told(text: str, anew: bool) -> None:
            for start in range(0, len(text), PIECE):
                await socket.room()
                self._carry(machine.piece(response, text[start : start + PIECE], anew=anew and not start))

        try:
            outcome = await answer(socket.hub, socket.identity, question, told, accepted=accepted)
        except Exception:
            log.exception("response failed on a defect", dialect=NAME)
            outcome = Failed(FaultCode.FAILED, "this response could not be worked on; ask again")
        finally:
            self._turns.pop(response, None)
        await socket.room()
        if isinstance(outcome, Answered):
            self._carry(machine.ended(response, outcome_of(outcome.done)))
        else:
            self._carry(machine.responses.refused(response, outcome.code, outcome.message))
        if response.stage is Stage.OVER:
            self.speaker.hush(response)

    # --- its audio ----------------------------------------------------------------------------------------------

    def _on_audio(self, response: Responding, data: str, given: Given) -> None:
        self._carry(self._machine.audio(response, data, given))

    def _on_void(self, response: Responding) -> None:
        if response.stage is Stage.TELLING:
            self._carry([Say(server.OutputCleared(response_id=response.id))])

    def _on_spoken(self, response: Responding, error: server.ResponseError | None) -> None:
        self.speaker.hush(response)
        self._carry(self._machine.spoken(response, error))


def sampling_of(plan: Plan, model: str) -> Sampling:
    """What the engine is asked for."""
    tools = tuple(Tool(tool.name, tool.description or "", tool.parameters) for tool in plan.tools)
    return Sampling(
        model=None if model == MODEL else model,
        max_tokens=None if plan.max_output_tokens == "inf" else plan.max_output_tokens,
        tools=tools,
        tool_choice="" if plan.tool_choice == "auto" or not tools else plan.tool_choice,
    )


def outcome_of(done: Done) -> Outcome:
    """How a response ends whose turn was answered, or cancelled."""
    if done.status is TurnStatus.CANCELLED:
        return Outcome(end="cancelled", usage=done.usage, sources=done.sources)
    ending = done.ending or Ending()
    calls = [
        FunctionCall(id=server.new_id("item"), name=call.name, arguments=call.arguments, call_id=call.id)
        for call in ending.calls
    ]
    reason = CUTS.get(ending.finish)
    end: Literal["completed", "incomplete"] = "completed" if reason is None else "incomplete"
    return Outcome(end=end, reason=reason, usage=done.usage, sources=done.sources, calls=calls)
