"""The control plane of one process: small, urgent, losable messages between processes.

One link carries both directions, so that neither a blocked publisher of work nor a busy consumer delays a ``stop``.
Every message is repeated by a watch until it is no longer needed; a lost one is counted and forgotten.
"""

import asyncio
import secrets
from collections.abc import Callable
from typing import Any, TypeVar, cast

from parley_protocol import codec
from parley_protocol.control import Audience, Control, Hail, Presence
from parley_protocol.events import Reply
from parley_protocol.faults import ProtocolError
from parley_protocol.routes import CONTROL, EVENTS, QueueSpec, control_queue
from parley_runtime.errors import ParleyError
from parley_runtime.ports import Broker, Delivery, Headers, Link, Message, Subscription
from parley_runtime.telemetry import names
from parley_runtime.telemetry.logging import get_logger
from parley_runtime.telemetry.metrics import counter

C = TypeVar("C", bound=Control)

PREFETCH = 1000
"""Control messages that the broker may hand over before they are settled; they are settled once per loop tick."""

MAX_WAITING = 1000
"""Posted messages that may wait for the broker; further ones are dropped and counted."""

TIMEOUT_S = 1.0
"""Deadline of one control publish: later than that its news is old."""

HEADERS: Headers = {"parley-kind": "control", "parley-v": 1}

log = get_logger(__name__)


class Mail:
    """Losable publishes over one link: each has its deadline, and what is lost is counted and forgotten."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._posted: set[asyncio.Task[bool]] = set()

    async def publish(self, exchange: str, key: str, body: bytes) -> bool:
        """True: the broker has it. False: lost."""
        message = Message(body, HEADERS, expires_s=None, durable=False)
        try:
            await self._link.publish(exchange, key, message, timeout_s=TIMEOUT_S, mandatory=False)
        except ParleyError as error:
            self._lost(type(error).__name__, key)
            return False
        return True

    def post(self, exchange: str, key: str, body: bytes) -> None:
        """The same without waiting; lost at once where :data:`MAX_WAITING` wait for the broker."""
        if len(self._posted) >= MAX_WAITING:
            self._lost("waiting", key)
            return
        task = asyncio.get_running_loop().create_task(self.publish(exchange, key, body))
        self._posted.add(task)
        task.add_done_callback(self._posted.discard)

    async def gone_out(self) -> None:
        """Whatever was posted has been published or lost."""
        await asyncio.gather(*self._posted, return_exceptions=True)

    def _lost(self, reason: str, key: str) -> None:
        counter(names.CONTROL_LOST).inc()
        log.info("control message lost", reason=reason, to=key)


class ControlPlane:
    """Typed dispatch in, losable publishes out. Made by :meth:`open`; register handlers before :meth:`start`."""

    def __init__(
        self, link: Link, *, process_id: str, audience: Audience, presence: Callable[[], Presence] | None = None
    ) -> None:
        self.process_id = process_id
        self._link = link
        self._mail = Mail(link)
        self._audience = audience
        self._presence = presence
        self._handlers: dict[type[Any], list[Callable[[Any], None]]] = {}
        self._subscription: Subscription | None = None
        self._last: Delivery | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        if presence is not None:
            self.on(Hail, self._answer)

    @classmethod
    async def open(
        cls,
        broker: Broker,
        *,
        process_id: str,
        audience: Audience,
        presence: Callable[[], Presence] | None = None,
    ) -> "ControlPlane":
        """A control plane on its own link. ``presence`` answers every Hail; without it none is answered.

        Raises Unavailable and ConfigError as ``Broker.open`` does.
        """
        link = await broker.open("control")
        return cls(link, process_id=process_id, audience=audience, presence=presence)

    def on(self, kind: type[C], handler: Callable[[C], None]) -> None:
        """Call ``handler`` on the loop for every message of ``kind``, in order of arrival; it must not block. Several
        handlers of one kind are called in order of registration, each even if the one before raised.
        """
        self._handlers.setdefault(kind, []).append(cast(Callable[[Any], None], handler))

    async def start(self, *, wait_s: float = 30.0) -> None:
        """Consume this process's control queue: a new queue for each connection, the old one deleted unread.

        Raises:
            Unavailable: not consuming within ``wait_s``.
        """
        self._subscription = await self._link.subscribe(
            self._queue, self._on_delivery, prefetch=PREFETCH, replaces=True
        )
        await self._subscription.wait_consuming(wait_s)

    def check(self) -> str | None:
        """For readiness: None while control messages are being consumed."""
        if self._subscription is not None and self._subscription.consuming:
            return None
        return "control messages are not being consumed; see the broker link's state"

    async def broadcast(self, audience: Audience, message: Control) -> bool:
        """To every process of ``audience``, this one included. True: the broker has it; False: lost, and counted."""
        return await self._mail.publish(CONTROL, audience.value, codec.pack(message))

    async def send(self, process_id: str, message: Control) -> bool:
        """To one process, which may be gone: True says only that the broker has it."""
        return await self._mail.publish(CONTROL, process_id, codec.pack(message))

    def post(self, key: str, message: Control) -> None:
        """Like :meth:`send` or :meth:`broadcast` (``key``: a process id or an audience) without waiting."""
        self._mail.post(CONTROL, key, codec.pack(message))

    def answer(self, reply_to: str, reply: Reply) -> None:
        """To whoever has asked, on its event queue, without waiting."""
        self._mail.post(EVENTS, reply_to, codec.pack(reply))

    async def aclose(self) -> None:
        """Stop consuming, let posted messages go out (each has its deadline), close the link. Idempotent."""
        if self._subscription is not None:
            await self._subscription.cancel()
        if self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._mail.gone_out()
        await self._link.close()

    def _queue(self) -> QueueSpec:
        return control_queue(self.process_id, secrets.token_hex(4), self._audience.value)

    def _on_delivery(self, delivery: Delivery) -> None:
        if self._last is None:
            task = asyncio.get_running_loop().create_task(self._settle())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self._last = delivery
        try:
            message = codec.unpack_control(delivery.body)
        except ProtocolError as error:
            counter(names.UNDECODABLE).labels("control").inc()
            log.warning("control message cannot be decoded; dropped", code=error.code.value)
            return
        for handler in self._handlers.get(type(message), ()):
            try:
                handler(message)
            except Exception:
                log.exception("control handler failed", kind=type(message).__name__)

    async def _settle(self) -> None:
        last, self._last = self._last, None
        if last is not None:
            await last.ack(multiple=True)

    def _answer(self, hail: Hail) -> None:
        assert self._presence is not None
        self.answer(hail.reply_to, Reply(hail.call, codec.pack(self._presence())))
