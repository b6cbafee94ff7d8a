"""Turns without a socket: the seam for HTTP routes and for dialects.

    async for frame in ask(hub, identity, text="...", kb="default"):
        ...

A virtual socket follows a session of its own, so everything a socket is promised holds here too. Leaving the loop early
does not cancel the turn; call :func:`cancel`, or pass ``cancel_on_leave``.
"""

import asyncio
import secrets
import typing
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import msgspec

from parley_gateway.core.session import Session
from parley_gateway.core.view import View
from parley_gateway.hub import Hub
from parley_gateway.identity import Identity
from parley_gateway.turns import make_request
from parley_protocol.client import Accepted, Done, ErrorFrame, ServerFrame, TurnFrame
from parley_protocol.faults import FaultCode, ProtocolError
from parley_protocol.ids import SessionId, TurnId
from parley_protocol.work import ChatMessage, Early, Sampling
from parley_runtime.errors import Conflict, Invalid, Overloaded, ParleyError, Unavailable
from parley_runtime.telemetry import names
from parley_runtime.telemetry.metrics import counter

GOING = "this gateway is going away; send the request again"

Frame = Accepted | TurnFrame
_FRAMES = typing.get_args(Accepted | TurnFrame)


class VirtualSink:
    """A sink for one turn: views write when the reader asks for the next frame, as a slow socket's do."""

    def __init__(self) -> None:
        self.ended = False
        """The turn's end has been read."""
        self._control: list[ServerFrame] = []
        self._views: list[View] = []
        self._error: ParleyError | None = None
        self._ready = asyncio.Event()

    def push(self, frame: ServerFrame) -> None:
        """A frame without ``seq``."""
        self._control.append(frame)
        self._ready.set()

    def touch(self, view: View) -> None:
        """The view has something to write."""
        if not view.queued:
            view.queued = True
            self._views.append(view)
            self._ready.set()

    def leave(self, error: ParleyError) -> None:
        """The reader is to go: it gets ``error`` once it has read what there is."""
        self._error = error
        self._ready.set()

    async def next(self) -> ServerFrame:
        """The next frame, waited for. Raises what :meth:`leave` was given."""
        while True:
            if self._control:
                return self._control.pop(0)
            if self._views:
                frame = self._views[0].next_frame()
                if frame is not None:
                    return frame
                self._views.pop(0).queued = False
                continue
            if self._error is not None:
                raise self._error
            self._ready.clear()
            await self._ready.wait()


async def ask(
    hub: Hub,
    identity: Identity,
    text: str,
    *,
    kb: str | None = None,
    context: dict[str, Any] | None = None,
    messages: tuple[ChatMessage, ...] = (),
    sampling: Sampling | None = None,
    engine: str = "",
    user: str = "",
    session: SessionId | None = None,
    turn: TurnId | None = None,
    deadline_s: float | None = None,
    cancel_on_leave: bool = False,
    early: Early | None = None,
) -> AsyncGenerator[Frame, None]:
    """Run one turn and yield ``Accepted`` and then its frames up to and including ``Done``.

    ``session`` (None: a new one) must have been made for ``identity``; ``turn`` (None: a new id) makes the call
    idempotent within its session. ``messages`` is a conversation used instead of the stored one. ``engine``,
    ``user`` and ``early`` are those of :class:`parley_protocol.work.Retrieve`.

    Raises:
        ParleyError: nothing was taken: Invalid, Conflict, Overloaded (``retry_after_s``) or Unavailable. Overloaded may
            also come later, from a gateway that goes away before the turn has ended.
    """
    settings = hub.settings
    turn_id = turn or f"t{secrets.token_hex(10)}"
    held = _held(hub, identity, session)
    with _asking(hub, held, turn_id, cancel_on_leave=cancel_on_leave) as sink:
        request = make_request(
            turn_id,
            text,
            kb=kb,
            context=context,
            budget_s=min(settings.turns.budget_s, deadline_s or settings.turns.budget_s),
            max_text=settings.limits.max_text,
            messages=messages,
            sampling=sampling,
            engine=engine,
            user=user,
        )
        request = msgspec.structs.replace(request, early=early)
        hub.dispatch.apply(held.start(request, sink, hub.now()))
        async for frame in _frames(sink, turn_id):
            yield frame


@contextmanager
def _asking(hub: Hub, held: Session, turn: TurnId, *, cancel_on_leave: bool) -> Iterator[VirtualSink]:
    """A sink of the session for as long as somebody reads it."""
    sink = VirtualSink()
    hub.asks.add(sink)
    held.attach(sink)
    try:
        yield sink
    except ProtocolError as error:
        raise _refused(hub, error) from error
    finally:
        if cancel_on_leave and not sink.ended:
            with suppress(ProtocolError):
                hub.dispatch.apply(held.cancel(turn, hub.now()))
        hub.asks.discard(sink)
        held.detach(sink, hub.now())
        hub.registry.release(held)


def _held(hub: Hub, identity: Identity, session: SessionId | None) -> Session:
    """The session to ask in. Raises Overloaded while draining, Invalid for somebody else's id."""
    hub.check_open(GOING)
    if session is not None and not hub.sessions.verify(session, identity):
        raise Invalid("this session id was not made for this user; leave it out to begin a new session")
    return hub.registry.session(session or hub.sessions.make(identity), identity)


def _refused(hub: Hub, error: ProtocolError) -> ParleyError:
    wait_ms = None
    if error.code is FaultCode.OVERLOADED:
        counter(names.REFUSED).labels("session").inc()
        wait_ms = int(hub.admission.turn_s() * 1000)
    return error_of(error.code, str(error), wait_ms)


async def _frames(sink: VirtualSink, turn: TurnId) -> AsyncIterator[Frame]:
    while True:
        frame = await sink.next()
        if isinstance(frame, ErrorFrame):
            if frame.turn == turn:
                raise error_of(FaultCode(frame.code), frame.message, frame.retry_after_ms)
        elif isinstance(frame, _FRAMES) and frame.turn == turn:
            sink.ended = isinstance(frame, Done)
            yield frame
            if sink.ended:
                return


def error_of(code: FaultCode, message: str, retry_after_ms: int | None) -> ParleyError:
    """A refusal as an error of the tree."""
    kinds: dict[FaultCode, Any] = {FaultCode.CONFLICT: Conflict, FaultCode.UNAVAILABLE: Unavailable}
    if code in (FaultCode.OVERLOADED, FaultCode.RATE_LIMITED):
        return Overloaded(message, retry_after_s=(retry_after_ms or 1000) / 1000)
    kind: type[ParleyError] = kinds.get(code, Invalid)
    return kind(message)
