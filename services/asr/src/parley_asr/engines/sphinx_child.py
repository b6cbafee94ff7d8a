"""A process that decodes for the pocketsphinx engine: the library holds the interpreter's lock while it works, so it
works where nothing else waits. Frames on stdin and stdout: four bytes of length, then a MessagePack array.

A recognition gets a decoder of its own while there is one; without one its audio waits, and is decoded by the spare
one when it is finished. The text is the same either way.
"""

import json
import signal
import struct
import sys
import time
from pathlib import Path
from typing import IO, Any

import msgspec
import pocketsphinx

FRAME_S = 0.01
MOST_VOCABULARIES = 8
"""Of each decoder."""


class Recogniser:
    """One decoder, which knows no more after :meth:`start` than one that has just been made."""

    def __init__(self, options: dict[str, Any]) -> None:
        self._decoder = pocketsphinx.Decoder(loglevel="FATAL", **options)
        self._general = self._decoder.current_search()
        self._known: dict[str, None] = {}

    def start(self, vocabulary: str) -> None:
        """A new segment; ``vocabulary``: folder of a knowledge base's words, or empty."""
        decoder = self._decoder
        self.learn(vocabulary)
        decoder.activate_search(vocabulary or self._general)
        decoder.reinit_feat()
        decoder.start_utt()

    def feed(self, data: bytes) -> str:
        """16-bit samples; returns the hypothesis."""
        self._decoder.process_raw(data)
        found = self._decoder.hyp()
        return found.hypstr if found else ""

    def finish(self) -> tuple[str, list[tuple[str, float, float, float]]]:
        """Text and words."""
        self._decoder.end_utt()
        found = self._decoder.hyp()
        if found is None:
            return "", []
        logs = self._decoder.get_logmath()
        words = [
            (_bare(part.word), part.start_frame * FRAME_S, (part.end_frame + 1) * FRAME_S, logs.exp(part.prob))
            for part in self._decoder.seg()
            if part.word[0] not in "<["
        ]
        return found.hypstr, words

    def learn(self, vocabulary: str) -> None:
        """Read it, unless that has been done or it is empty."""
        if not vocabulary or vocabulary in self._known:
            return
        folder = Path(vocabulary)
        decoder = self._decoder
        for word, phones in json.loads((folder / "words.json").read_text(encoding="utf-8")):
            if decoder.lookup_word(word) is None:
                decoder.add_word(word, phones, False)
        decoder.add_lm_file(vocabulary, str(folder / "words.lm"))
        self._known[vocabulary] = None
        if len(self._known) > MOST_VOCABULARIES:
            oldest = next(iter(self._known))
            del self._known[oldest]
            decoder.remove_search(oldest)


def _bare(word: str) -> str:
    return word.split("(", maxsplit=1)[0]


class Desk:
    """Recognitions by number, and the decoders they share."""

    def __init__(self, options: dict[str, Any], decoders: int) -> None:
        self._options = options
        self._most = decoders
        self._made = 1
        self._free = [Recogniser(options)]
        self._at_work: dict[int, Recogniser] = {}
        self._waiting: dict[int, tuple[str, bytearray]] = {}
        self._spare = Recogniser(options)

    def open(self, number: int, vocabulary: str) -> None:
        """A recognition begins."""
        if not self._free and self._made < self._most:
            self._made += 1
            self._free.append(Recogniser(self._options))
        if not self._free:
            self._waiting[number] = (vocabulary, bytearray())
            return
        recogniser = self._at_work[number] = self._free.pop()
        recogniser.start(vocabulary)

    def feed(self, number: int, data: bytes) -> str:
        """Audio of it."""
        if number in self._waiting:
            self._waiting[number][1].extend(data)
            return ""
        return self._at_work[number].feed(data)

    def finish(self, number: int) -> tuple[str, list[tuple[str, float, float, float]]]:
        """It is over."""
        if number in self._waiting:
            vocabulary, data = self._waiting.pop(number)
            self._spare.start(vocabulary)
            self._spare.feed(bytes(data))
            return self._spare.finish()
        recogniser = self._at_work.pop(number)
        try:
            return recogniser.finish()
        finally:
            self._free.append(recogniser)

    def close(self, number: int) -> None:
        """Nobody wants to know."""
        self._waiting.pop(number, None)
        if (recogniser := self._at_work.pop(number, None)) is not None:
            recogniser.finish()
            self._free.append(recogniser)

    def learn(self, vocabulary: str) -> None:
        """Let those that have nothing to do read it."""
        for recogniser in (*self._free, self._spare):
            recogniser.learn(vocabulary)

    def spent_s(self) -> float:
        """CPU seconds of this process."""
        return time.process_time()


def read(stream: IO[bytes]) -> list[Any] | None:
    """One frame; None at the end."""
    head = stream.read(4)
    if len(head) < 4:
        return None
    return msgspec.msgpack.decode(stream.read(struct.unpack("!I", head)[0]), type=list[Any])


def write(stream: IO[bytes], message: Any) -> None:
    """One frame."""
    body = msgspec.msgpack.encode(message)
    stream.write(struct.pack("!I", len(body)) + body)
    stream.flush()


def main() -> None:
    """Serve until stdin ends: whoever started us has ended, however that came."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    given, taken = sys.stdin.buffer, sys.stdout.buffer
    first = read(given)
    if first is None:
        return
    desk = Desk(first[0], first[1])
    write(taken, ["ready"])
    while (message := read(given)) is not None:
        name, *arguments = message
        try:
            write(taken, ["ok", getattr(desk, name)(*arguments)])
        except Exception as error:
            write(taken, ["failed", f"{type(error).__name__}: {error}"])


if __name__ == "__main__":
    main()
