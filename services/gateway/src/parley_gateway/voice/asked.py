"""A lease that is on offer: asked for, and taken by nobody yet. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from parley_gateway.voice.leasing import Ask, Boundary
from parley_protocol.events import Fault
from parley_protocol.faults import FaultCode


class Asked:
    """On offer under each of ``epochs``, from ``boundary`` on: the first that is taken counts."""

    def __init__(self, mint: Iterator[int], boundary: Boundary, now: float) -> None:
        self.epochs = [next(mint)]
        self.boundary = boundary
        self._mint = mint
        self._since = self._asked_at = now
        self._lost: FaultCode | None = None
        """The last publish came to nothing, for this reason."""

    @property
    def epoch(self) -> int:
        """The one it was last asked for under."""
        return self.epochs[-1]

    def unpublished(self, code: FaultCode, *, unknown: bool) -> None:
        """It was not published, or (``unknown``) may not have been, and may be taken yet: another epoch tells them
        apart.
        """
        self._lost = code
        if unknown:
            self.epochs.append(next(self._mint))

    def tick(self, now: float, again_s: float) -> list[Ask]:
        """Ask again: if it was not published, and every ``again_s``, as whoever took it may be past saying so."""
        cause = ""
        if self._lost is None:
            if now - self._asked_at <= again_s:
                return []
            self.epochs.append(next(self._mint))
            cause = "untaken"
        self._lost, self._asked_at = None, now
        return [Ask(self.epoch, self.boundary, cause)]

    def late(self, now: float, limit_s: float) -> bool:
        """Whether it should have been taken by now."""
        return now - self._since > limit_s

    def fault(self, *, first: bool) -> Fault:
        """Why nobody takes it."""
        if self._lost is FaultCode.UNAVAILABLE:
            return Fault(self._lost.value, "the message broker cannot be reached at present; try again", True)
        text = "every recogniser is busy; try again later" if first else "no recogniser is left; try again"
        return Fault(FaultCode.OVERLOADED.value, text, True)

    def extend(self, now: float) -> None:
        """Its time to be taken begins now."""
        self._since = now

    def forgive(self, now: float) -> None:
        """It counts as asked for now."""
        self._since = self._asked_at = now
