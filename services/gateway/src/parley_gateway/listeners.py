"""The contact chat's sockets at this gateway, and which of them a message is for."""

from collections import defaultdict
from collections.abc import Collection
from typing import Protocol

from parley_protocol.contact import OWNER, ContactMessage
from parley_runtime.telemetry.logging import get_logger

log = get_logger("parley.contact")


class Listener(Protocol):
    """A socket of the chat."""

    tenant: str
    client: str

    def deliver(self, message: ContactMessage) -> bool:
        """Write the message; False where the socket is going. Never waits and never raises."""
        ...


class Listeners:
    """Owners get every message of their tenant, visitors what the owner says to them or to everybody."""

    def __init__(self) -> None:
        self._visitors: dict[tuple[str, str], Listener] = {}
        self._owners: dict[str, set[Listener]] = defaultdict(set)

    def __bool__(self) -> bool:
        return bool(self._visitors or self._owners)

    @property
    def owners(self) -> bool:
        """Whether any owner listens."""
        return bool(self._owners)

    def add(self, listener: Listener, *, owner: bool) -> None:
        """From here on."""
        if owner:
            self._owners[listener.tenant].add(listener)
        else:
            self._visitors[listener.tenant, listener.client] = listener

    def remove(self, listener: Listener) -> None:
        """Idempotent."""
        self._visitors.pop((listener.tenant, listener.client), None)
        owners = self._owners.get(listener.tenant, set())
        owners.discard(listener)
        if not owners:
            self._owners.pop(listener.tenant, None)

    def deliver(self, tenant: str, message: ContactMessage) -> int:
        """Write the message to whom it is for; returns how many visitors' sockets have it."""
        for owner in tuple(self._owners.get(tenant, ())):
            _write(owner, message)
        if message.sender != OWNER:
            return 0
        return sum(_write(visitor, message) for visitor in self._addressees(tenant, message.client_id))

    def _addressees(self, tenant: str, client: str) -> Collection[Listener]:
        if client:
            found = self._visitors.get((tenant, client))
            return () if found is None else (found,)
        return [visitor for (of, _), visitor in self._visitors.items() if of == tenant]


def _write(listener: Listener, message: ContactMessage) -> bool:
    """A socket that fails on a defect keeps no message from another, nor the next message from anybody."""
    try:
        return listener.deliver(message)
    except Exception:
        log.exception("a message could not be written to a socket on a defect", id=message.id)
        return False
