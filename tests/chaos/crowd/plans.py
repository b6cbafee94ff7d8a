"""What a client does with a turn, drawn from a seed: what it asks, and how it misbehaves meanwhile."""

import random
from dataclasses import dataclass

BUDGET_S = 60.0
"""Deadline of turns that are not meant to miss it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """Shares are probabilities per turn, ranges are drawn from uniformly; times in seconds unless named otherwise."""

    tokens: tuple[int, int] = (8, 60)
    every_ms: tuple[int, int] = (5, 40)
    pause_s: tuple[float, float] = (0.0, 0.4)
    salt: float = 0.4
    """Answers whose tokens carry the mark of their run."""
    cancel: float = 0.12
    """Ended by the client at a token, the first or any later one."""
    again: float = 0.12
    """Asked a second time, on another socket, while it runs or after it."""
    conflict: float = 0.03
    """Its id is used for another text after it is done."""
    burst: float = 0.12
    """Asked together with up to ``burst_most`` others."""
    burst_most: int = 4
    interrupt: float = 0.03
    """Cancels the session's turns before it."""
    drop: float = 0.15
    """The client's connection is reset at a token; it comes back, to another gateway half of the time."""
    deadline: float = 0.04
    """A deadline that passes in mid-answer."""
    budget_s: float = BUDGET_S


QUIET = Habits(
    salt=0.5, cancel=0.0, again=0.0, conflict=0.0, burst=0.0, interrupt=0.0, drop=0.0, deadline=0.0, tokens=(20, 40)
)
"""Clients that only ask and read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One turn. ``cancel_at`` and ``drop_at`` count tokens read; None: not at all."""

    turn: str
    tag: str
    tokens: int
    every_ms: float
    salt: bool = False
    cancel_at: int | None = None
    drop_at: int | None = None
    elsewhere: bool = False
    again_at: int | None = None
    """Asked again on another socket at this token; at the last one or later: after its end."""
    conflict: bool = False
    interrupt: bool = False
    deadline_s: float = BUDGET_S

    @property
    def text(self) -> str:
        """The question, with the scripted engine's directives."""
        salt = " salt" if self.salt else ""
        return f"say it tag={self.tag}{salt} tokens={self.tokens} every={self.every_ms:g}"


class Choices:
    """The turns of one client, one after another. The same seed and name give the same plans."""

    def __init__(self, name: str, seed: int, habits: Habits) -> None:
        self.rng = random.Random(f"{seed}/{name}")
        self._name = name
        self._habits = habits
        self._count = 0

    def next(self) -> Plan:
        """Turn ids are ``t1``, ``t2``, ... in every session: the same ids of different sessions must not mix."""
        rng, habits = self.rng, self._habits
        self._count += 1
        tokens = rng.randint(*habits.tokens)
        every_ms = rng.randint(*habits.every_ms)
        lasts_s = tokens * every_ms / 1000
        late = rng.random() < habits.deadline
        return Plan(
            turn=f"t{self._count}",
            tag=f"{self._name}-{self._count}",
            tokens=tokens,
            every_ms=every_ms,
            salt=rng.random() < habits.salt,
            cancel_at=self._at(habits.cancel, tokens),
            drop_at=self._at(habits.drop, tokens),
            elsewhere=rng.random() < 0.5,
            again_at=self._at(habits.again, tokens + 4),
            conflict=rng.random() < habits.conflict,
            interrupt=rng.random() < habits.interrupt,
            deadline_s=round(max(0.05, lasts_s * rng.uniform(0.2, 0.8)), 3) if late else habits.budget_s,
        )

    def burst(self) -> list[Plan]:
        """The turns asked at once: mostly one."""
        number = 1
        if self.rng.random() < self._habits.burst:
            number = self.rng.randint(2, self._habits.burst_most)
        return [self.next() for _ in range(number)]

    def pause_s(self) -> float:
        """How long to think before the next question."""
        return self.rng.uniform(*self._habits.pause_s)

    def _at(self, share: float, most: int) -> int | None:
        return self.rng.randint(0, most) if self.rng.random() < share else None
