"""What the scripted listener hears: a language in which audio is its own transcript.

A tenth of a second of audio is a block. A block of zeros is silence; any other holds one word, :func:`speech` makes
them. A byte lost, repeated or out of order shows in the words. What is heard is a function of the bytes since the last
boundary, as with a real recogniser.
"""

import msgspec

from parley_protocol.audio import (
    Ended,
    Heard,
    Hearing,
    Listen,
    Mark,
    Partial,
    Progress,
    SpeechStarted,
    SpeechStopped,
    StreamEvent,
    Word,
)

BLOCK_MS = 100
_WIDTH = {"pcm_s16le": 2, "pcm_f32le": 4, "pcm_mulaw": 1, "opus": 1}
_FILL = 1


def block_size(hearing: Hearing) -> int:
    """Bytes of one block."""
    return _WIDTH[hearing.encoding] * hearing.channels * hearing.rate * BLOCK_MS // 1000


def speech(text: str, hearing: Hearing | None = None) -> bytes:
    """Audio that is heard as ``text``: one block for each word."""
    size = block_size(hearing or Hearing())
    return b"".join(word.encode().ljust(size, bytes((_FILL,))) for word in text.split())


def silence(ms: int, hearing: Hearing | None = None) -> bytes:
    """Audio in which nothing is heard."""
    return bytes(block_size(hearing or Hearing()) * (ms // BLOCK_MS))


def _word(block: bytes) -> str:
    return block.rstrip(bytes((_FILL,))).decode(errors="replace")


class Recogniser:
    """Hears one stream under one lease. Pure: parts in, events out."""

    def __init__(self, listen: Listen) -> None:
        self.hearing = listen.hearing
        self.size = block_size(listen.hearing)
        self.keep = listen.at
        self.taken = listen.at
        self.utterance = listen.utterance
        self.ended = False
        self._rest = b""
        self._at = listen.at
        self._forget()

    def _forget(self) -> None:
        self._words: list[Word] = []
        self._quiet = 0
        self._speaking = False

    def feed(self, data: bytes, mark: Mark = Mark.NONE) -> list[StreamEvent]:
        """The next bytes, and what is said after them."""
        events: list[StreamEvent] = []
        self.taken += len(data)
        self._rest += data
        while len(self._rest) >= self.size:
            block, self._rest = self._rest[: self.size], self._rest[self.size :]
            self._at += self.size
            events += self._block(block)
        if mark in (Mark.COMMIT, Mark.END):
            events.append(self._heard(self.taken, marked=True))
        if mark is Mark.CLEAR:
            self._boundary(self.taken)
        if mark is Mark.END:
            self.ended = True
            events.append(Ended(self._ms(self.taken)))
        return events

    def progress(self) -> Progress:
        """Where it stands."""
        return Progress(self.taken, self.keep, self.utterance)

    def _ms(self, at: int) -> int:
        return at * BLOCK_MS // self.size

    def _block(self, block: bytes) -> list[StreamEvent]:
        return self._silence() if not any(block) else self._speech(_word(block))

    def _speech(self, word: str) -> list[StreamEvent]:
        events: list[StreamEvent] = []
        start = self._ms(self._at - self.size)
        if not self._speaking:
            self._speaking = True
            if not self._words:
                events.append(SpeechStarted(self.utterance, start))
        self._quiet = 0
        self._words.append(Word(word, start, self._ms(self._at)))
        if self.hearing.partials:
            text = self._text()
            events.append(Partial(self.utterance, text, len(text)))
        return events

    def _silence(self) -> list[StreamEvent]:
        self._quiet += BLOCK_MS
        point = self.hearing.endpointing
        events: list[StreamEvent] = []
        if not self._speaking or not self._words:
            if not self._words and self._quiet >= 1000:
                self._boundary(self._at)
            return events
        if self.hearing.partials and self._quiet - BLOCK_MS < point.pause_ms <= self._quiet:
            events.append(Partial(self.utterance, self._text(), len(self._text()), paused=True))
        if self._quiet >= point.silence_ms and self.hearing.by_silence:
            events.append(SpeechStopped(self.utterance, self._words[-1].end_ms))
            events.append(self._heard(self._at))
        return events

    def _text(self) -> str:
        return " ".join(word.text for word in self._words)

    def _heard(self, keep: int, *, marked: bool = False) -> Heard:
        words = tuple(self._words)
        ends = (words[0].start_ms, words[-1].end_ms) if words else (0, 0)
        heard = Heard(self.utterance, self._text(), keep, words, *ends, marked=marked)
        self.utterance += 1
        self._boundary(keep)
        return heard

    def _boundary(self, at: int) -> None:
        self.keep = at
        self._rest = self._rest if at == self._at else b""
        self._at = at
        self._forget()


def transcript(events: list[StreamEvent]) -> list[str]:
    """The texts of the utterances, in order; an undisturbed run's is what every other is compared with."""
    return [event.text for event in events if isinstance(event, Heard)]


def listen(hearing: Hearing, **changes: object) -> Listen:
    """A lease of a stream for tests of workers and recognisers."""
    base = Listen(stream="a-1", epoch=1, gateway="gw", tenant="default", session="s1", hearing=hearing)
    return msgspec.structs.replace(base, **changes)
