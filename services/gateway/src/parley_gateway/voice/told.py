"""What has been told of the utterance at hand, so that a second worker's account of it is told no second time."""

from parley_protocol.audio import Heard, Partial, SpeechStarted, SpeechStopped

Told = SpeechStarted | SpeechStopped | Partial | Heard


class Teller:
    """Starts and stops that alternate and go forward, partials that go forward, and the last word behind them."""

    def __init__(self) -> None:
        self._replayed = False
        self._forget()

    def _forget(self) -> None:
        self._ms = -1
        """Of the last start or stop told."""
        self._speaking = False
        self._partial = ""
        self._paused = False
        self._heard_ms = 0
        """Audio that the last partial told was made of."""

    def replays(self) -> None:
        """Another worker hears the utterance from its beginning."""
        self._replayed = True

    def pass_on(self, event: SpeechStarted | SpeechStopped | Partial) -> list[Told]:
        """The event, if it is news."""
        if isinstance(event, Partial):
            return self._on_partial(event)
        starts = isinstance(event, SpeechStarted)
        if starts is self._speaking or event.ms <= self._ms:
            return []
        self._speaking, self._ms = starts, event.ms
        return [event]

    def _on_partial(self, event: Partial) -> list[Told]:
        if self._replayed:
            self._replayed = self._is_behind(event)
            if self._replayed or (event.text, event.paused) == (self._partial, self._paused):
                return []
        self._partial, self._paused, self._heard_ms = event.text, event.paused, event.ms
        return [event]

    def _is_behind(self, event: Partial) -> bool:
        """Whether more has been told already than this worker has come to."""
        if event.ms and self._heard_ms:
            return event.ms <= self._heard_ms
        return len(event.text) < len(self._partial) and self._partial.startswith(event.text)

    def heard(self, event: Heard) -> list[Told]:
        """The last word, behind a start and a stop where there was speech whose news was lost."""
        told: list[Told] = []
        if event.text and self._ms < 0:
            told.append(SpeechStarted(event.utterance, event.start_ms))
        if told or self._speaking:
            told.append(SpeechStopped(event.utterance, event.end_ms))
        self._forget()
        return [*told, event]
