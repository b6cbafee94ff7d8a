"""One stream's cues into words: what engines make of its segments. Pure but for the engines, which may block."""

from parley_asr.cues import Add, Begin, Cue, End, Finish, Keep, Show
from parley_asr.utterance import OpenRecognition, Utterance
from parley_protocol.audio import Heard, Hearing, Partial, SpeechStarted, SpeechStopped

Event = SpeechStarted | SpeechStopped | Partial | Heard


class Scribe:
    """``keep``: the boundary to begin at; ``utterance``: number of the first one. Both move on as cues are written
    down. Not for several threads at once; of no use after an error but for :meth:`close`.
    """

    def __init__(self, hearing: Hearing, keep: int, utterance: int, open_: OpenRecognition) -> None:
        self.keep = keep
        self.utterance = utterance
        self._partials = hearing.partials
        self._open = open_
        self._now = Utterance(open_)

    def write(self, cues: list[Cue], ms: int) -> list[Event]:
        """What there is to be told, at last a hypothesis where there is a new one. The last of the cues comes from
        ``ms`` into the stream. Raises what engines raise.
        """
        events: list[Event] = []
        for cue in cues:
            match cue:
                case Add(samples):
                    self._now.add(samples)
                case Begin(at_ms):
                    self._now.begin(at_ms)
                case Finish():
                    self._now.finish()
                case Show():
                    events += self._shown(cue)
                case End():
                    events.append(self._heard(cue))
                case Keep(at):
                    self._move(at)
                case SpeechStarted() | SpeechStopped():
                    events.append(cue)
        return events + self._hypothesis(ms)

    def close(self) -> None:
        """Give back what the engine holds. Idempotent."""
        self._now.drop()

    def _move(self, keep: int) -> None:
        self._now.drop()
        self._now = Utterance(self._open)
        self.keep = keep

    def _shown(self, show: Show) -> list[Event]:
        if not self._partials:
            return []
        text = self._now.text
        return [Partial(self.utterance, text, len(text), paused=show.paused, ms=show.ms)]

    def _heard(self, end: End) -> Heard:
        heard = Heard(
            self.utterance,
            self._now.text,
            end.keep,
            tuple(self._now.words),
            start_ms=end.start_ms,
            end_ms=end.end_ms,
            cut=end.cut,
            marked=end.marked,
        )
        self.utterance += 1
        self._move(end.keep)
        return heard

    def _hypothesis(self, ms: int) -> list[Event]:
        now = self._now.pump()
        if now is None or not self._partials or now.text == self._now.shown:
            return []
        self._now.shown = now.text
        return [Partial(self.utterance, now.text, now.stable, ms=ms)]
