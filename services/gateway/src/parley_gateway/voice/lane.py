"""Audio of all streams for one worker: gathered into one message at a time, in order."""

from __future__ import annotations

from parley_gateway.voice.ear import Ear
from parley_protocol.audio import AudioPart, Mark

MESSAGE = 262_144
"""Bytes of audio in one message."""
SHARE = 131_072
"""Of which one stream has no more than so many: whoever is replayed lets the others pass."""


class Lane:
    """One message is on the way at most, so none can overtake another; what comes meanwhile goes into the next."""

    __slots__ = ("busy", "dismissed", "ears", "not_before", "urgent")

    def __init__(self) -> None:
        self.ears: dict[Ear, None] = {}
        """Those with something to send, in the order of their coming."""
        self.dismissed: list[AudioPart] = []
        self.busy = False
        self.urgent = False
        self.not_before = 0.0
        """A worker whose queue is full is left alone until then."""

    @property
    def idle(self) -> bool:
        """Whether nothing waits and nothing is on the way."""
        return not self.busy and not self.ears and not self.dismissed

    def let_go(self, stream: str, epoch: int) -> None:
        """The worker is to let go of a lease; said once, however often it is asked for while nothing can be sent."""
        part = AudioPart(stream, epoch, 0, b"", Mark.DROP)
        if part not in self.dismissed:
            self.dismissed.append(part)

    def take(self, now: float) -> tuple[list[AudioPart], list[tuple[Ear, list[AudioPart]]]]:
        """What the next message holds: leases to let go of, and the streams' parts. Streams that have more to send stay
        in line, behind the others.
        """
        dismissed, self.dismissed = self.dismissed, []
        self.urgent = False
        room, taken = MESSAGE, []
        for ear in list(self.ears):
            if room <= 0:
                break
            del self.ears[ear]
            parts = ear.lease.take(min(room, SHARE), now)
            if parts:
                room -= sum(len(part.data) for part in parts)
                taken.append((ear, parts))
            if ear.lease.waiting and ear.lease.open_window:
                self.ears[ear] = None
                self.urgent = True
        return dismissed, taken
