"""Asking workers: a command goes to a queue or to everybody, its replies come back on the event queue."""

import asyncio
import secrets
from collections.abc import Callable

from parley_protocol import codec
from parley_protocol.control import Audience, Hail, Presence
from parley_protocol.events import Reply
from parley_protocol.faults import FaultCode
from parley_protocol.routes import WORK, Stage
from parley_protocol.work import KnowledgeCommand, KnowledgeReply
from parley_runtime.control import ControlPlane
from parley_runtime.errors import (
    Conflict,
    Expired,
    Fatal,
    Invalid,
    NotFound,
    Overloaded,
    ParleyError,
    Unavailable,
    UnknownBase,
)
from parley_runtime.ports import Headers, Link, Message

HAIL_S = 0.3
"""How long a hail waits for answers; late ones are dropped."""
Enough = Callable[[list[bytes]], bool]
"""Whether the bodies that have come are all that will be waited for."""
HEADERS: Headers = {"parley-kind": "knowledge", "parley-v": 1}

_ERRORS: dict[str, Callable[[str], ParleyError]] = {
    FaultCode.NOT_FOUND: NotFound,
    FaultCode.UNKNOWN_KB: UnknownBase,
    FaultCode.CONFLICT: Conflict,
    FaultCode.INVALID: Invalid,
    FaultCode.TOO_LARGE: Invalid,
    FaultCode.UNAVAILABLE: Unavailable,
    FaultCode.EXPIRED: Expired,
}


class Calls:
    """Pending calls of one gateway, bounded; each ends with a reply or at its deadline."""

    def __init__(self, link: Link, control: ControlPlane, gateway: str, *, timeout_s: float, limit: int) -> None:
        self._link = link
        self._control = control
        self._timeout_s = timeout_s
        self._limit = limit
        self._pending: dict[str, asyncio.Future[Reply]] = {}
        self._gathers: dict[str, _Gather] = {}
        self.gateway = gateway
        """``reply_to`` of commands."""

    async def knowledge(
        self,
        command: Callable[[str, str], KnowledgeCommand],
        *,
        timeout_s: float | None = None,
        headers: Headers = HEADERS,
        spare: bool = False,
    ) -> KnowledgeReply:
        """Send ``command(call, reply_to)`` to a knowledge worker and return its answer. One to ``spare`` leaves half of
        the room for calls to the others.

        Raises:
            ParleyError: what the worker said; Unavailable where no worker or broker answered in time (the command may
                still be carried out); Overloaded where too many calls wait.
        """
        if len(self._pending) >= (self._limit // 2 if spare else self._limit):
            raise Overloaded("too many commands wait for an answer; try again soon", retry_after_s=1.0)
        limit = timeout_s or self._timeout_s
        call = secrets.token_hex(8)
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._pending[call] = future
        message = Message(codec.pack(command(call, self.gateway)), headers, expires_s=limit, durable=not spare)
        try:
            async with asyncio.timeout(limit):
                await self._link.publish(WORK, Stage.KNOWLEDGE, message, timeout_s=limit)
                reply = await future
        except TimeoutError:
            raise Unavailable(f"no rag worker answered within {limit:g} s; is one running?") from None
        finally:
            del self._pending[call]
        if reply.fault is not None:
            raise _ERRORS.get(reply.fault.code, Fatal)(reply.fault.message)
        return codec.unpack(reply.body, KnowledgeReply)

    async def hail(self, *, wait_s: float = HAIL_S) -> list[Presence]:
        """Whoever answers within ``wait_s``, by role and id."""

        def ask(call: str) -> None:
            for audience in Audience:
                self._control.post(audience.value, Hail(call, self.gateway))

        bodies = await self.gather(ask, wait_s=wait_s)
        found = [codec.unpack(body, Presence) for body in bodies]
        return sorted(found, key=lambda presence: (presence.role, presence.id))

    async def gather(
        self, ask: Callable[[str], None], *, wait_s: float, enough: Enough = lambda _: False
    ) -> list[bytes]:
        """Bodies of the replies to what ``ask(call)`` has posted: until they are ``enough``, or ``wait_s`` is over."""
        call = secrets.token_hex(8)
        gathering = self._gathers[call] = _Gather(enough)
        try:
            async with asyncio.timeout(wait_s):
                ask(call)
                await gathering.done.wait()
        except TimeoutError:
            pass
        finally:
            del self._gathers[call]
        return gathering.bodies

    def on_reply(self, reply: Reply) -> bool:
        """A reply from the event queue; False where nobody waits for it."""
        gathering = self._gathers.get(reply.call)
        if gathering is not None:
            gathering.take(reply.body)
            return True
        future = self._pending.get(reply.call)
        if future is None or future.done():
            return False
        future.set_result(reply)
        return True


class _Gather:
    """Replies of many to one question."""

    def __init__(self, enough: Enough) -> None:
        self.bodies: list[bytes] = []
        self.done = asyncio.Event()
        self._enough = enough

    def take(self, body: bytes) -> None:
        self.bodies.append(body)
        if self._enough(self.bodies):
            self.done.set()
