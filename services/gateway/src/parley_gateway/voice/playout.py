"""Audio of one answer on its way to an ear: what may be sent by now, and what has been heard. Pure: the caller says
what time it is (seconds, monotonic).

A listener is taken to play what it gets at once and without a pause, as long as there is any. It is kept ``lead_s``
ahead of that, and not more: what has been sent cannot be taken back by a client that is slow to flush.
"""

from dataclasses import dataclass, field

SAMPLE = 2
"""Bytes of a sample."""
REPORT_S = 1.0
"""How long what a client has said of its playing is carried on by the clock."""
KEPT_S = 10.0
"""Audio kept of what was sent, for a client that says it is so far behind."""


@dataclass(slots=True)
class Clip:
    """Audio of one sentence. ``begin``: its place in the answer's audio, once that is known."""

    sentence: int
    begin: int = -1
    pcm: bytearray = field(default_factory=bytearray)
    whole: bool = False

    @property
    def samples(self) -> int:
        """So far."""
        return len(self.pcm) // SAMPLE


@dataclass(frozen=True, slots=True)
class Piece:
    """Audio that may be sent now: ``at`` samples into the answer's audio."""

    sentence: int
    at: int
    pcm: bytes


class Playout:
    """Clips are played in the order in which they were opened. Everything is counted in samples of ``rate``."""

    def __init__(self, rate: int, *, lead_s: float, frame_s: float) -> None:
        self.rate = rate
        self.paused = False
        self.sent = 0
        self._lead = max(1, round(lead_s * rate))
        self._frame = max(1, round(frame_s * rate))
        self._clips: list[Clip] = []
        self._next = 0
        """Index of the clip that is being sent."""
        self._base = 0
        self._since = 0.0
        """By then ``_base`` samples had been played."""
        self._told: tuple[int, float] | None = None
        """What the client has said last: samples, and when."""

    # --- audio in ---------------------------------------------------------------------------------------------

    def open(self, sentence: int) -> Clip:
        """A further clip, empty yet."""
        clip = Clip(sentence)
        self._clips.append(clip)
        return clip

    def clip(self, sentence: int) -> Clip | None:
        """That sentence's, unless it has been played."""
        return next((clip for clip in self._clips if clip.sentence == sentence), None)

    @property
    def waiting_s(self) -> float:
        """Audio that is there and has not been sent."""
        return sum(clip.samples for clip in self._clips[self._next :]) / self.rate - self._into / self.rate

    @property
    def unsent(self) -> int:
        """Clips that have not been sent to their end."""
        return len(self._clips) - self._next

    @property
    def held(self) -> int:
        """Bytes of audio kept."""
        return sum(len(clip.pcm) for clip in self._clips)

    # --- audio out --------------------------------------------------------------------------------------------

    def due(self, now: float) -> list[Piece]:
        """What may be sent now. From the return on it counts as sent."""
        if self.paused:
            return []
        self._rebase(now)
        pieces: list[Piece] = []
        while self.sent - self._base < self._lead and (piece := self._take()) is not None:
            pieces.append(piece)
        while self._next < len(self._clips) and self._sent_whole(self._clips[self._next]):
            self._next += 1
        self._forget()
        return pieces

    def wait_s(self, now: float) -> float | None:
        """Until more may be sent, or the end has been heard; None while only further audio can change anything."""
        if self.paused:
            return None
        ahead = (self.sent - self._played(now)) / self.rate
        if self._next >= len(self._clips):
            return max(0.0, ahead)
        clip = self._clips[self._next]
        if clip.begin >= 0 and not clip.whole and self._into >= clip.samples:
            return None
        if clip.begin < 0 and not clip.samples and not clip.whole:
            return None
        # A whole frame's room, so that frames are not cut to shreds.
        return max(0.0, ahead - (self._lead - min(self._frame, self._lead)) / self.rate)

    def over(self, now: float) -> bool:
        """Whether everything opened has been sent, and played by now."""
        return self._next >= len(self._clips) and not self.paused and self._played(now) >= self.sent

    @property
    def given(self) -> bool:
        """Whether everything opened has been sent."""
        return self._next >= len(self._clips) and not self.paused

    # --- what was heard ---------------------------------------------------------------------------------------

    def report(self, samples: int, now: float) -> None:
        """The client says how much has been played. Its word counts, carried on by the clock for a while."""
        self._told = (max(0, min(samples, self.sent)), now)

    def heard(self, now: float) -> int:
        """Samples that have been played, by the client's word or else by the clock."""
        if self._told is None:
            return self._played(now)
        samples, at = self._told
        return min(self.sent, samples + round(min(REPORT_S, max(0.0, now - at)) * self.rate))

    def place(self, samples: int) -> tuple[int, float] | None:
        """The sentence that is being said there, and how far in it (0 to 1). None where nothing has been sent there.
        Of a sentence whose end is not known yet, what has come of it is taken for all.
        """
        found: tuple[int, float] | None = None
        for clip in self._clips:
            if clip.begin < 0 or (samples <= clip.begin and found is not None):
                break
            length = clip.samples
            found = (clip.sentence, min(1.0, max(0.0, (samples - clip.begin) / length)) if length else 0.0)
        return found

    # --- the listener interrupts ------------------------------------------------------------------------------

    def pause(self, now: float) -> int:
        """Send nothing; what has been sent and not heard is taken back. Returns the samples heard."""
        heard = self.heard(now)
        self.paused = True
        self._rewind(heard, now)
        return self.sent

    def resume(self, now: float) -> None:
        """Go on from where :meth:`pause` or :meth:`back` have left it."""
        self.paused = False
        self._since = now

    def back(self, sentence: int, fraction: float, now: float) -> None:
        """Go on from a place within a sentence that is still held."""
        clip = self.clip(sentence)
        if clip is not None and clip.begin >= 0:
            self._rewind(clip.begin + min(clip.samples, round(fraction * clip.samples)), now)

    def drop_from(self, sentence: int, now: float) -> bool:
        """Forget this sentence and all after it. True where some of their audio had been sent and not heard."""
        kept = [clip for clip in self._clips if clip.sentence < sentence]
        dropped = self._clips[len(kept) :]
        self._clips = kept
        if not dropped:
            return False
        begin = dropped[0].begin
        flushed = begin >= 0 and self.sent > begin and self.heard(now) < self.sent
        self._next = min(self._next, len(kept))
        if begin >= 0 and self.sent > begin:
            self._told = None
            self.sent = begin
            self._base, self._since = min(begin, self._played(now)), now
        return flushed

    # --- inside -----------------------------------------------------------------------------------------------

    @property
    def _into(self) -> int:
        """Samples sent of the clip that is being sent."""
        if self._next >= len(self._clips) or self._clips[self._next].begin < 0:
            return 0
        return self.sent - self._clips[self._next].begin

    def _sent_whole(self, clip: Clip) -> bool:
        return clip.begin >= 0 and clip.whole and self.sent >= clip.begin + clip.samples

    def _played(self, now: float) -> int:
        if self.paused:
            return self._base
        return min(self.sent, self._base + round(max(0.0, now - self._since) * self.rate))

    def _rebase(self, now: float) -> None:
        """Time that passes without audio is not played later on."""
        self._base, self._since = self._played(now), now

    def _take(self) -> Piece | None:
        while self._next < len(self._clips):
            clip = self._clips[self._next]
            if clip.begin < 0:
                clip.begin = self.sent
            into = self.sent - clip.begin
            count = min(self._frame, clip.samples - into)
            if count > 0:
                pcm = bytes(clip.pcm[into * SAMPLE : (into + count) * SAMPLE])
                at, self.sent = self.sent, self.sent + count
                return Piece(clip.sentence, at, pcm)
            if not clip.whole:
                return None
            self._next += 1
        return None

    def _forget(self) -> None:
        """Clips that have been played, but for the last of them: who is interrupted may have heard it just now. Of a
        client that says it is far behind a few more are kept.
        """
        played = min(self._base, self._told[0]) if self._told is not None else self._base
        played = max(played, self.sent - round(KEPT_S * self.rate))
        while self._next > 1 and self._clips[1].begin <= played:
            del self._clips[0]
            self._next -= 1

    def _rewind(self, samples: int, now: float) -> None:
        """What is not kept any more cannot be sent again."""
        first = self._clips[0].begin if self._clips else self.sent
        self.sent = min(self.sent, max(samples, first))
        self._base, self._since = self.sent, now
        self._told = None
        self._next = 0
        for index, clip in enumerate(self._clips):
            if clip.begin < 0:
                break
            self._next = index
            if self.sent < clip.begin + clip.samples or not clip.whole:
                break
            self._next = index + 1
        for clip in self._clips[self._next + 1 :]:
            clip.begin = -1
