"""Audio of one answer on its way to an ear: what may be sent by now, and what has been heard. Pure: the caller says
what time it is (seconds, monotonic).

A listener is taken to play what it gets at once and without a pause, as long as there is any. It is kept ``lead_s``
ahead of that, and not more: what has been sent cannot be taken back by a client that is slow to flush.
"""

from parley_gateway.voice.tape import Piece, Tape

REPORT_S = 1.0
"""How long what a client has said of its playing is carried on by the clock."""
KEPT_S = 10.0
"""Audio kept of what was sent, for a client that says it is so far behind."""


class Listener:
    """Whoever plays the samples that it is ``sent``: how many it has played by when."""

    def __init__(self, rate: int) -> None:
        self.paused = False
        self._rate = rate
        self._base = 0
        self._since = 0.0
        """By then ``_base`` samples had been played."""
        self._told: tuple[int, float] | None = None
        """What it has said last: samples, and when."""

    def played(self, sent: int, now: float) -> int:
        """By the clock."""
        if self.paused:
            return self._base
        return min(sent, self._base + round(max(0.0, now - self._since) * self._rate))

    def settle(self, sent: int, now: float) -> int:
        """As :meth:`played`; if that is all, the time that passes before more is sent is not played later on."""
        self._base, self._since = self.played(sent, now), now
        return self._base

    def report(self, samples: int, now: float) -> None:
        """It says itself how many. Its word counts, carried on by the clock for a while."""
        self._told = (samples, now)

    def heard(self, sent: int, now: float) -> int:
        """By its own word, or else by the clock."""
        if self._told is None:
            return self.played(sent, now)
        samples, at = self._told
        return min(sent, samples + round(min(REPORT_S, max(0.0, now - at)) * self._rate))

    @property
    def surely(self) -> int:
        """As few as it may have heard when it was last settled, by the clock and by its own word."""
        return self._base if self._told is None else min(self._base, self._told[0])

    def begin(self, samples: int, now: float) -> None:
        """It plays from there on, now; what it has said of its playing was of something else."""
        self._base, self._since = samples, now
        self._told = None

    def resume(self, now: float) -> None:
        """Go on, now."""
        self.paused = False
        self._since = now


class Playout:
    """Reads a tape for a listener. Everything is counted in samples of ``rate``."""

    def __init__(self, rate: int, *, lead_s: float, frame_s: float) -> None:
        self.rate = rate
        self.tape = Tape()
        self._listener = Listener(rate)
        self._lead = max(1, round(lead_s * rate))
        self._frame = max(1, round(frame_s * rate))

    @property
    def sent(self) -> int:
        """Samples; what was taken back does not count."""
        return self.tape.at

    @property
    def paused(self) -> bool:
        """Whether it waits for :meth:`resume`."""
        return self._listener.paused

    # --- audio out --------------------------------------------------------------------------------------------

    def due(self, now: float) -> list[Piece]:
        """What may be sent now. From the return on it counts as sent."""
        if self.paused:
            return []
        tape = self.tape
        most = self._listener.settle(tape.at, now) + self._lead
        pieces: list[Piece] = []
        while tape.at < most and (piece := tape.read(self._frame)) is not None:
            pieces.append(piece)
        tape.forget(max(self._listener.surely, tape.at - round(KEPT_S * self.rate)))
        return pieces

    def wait_s(self, now: float) -> float | None:
        """Until more may be sent, or the end has been heard; None while only further audio can change anything."""
        if self.paused or self.tape.dry:
            return None
        ahead = (self.sent - self._listener.played(self.sent, now)) / self.rate
        if not self.tape.unread:
            return max(0.0, ahead)
        # A whole frame's room, so that frames are not cut to shreds.
        return max(0.0, ahead - (self._lead - min(self._frame, self._lead)) / self.rate)

    @property
    def given(self) -> bool:
        """Whether everything opened has been sent."""
        return not self.tape.unread and not self.paused

    def over(self, now: float) -> bool:
        """Whether everything opened has been sent, and played by now."""
        return self.given and self._listener.played(self.sent, now) >= self.sent

    # --- what was heard ---------------------------------------------------------------------------------------

    def report(self, samples: int, now: float) -> None:
        """The client says how much has been played. Its word counts, carried on by the clock for a while."""
        self._listener.report(max(0, min(samples, self.sent)), now)

    def heard(self, now: float) -> int:
        """Samples that have been played, by the client's word or else by the clock."""
        return self._listener.heard(self.sent, now)

    # --- the listener interrupts ------------------------------------------------------------------------------

    def pause(self, now: float) -> int:
        """Send nothing; what has been sent and not heard is taken back. Returns the samples heard."""
        heard = self.heard(now)
        self._listener.paused = True
        self._seek(heard, now)
        return self.sent

    def resume(self, now: float) -> None:
        """Go on from where :meth:`pause` or :meth:`back` have left it."""
        self._listener.resume(now)

    def back(self, sentence: int, fraction: float, now: float) -> None:
        """Go on from a place within a sentence that is still held."""
        clip = self.tape.clip(sentence)
        if clip is not None and clip.begin >= 0:
            self._seek(clip.begin + min(clip.samples, round(fraction * clip.samples)), now)

    def _seek(self, samples: int, now: float) -> None:
        self.tape.seek(samples)
        self._listener.begin(self.sent, now)

    def drop_from(self, sentence: int, now: float) -> bool:
        """Forget this sentence and all after it. True where some of their audio had been sent and not heard."""
        sent, heard, played = self.sent, self.heard(now), self._listener.played(self.sent, now)
        if not self.tape.cut(sentence):
            return False
        self._listener.begin(min(self.sent, played), now)
        return heard < sent
