"""The gateway's parts as one object: what endpoints and HTTP routes are given."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from parley_gateway.admission import Admission
from parley_gateway.auth import Authenticator
from parley_gateway.calls import Calls
from parley_gateway.config import GatewaySettings
from parley_gateway.contact import ContactDesk
from parley_gateway.dispatch import Dispatch
from parley_gateway.engine import EngineClient
from parley_gateway.identity import Identity, SessionIds
from parley_gateway.limits import Addresses
from parley_gateway.outbox import Flusher
from parley_gateway.readiness import Readiness
from parley_gateway.registry import Registry
from parley_gateway.reviews import ReviewDesk
from parley_gateway.tutoring import TutorDesk
from parley_gateway.voice.ears import Ears
from parley_gateway.voice.floor import FloorRules
from parley_gateway.voice.mouth import Mouths
from parley_protocol.client import Limits
from parley_protocol.faults import FaultCode, ProtocolError
from parley_runtime.control import ControlPlane
from parley_runtime.errors import Overloaded
from parley_runtime.ports import Link
from parley_runtime.process import Process
from parley_runtime.store.ports import Store
from parley_runtime.telemetry import names
from parley_runtime.telemetry.metrics import counter

if TYPE_CHECKING:
    from parley_gateway.sockets import Socket
    from parley_gateway.virtual import VirtualSink


@dataclass(slots=True)
class Hub:
    """``publisher`` publishes what is no turn, and may be asked for queue depths; ``store`` is for small rows, work on
    them is the workers'; ``draining`` refuses new sockets and turns.
    """

    settings: GatewaySettings
    process: Process
    registry: Registry
    admission: Admission
    dispatch: Dispatch
    calls: Calls
    publisher: Link
    store: Store
    control: ControlPlane
    contact: ContactDesk
    tutors: TutorDesk
    engine: EngineClient
    reviews: ReviewDesk
    ears: Ears
    floor: FloorRules
    mouths: Mouths
    auth: Authenticator
    sessions: SessionIds
    flusher: Flusher
    addresses: Addresses
    readiness: Readiness
    left: asyncio.Event = field(default_factory=asyncio.Event)
    """Set whenever a socket has gone or an HTTP request has been answered."""
    draining: bool = False
    degraded: str = ""
    """Why the broker cannot be reached; empty while it can."""
    connections: dict[int, Socket] = field(default_factory=dict)
    requests: set[object] = field(default_factory=set)
    """HTTP requests that are being answered."""
    asks: set[VirtualSink] = field(default_factory=set)
    """Turns that HTTP requests wait for."""
    per_identity: dict[tuple[str, str], int] = field(default_factory=dict)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def now(self) -> float:
        """Monotonic seconds."""
        return self.process.clock.monotonic()

    def count_identity(self, identity: Identity, step: int) -> int:
        """Open sockets of this identity, after ``step``; nobody counts those without a token."""
        if not identity.known:
            return 0
        key = (identity.tenant, identity.user)
        number = self.per_identity.get(key, 0) + step
        if number > 0:
            self.per_identity[key] = number
        else:
            self.per_identity.pop(key, None)
        return number

    def admit_identity(self, identity: Identity) -> None:
        """Count one more socket of this identity, which is to be counted off when it goes.

        Raises:
            ProtocolError: ``rate_limited``: as many are open as may be. It has been counted all the same.
        """
        limit = self.settings.limits.identity_sockets
        if limit and self.count_identity(identity, 1) > limit:
            raise ProtocolError(FaultCode.RATE_LIMITED, f"{limit} sockets of this user are open; close one first")

    def check_open(self, text: str) -> None:
        """Raises Overloaded with this text while the gateway is going away."""
        if self.draining:
            counter(names.REFUSED).labels("draining").inc()
            raise Overloaded(text, retry_after_s=self.admission.elsewhere_s())

    def limits(self) -> Limits:
        """What ``welcome`` says."""
        limits = self.settings.limits
        return Limits(
            frame=limits.max_message,
            text=limits.max_text,
            queued_turns=self.settings.turns.queued,
            rate=limits.message_rate,
        )

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """A task that ends with the gateway."""
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task
