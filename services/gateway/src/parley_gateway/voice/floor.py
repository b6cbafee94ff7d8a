"""Who has the floor: what a user's speech does to the answer that is being given. Pure, time as an argument.

Speech holds the spoken answer up at once. Then it is decided: words that say more than "go on", or speech that lasts,
interrupt; speech that turns out to be neither lets the answer go on where it was held up. Whatever is awaited has its
time: nothing stays held up for ever.
"""

import enum
from dataclasses import dataclass

from parley_gateway.voice.backchannel import Backchannels

SOON_S = 0.001
"""Not worth waiting for."""


class Act(enum.StrEnum):
    """What is to be done, in order."""

    PAUSE = "pause"
    """Hold the spoken answer up: nothing more of it is heard."""
    RESUME = "resume"
    """Let it go on."""
    INTERRUPT = "interrupt"
    """End every answer that is being given, or waited for."""
    TAKE = "take"
    """What was said is asked."""
    IGNORE = "ignore"
    """What was said is no question: nothing is asked."""


@dataclass(frozen=True, slots=True)
class Scene:
    """The other side at the moment. ``answering``: a turn is open; ``speaking``: an answer is being spoken."""

    answering: bool = False
    speaking: bool = False

    @property
    def theirs(self) -> bool:
        """Whether there is anything to interrupt."""
        return self.answering or self.speaking


@dataclass(frozen=True, slots=True)
class Terms:
    """Seconds; see the settings of the same names."""

    least_s: float = 0.5
    enough_s: float = 2.0
    false_s: float = 2.0


@dataclass(frozen=True, slots=True)
class FloorRules:
    """The same for all streams of an installation."""

    terms: Terms
    backchannels: Backchannels


class Floor:
    """One stream of speech against the answers of its session."""

    def __init__(self, terms: Terms, backchannels: Backchannels) -> None:
        self.paused = False
        self._terms = terms
        self._backchannels = backchannels
        self._text = ""
        self._since = 0.0
        self._heard_s = 0.0
        self._look_at = 0.0
        """When it is decided whether the speech has lasted."""
        self._stopped_at = 0.0
        self._speaking = False
        self._over = False
        """This utterance began while the floor was the other side's."""
        self._decided = False
        """It has interrupted."""

    @property
    def taken(self) -> bool:
        """Whether the utterance at hand is one to ask as far as is known: it did not begin over an answer, or it has
        interrupted.
        """
        return self._decided or not self._over

    def due(self) -> float | None:
        """When to call :meth:`tick` next; None: not before something happens."""
        times = []
        if self._speaking and self._over and not self._decided:
            times.append(self._look_at)
        if self.paused and not self._speaking:
            times.append(self._stopped_at + self._terms.false_s)
        return min(times, default=None)

    def started(self, scene: Scene, now: float, heard_s: float) -> list[Act]:
        """The user speaks. Called again within an utterance where they had paused. ``heard_s``: audio of the stream
        that has been listened to so far.
        """
        self._speaking, self._since, self._heard_s = True, now, heard_s
        self._look_at = now + self._terms.enough_s
        self._over = self._over or scene.theirs
        if not scene.speaking or self.paused or self._decided:
            return []
        self.paused = True
        return [Act.PAUSE]

    def said(self, text: str, scene: Scene, now: float) -> list[Act]:
        """The words so far."""
        self._text = text
        if not scene.theirs or self._decided or not self._over:
            return []
        if now < self._since + self._terms.least_s or not text or self._backchannels.only(text):
            return []
        return self._interrupt()

    def stopped(self, now: float) -> list[Act]:
        """The user is silent."""
        self._speaking, self._stopped_at = False, now
        return []

    def heard(self, text: str, scene: Scene, now: float) -> list[Act]:
        """The last word on the utterance. TAKE or IGNORE is the last act."""
        acts: list[Act] = []
        asked = bool(text) and not (self._over and self._backchannels.only(text))
        if asked and scene.theirs and not self._decided:
            acts += self._interrupt()
        if self.paused:
            self.paused = False
            acts.append(Act.RESUME)
        self._speaking, self._stopped_at = False, now
        self._text, self._over, self._decided = "", False, False
        return [*acts, Act.TAKE if asked else Act.IGNORE]

    def tick(self, scene: Scene, now: float, heard_s: float) -> list[Act]:
        """Call at :meth:`due`. ``heard_s``: as for :meth:`started`."""
        if self._speaking and self._over and not self._decided and now >= self._look_at:
            return self._lasted(now, heard_s) if scene.theirs else self._resume()
        if self.paused and not self._speaking and now >= self._stopped_at + self._terms.false_s:
            return self._resume()
        return []

    def lost(self) -> list[Act]:
        """Nobody listens any more: nothing of the utterance at hand will be heard."""
        self._speaking = self._over = self._decided = False
        return self._resume()

    def _lasted(self, now: float, heard_s: float) -> list[Act]:
        """Only speech that has been heard counts: while nobody listens, nobody knows whether it goes on."""
        terms = self._terms
        missing = terms.enough_s - (heard_s - self._heard_s)
        if missing < SOON_S:
            return self._interrupt()
        self._look_at = now + missing
        latest = self._since + terms.enough_s + terms.false_s
        if not self.paused:
            return []
        if now < latest:
            self._look_at = min(self._look_at, latest)
            return []
        self.paused = False
        return [Act.RESUME]

    def _interrupt(self) -> list[Act]:
        self._decided = True
        self.paused = False
        return [Act.INTERRUPT]

    def _resume(self) -> list[Act]:
        self._decided = self._decided or self._speaking
        if not self.paused:
            return []
        self.paused = False
        return [Act.RESUME]
