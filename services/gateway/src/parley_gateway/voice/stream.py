"""One stream of audio: what its client says, and how much of that has been heard. Pure.

The *boundary* is where the last utterance that was told ended. What comes after it is kept, so that any worker can
hear it from there, and hears the same. An utterance counts once, whichever worker is the first to tell it.
"""

from __future__ import annotations

from parley_gateway.voice.leasing import Boundary, Place
from parley_gateway.voice.ring import Ring
from parley_gateway.voice.told import Teller, Told
from parley_protocol.audio import Heard, Mark, Partial, SpeechStarted, SpeechStopped


class Stream:
    """``ring`` holds its audio and marks from the boundary on. What the methods return is news for the client."""

    def __init__(self, name: str, limit: int) -> None:
        self.name = name
        self.boundary = Boundary()
        self.ring = Ring(limit)
        self._teller = Teller()
        self._ended: int | None = None
        """Number of the END mark."""

    # --- the client -------------------------------------------------------------------------------------------

    def say(self, mark: Mark) -> None:
        """COMMIT, CLEAR or END; nothing follows END."""
        if self._ended is None:
            if mark is Mark.END:
                self._ended = self.ring.next
            self.ring.mark(mark)

    # --- what there is of it ----------------------------------------------------------------------------------

    @property
    def answered(self) -> bool:
        """Whether the end has been heard."""
        return self._ended is not None and self.boundary.mark > self._ended

    def forget(self, *needed: Place) -> None:
        """Drop what lies before the boundary and before each place that is ``needed`` yet."""
        at, mark = self.boundary.at, self.boundary.mark
        for place in needed:
            at, mark = min(at, place.at), min(mark, place.mark)
        self.ring.trim(at, mark)

    def close(self) -> None:
        """Nobody hears it any more: drop everything."""
        self.ring = Ring(0)

    # --- what is heard ----------------------------------------------------------------------------------------

    def again(self) -> None:
        """Another worker hears the utterance at hand from its beginning."""
        self._teller.replays()

    def on_speech(self, event: SpeechStarted | SpeechStopped | Partial) -> list[Told]:
        """News of the utterance at hand; of one that has been told there are none."""
        return self._teller.pass_on(event) if event.utterance == self.boundary.utterance else []

    def on_silence(self, utterance: int, keep: int) -> None:
        """``utterance`` begins at ``keep`` or later: if it is the one at hand, nobody needs what lies before that."""
        if utterance == self.boundary.utterance and keep > self.boundary.at:
            self._move(keep, self.boundary.mark, utterance)

    def on_heard(self, event: Heard) -> list[Told]:
        """The last word on an utterance; nothing is told if it has been told already."""
        if event.utterance != self.boundary.utterance:
            return []
        mark = self.boundary.mark
        if event.marked:
            while (marked := self.ring.marked(mark)) is not None and marked.mark is Mark.CLEAR:
                mark += 1
            mark += marked is not None
        self._move(event.keep, mark, event.utterance + 1)
        return self._teller.heard(event)

    def _move(self, at: int, mark: int, utterance: int) -> None:
        at = min(max(at, self.boundary.at), self.ring.end)
        while (marked := self.ring.marked(mark)) is not None and marked.mark is Mark.CLEAR and marked.at <= at:
            mark += 1
        self.boundary = Boundary(at, mark, utterance)
