"""Asking a turn on behalf of a dialect's client, and what became of it in words that every dialect can use."""

from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from parley_gateway.hub import Hub
from parley_gateway.identity import Identity
from parley_gateway.virtual import ask
from parley_protocol.client import Accepted, AnswerDelta, Done, Restarted, RetrievalFrame
from parley_protocol.events import TurnStatus
from parley_protocol.faults import FaultCode, ProtocolError
from parley_protocol.ids import SessionId, TurnId
from parley_protocol.work import ChatMessage, Early, Sampling
from parley_runtime.errors import Overloaded, ParleyError

Told = Callable[[str, bool], Awaitable[None]]
"""(more text, whether it starts anew). Awaited before the next piece is taken, so a slow client gets fewer pieces."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """``turn``: an id of the dialect's own, where it may have to cancel; None: a new one. ``engine``, ``user``
    and ``early`` as in :class:`parley_protocol.work.Retrieve`, ``messages`` and ``sampling`` as in
    :func:`parley_gateway.virtual.ask`.
    """

    text: str
    session: SessionId
    kb: str | None = None
    context: dict[str, Any] | None = None
    turn: TurnId | None = None
    engine: str = ""
    user: str = ""
    messages: tuple[ChatMessage, ...] = ()
    sampling: Sampling | None = None
    early: Early | None = None


@dataclass(frozen=True, slots=True)
class Answered:
    """The turn was answered; ``done.text`` is the whole answer, as stored."""

    done: Done
    retrieval: RetrievalFrame | None


@dataclass(frozen=True, slots=True)
class Failed:
    """No answer. ``message`` says what to do; ``retry_after_ms`` where trying again may help and it is known when."""

    code: FaultCode
    message: str
    retry_after_ms: int | None = None


def no_documents(outcome: Answered | Failed, question: str) -> str:
    """What to answer where the base that a client cannot name is not there yet; empty: the outcome is another."""
    if not isinstance(outcome, Failed) or outcome.code is not FaultCode.UNKNOWN_KB:
        return ""
    return _NO_DOCUMENTS_EN if question.isascii() else _NO_DOCUMENTS_ZH


_NO_DOCUMENTS_ZH = "知识库里还没有任何文档，无法回答这个问题。"
_NO_DOCUMENTS_EN = "Nothing is known about that: the knowledge base holds no documents yet."


def session_of(hub: Hub, identity: Identity, system: str, name: str) -> SessionId:
    """The session that a client of ``system`` means by ``name``: the same at every gateway of the installation."""
    return hub.sessions.named(identity, f"{system}\0{name}")


async def answer(
    hub: Hub,
    identity: Identity,
    question: Question,
    told: Told | None = None,
    *,
    accepted: Callable[[], None] | None = None,
) -> Answered | Failed:
    """Run one turn to its end; ``accepted`` is called when it is sure to have one. Cancelling the caller leaves the
    turn running: a disconnect is not a cancel.
    """
    retrieval: RetrievalFrame | None = None
    anew = False
    frames = ask(
        hub,
        identity,
        question.text,
        kb=question.kb,
        context=question.context,
        session=question.session,
        turn=question.turn,
        engine=question.engine,
        user=question.user,
        messages=question.messages,
        sampling=question.sampling,
        early=question.early,
    )
    try:
        async with aclosing(frames):
            async for frame in frames:
                match frame:
                    case Accepted() if accepted is not None:
                        accepted()
                    case RetrievalFrame():
                        retrieval = frame
                    case Restarted():
                        anew = True
                    case AnswerDelta() if told is not None:
                        await told(frame.text, anew)
                        anew = False
                    case Done():
                        return _ended(frame, retrieval)
                    case _:
                        pass
    except Overloaded as error:
        return Failed(FaultCode.OVERLOADED, str(error), int(error.retry_after_s * 1000))
    except (ParleyError, ProtocolError) as error:
        return Failed(error.code, str(error))
    return Failed(FaultCode.FAILED, "the turn ended without a terminal event")


def cancel(hub: Hub, question: Question) -> bool:
    """End the turn of a question that was asked under an id of its own: exactly the text delivered is kept, the
    engine's seat is freed, and its :func:`answer` tells what was not told yet and returns. False: it is not known here.
    """
    if question.turn is None:
        raise ValueError("a question without an id of its own cannot be cancelled")
    held = hub.registry.sessions.get(question.session)
    if held is None:
        return False
    try:
        hub.dispatch.apply(held.cancel(question.turn, hub.now()))
    except ProtocolError:
        return False
    return True


def _ended(done: Done, retrieval: RetrievalFrame | None) -> Answered | Failed:
    if done.status in (TurnStatus.COMPLETED, TurnStatus.CANCELLED):
        return Answered(done, retrieval)
    if done.fault is None:
        code = FaultCode.EXPIRED if done.status is TurnStatus.EXPIRED else FaultCode.FAILED
        return Failed(code, f"the turn ended as {done.status.value}")
    return Failed(fault_code(done.fault.code), done.fault.message)


def fault_code(text: str) -> FaultCode:
    """A fault's code as one that is known here."""
    try:
        return FaultCode(text)
    except ValueError:
        return FaultCode.FAILED
