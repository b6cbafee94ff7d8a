"""The streams that are open at this gateway, and how many there may be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from parley_gateway.voice.config import EarSettings
from parley_gateway.voice.ear import Ear
from parley_protocol.faults import FaultCode, ProtocolError
from parley_runtime.telemetry import names
from parley_runtime.telemetry.metrics import counter


class Roster:
    """Bounded for the gateway, and for each owner that is known."""

    def __init__(self, settings: EarSettings) -> None:
        self._streams = settings.streams
        self._each = settings.identity_streams
        self._ears: dict[str, Ear] = {}
        self._owners: Counter[object] = Counter()

    def __len__(self) -> int:
        return len(self._ears)

    def __iter__(self) -> Iterator[Ear]:
        """Those of now, whatever comes and goes meanwhile."""
        return iter(tuple(self._ears.values()))

    def get(self, stream: str) -> Ear | None:
        """The ear of that stream, while it is open."""
        return self._ears.get(stream)

    def check(self, owner: object) -> None:
        """Raises ProtocolError ``overloaded`` or ``rate_limited``: no more may be opened, or not by ``owner``."""
        if len(self._ears) >= self._streams:
            counter(names.REFUSED).labels("streams").inc()
            raise ProtocolError(FaultCode.OVERLOADED, "this gateway hears as many streams as it may; try again later")
        if owner is not None and self._each and self._owners[owner] >= self._each:
            counter(names.REFUSED).labels("identity_streams").inc()
            text = f"{self._each} streams of audio of this user are open; end one first"
            raise ProtocolError(FaultCode.RATE_LIMITED, text)

    def add(self, ear: Ear) -> None:
        """It is open."""
        self._ears[ear.lease.stream.name] = ear
        self._owners[ear.owner] += 1

    def remove(self, ear: Ear) -> bool:
        """It is not, any more; False if it was not."""
        if self._ears.pop(ear.lease.stream.name, None) is None:
            return False
        self._owners[ear.owner] -= 1
        if not self._owners[ear.owner]:
            del self._owners[ear.owner]
        return True
