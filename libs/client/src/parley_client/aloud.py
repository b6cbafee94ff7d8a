"""Answers that are spoken to this client, and how far: on the next connection they go on where that one broke. Pure.

Whoever listens sees one answer: places in its audio count on, and of a sentence that is said once more they are told
to forget what came of it.
"""

from dataclasses import dataclass, field

import msgspec

from parley_client.options import Sound
from parley_client.turn import Turn
from parley_protocol.client import AnswerFlush, AnswerSpeak, AnswerSpoken, ErrorFrame, Voice
from parley_protocol.events import Fault
from parley_protocol.speech import AnswerAudio

MOST = 64
"""Answers: more than a session has open. The oldest are those of which no end was told, and are forgotten."""
KEPT = 16
"""Sentences whose beginnings are remembered: no flush goes further back."""
SAMPLE = 2
"""Bytes of a sample."""


@dataclass(slots=True)
class _Answer:
    """Samples are counted as the listener sees them: those of this connection are ``base`` ahead of the server's."""

    turn: Turn
    voice: Voice
    base: int = 0
    end: int = 0
    rate: int = 0
    begun: list[tuple[int, int]] = field(default_factory=list)
    """(sentence, where it begins) of the last ones."""

    def ms(self, samples: int) -> int:
        return samples * 1000 // self.rate if self.rate else 0

    def forget(self, samples: int) -> None:
        """What comes after that has been taken back."""
        self.end = min(self.end, samples)
        while len(self.begun) > 1 and self.begun[-1][1] >= samples:
            self.begun.pop()


class Aloud:
    """All of them, of one client."""

    def __init__(self) -> None:
        self._answers: dict[str, _Answer] = {}

    def want(self, turn: Turn, voice: Voice) -> None:
        """The answer of this turn is to be spoken."""
        self._answers[turn.id] = _Answer(turn, voice)
        while len(self._answers) > MOST:
            del self._answers[next(iter(self._answers))]

    def audio(self, header: AnswerAudio, pcm: bytes) -> AnswerAudio:
        """What has come, as the listener sees it."""
        answer = self._answers.get(header.turn)
        if answer is None:
            return header
        at = header.at + answer.base
        answer.rate, answer.end = header.rate, at + len(pcm) // SAMPLE
        if not answer.begun or answer.begun[-1][0] != header.sentence:
            answer.begun.append((header.sentence, at))
            del answer.begun[:-KEPT]
        return msgspec.structs.replace(header, at=at)

    def sound(self, sound: Sound) -> Sound:
        """What is told about it, as the listener sees it."""
        answer = self._answers.get(sound.turn)
        if answer is None or not isinstance(sound, AnswerFlush | AnswerSpoken):
            return sound
        sound = msgspec.structs.replace(sound, ms=sound.ms + answer.ms(answer.base))
        if isinstance(sound, AnswerFlush) and not sound.ended:
            answer.forget(sound.ms * answer.rate // 1000)
        else:
            del self._answers[sound.turn]
        return sound

    def refused(self, error: ErrorFrame) -> AnswerSpoken | None:
        """An answer whose turn has ended cannot be spoken on: its listener is told so."""
        answer = self._answers.get(error.turn or "")
        if answer is None or not answer.turn.finished:
            return None
        del self._answers[answer.turn.id]
        fault = Fault(error.code, error.message, error.retryable)
        return AnswerSpoken(turn=answer.turn.id, ms=answer.ms(answer.end), fault=fault)

    def again(self) -> list[tuple[AnswerFlush | None, AnswerSpeak]]:
        """On a new connection: what to ask for, and what the listener has to forget before. A turn that the server may
        not have accepted is asked anew, or is lost, and its speech with it.
        """
        made: list[tuple[AnswerFlush | None, AnswerSpeak]] = []
        for id, answer in list(self._answers.items()):
            turn = answer.turn
            if turn.failure is not None:
                del self._answers[id]
            elif turn.taken.is_set():
                sentence, begins = answer.begun[-1] if answer.begun else (0, 0)
                flush = AnswerFlush(turn=id, ms=answer.ms(begins)) if answer.end > begins else None
                answer.base = answer.end = begins
                made.append((flush, AnswerSpeak(turn=id, speak=answer.voice, sentence=sentence)))
        return made
