"""Audio of all streams for one worker: gathered into one message at a time, in order."""

from __future__ import annotations

from dataclasses import dataclass

from parley_gateway.voice.ear import Ear
from parley_gateway.voice.run import Run
from parley_protocol.audio import AudioPart, Mark

MESSAGE = 262_144
"""Bytes of audio in one message."""
SHARE = 131_072
"""Of which one stream has no more than so many: whoever is replayed lets the others pass."""


@dataclass(frozen=True, slots=True)
class Load:
    """What one message holds: leases to let go of, and parts of streams."""

    dismissed: list[AudioPart]
    taken: list[tuple[Ear, Run, list[AudioPart]]]

    @property
    def parts(self) -> tuple[AudioPart, ...]:
        """All of it, in order."""
        return (*self.dismissed, *(part for _, _, parts in self.taken for part in parts))


class Lane:
    """One message is on the way at most, so none can overtake another; what comes meanwhile goes into the next."""

    __slots__ = ("busy", "dismissed", "ears", "not_before", "urgent", "worker")

    def __init__(self, worker: str) -> None:
        self.worker = worker
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

    def take(self, now: float) -> Load:
        """What the next message holds. Streams that have more to send stay in line, behind the others; those whose
        lease has gone to another worker since are not in this one's any more.
        """
        dismissed, self.dismissed = self.dismissed, []
        self.urgent = False
        room = MESSAGE
        taken: list[tuple[Ear, Run, list[AudioPart]]] = []
        for ear in list(self.ears):
            if room <= 0:
                break
            del self.ears[ear]
            run = ear.lease.run
            if run is None or run.worker != self.worker:
                continue
            parts = run.sending.take(min(room, SHARE), now)
            if parts:
                room -= sum(len(part.data) for part in parts)
                taken.append((ear, run, parts))
            if run.sending.waiting and run.sending.has_room:
                self.ears[ear] = None
                self.urgent = True
        return Load(dismissed, taken)

    def put_back(self, load: Load) -> None:
        """It was not sent: all of it is to go with the next message."""
        for ear, run, parts in load.taken:
            run.sending.put_back(parts)
            self.ears[ear] = None
        self.dismissed = [*load.dismissed, *self.dismissed]
