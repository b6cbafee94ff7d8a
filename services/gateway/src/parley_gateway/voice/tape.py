"""Audio of the sentences of one answer, in their order, and the place up to which it has been read. Pure."""

from dataclasses import dataclass, field

SAMPLE = 2
"""Bytes of a sample."""


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


class Tape:
    """Clips are read in the order in which they were opened, without a gap. Counted in samples; ``at`` were read."""

    def __init__(self) -> None:
        self.at = 0
        self._clips: list[Clip] = []
        self._next = 0
        """Index of the clip that is being read."""

    # --- audio in ---------------------------------------------------------------------------------------------

    def open(self, sentence: int) -> Clip:
        """A further clip, empty yet."""
        clip = Clip(sentence)
        self._clips.append(clip)
        return clip

    def clip(self, sentence: int) -> Clip | None:
        """That sentence's, unless it has been forgotten."""
        return next((clip for clip in self._clips if clip.sentence == sentence), None)

    def cut(self, sentence: int) -> bool:
        """Forget this sentence and all after it. True where some of that had been read: ``at`` is its beginning now."""
        kept = [clip for clip in self._clips if clip.sentence < sentence]
        dropped = self._clips[len(kept) :]
        self._clips = kept
        self._next = min(self._next, len(kept))
        if not dropped or dropped[0].begin < 0 or self.at <= dropped[0].begin:
            return False
        self.at = dropped[0].begin
        return True

    # --- what there is ----------------------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """Samples that are there and have not been read."""
        return sum(clip.samples for clip in self._clips[self._next :]) - self._into

    @property
    def unread(self) -> int:
        """Clips that have not been read to their end."""
        return len(self._clips) - self._next

    @property
    def dry(self) -> bool:
        """Whether the clip that is being read has no more audio yet."""
        if not self.unread:
            return False
        clip = self._clips[self._next]
        return not clip.whole and self._into >= clip.samples

    @property
    def held(self) -> int:
        """Bytes of audio kept."""
        return sum(len(clip.pcm) for clip in self._clips)

    def place(self, samples: int) -> tuple[int, float] | None:
        """The sentence that is being said there, and how far in it (0 to 1). None where nothing has been read there.
        Of a sentence whose end is not known yet, what has come of it is taken for all.
        """
        found: tuple[int, float] | None = None
        for clip in self._clips:
            if clip.begin < 0 or (samples <= clip.begin and found is not None):
                break
            length = clip.samples
            found = (clip.sentence, min(1.0, max(0.0, (samples - clip.begin) / length)) if length else 0.0)
        return found

    # --- audio out --------------------------------------------------------------------------------------------

    def read(self, most: int) -> Piece | None:
        """What comes next, of one clip; None where there is nothing at present."""
        while self._next < len(self._clips):
            clip = self._clips[self._next]
            if clip.begin < 0:
                clip.begin = self.at
            into = self.at - clip.begin
            count = min(most, clip.samples - into)
            if count > 0:
                pcm = bytes(clip.pcm[into * SAMPLE : (into + count) * SAMPLE])
                at, self.at = self.at, self.at + count
                return Piece(clip.sentence, at, pcm)
            if not clip.whole:
                return None
            self._next += 1
        return None

    def forget(self, before: int) -> None:
        """Clips that end before there, but for the last one that has been read: who is interrupted may have heard it
        just now.
        """
        while self._next < len(self._clips) and self._read_whole(self._clips[self._next]):
            self._next += 1
        while self._next > 1 and self._clips[1].begin <= before:
            del self._clips[0]
            self._next -= 1

    def seek(self, samples: int) -> None:
        """Go back to there; what is not kept any more cannot be read again."""
        first = self._clips[0].begin if self._clips else self.at
        self.at = min(self.at, max(samples, first))
        self._next = 0
        for index, clip in enumerate(self._clips):
            if clip.begin < 0:
                break
            self._next = index
            if not self._read_whole(clip):
                break
            self._next = index + 1
        for clip in self._clips[self._next + 1 :]:
            clip.begin = -1

    # --- inside -----------------------------------------------------------------------------------------------

    @property
    def _into(self) -> int:
        """Samples read of the clip that is being read."""
        if self._next >= len(self._clips) or self._clips[self._next].begin < 0:
            return 0
        return self.at - self._clips[self._next].begin

    def _read_whole(self, clip: Clip) -> bool:
        return clip.begin >= 0 and clip.whole and self.at >= clip.begin + clip.samples
