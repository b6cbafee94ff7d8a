"""When to read a turn's row and ask its owner for a snapshot: 0, 0.1, 0.25, 0.5 and 1 s after the start of a watch,
then every 2 s, until the turn ends or, once its text is known, until items flow. A run that says it is ending is
followed by row reads every 50 ms for a second.
"""

STEPS_S = (0.0, 0.1, 0.25, 0.5, 1.0)
EVERY_S = 2.0
SILENCE_S = 2.0
"""A running turn without any item for this long is watched."""
ENDING_EVERY_S = 0.05
ENDING_FOR_S = 1.0


class WatchSchedule:
    """Times of one turn's watches. ``due`` is when the next one is (seconds, monotonic)."""

    __slots__ = ("cause", "due", "ending_until", "started", "step")

    def __init__(self, now: float) -> None:
        self.due = now + SILENCE_S
        self.step = -1
        self.started = 0.0
        self.ending_until = 0.0
        self.cause = "silence"

    @property
    def on(self) -> bool:
        """Whether a watch has begun and nothing has flowed since."""
        return self.step >= 0

    @property
    def first(self) -> bool:
        """Whether the watch has made its first step, and no other."""
        return self.step == 1

    def start(self, now: float, cause: str) -> None:
        """Begin, now. One that is on goes on, unless it has slowed down to ``EVERY_S``."""
        if self.on and self.step < len(STEPS_S):
            return
        self.step, self.started, self.due, self.cause = 0, now, now, cause

    def flowed(self, now: float) -> None:
        """An item was delivered: the watch is over and silence counts from now."""
        self.step = -1
        self.due = now + SILENCE_S
        self.cause = "silence"

    def ending(self, now: float) -> None:
        """The run has published its record."""
        if not self.ending_until:
            self.ending_until = now + ENDING_FOR_S
            self.due = min(self.due, now + ENDING_EVERY_S)

    def fire(self, now: float) -> bool:
        """Call at ``due``: sets the next time. True where the owner is to be asked too, not only the row."""
        if self.ending_until:
            if now < self.ending_until:
                self.due = now + ENDING_EVERY_S
                return False
            self.ending_until = 0.0
        if not self.on:
            self.step, self.started = 0, now
        self.step += 1
        following = self.started + STEPS_S[self.step] if self.step < len(STEPS_S) else now + EVERY_S
        self.due = max(following, now + 0.01)
        return True
