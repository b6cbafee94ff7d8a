"""When a process that ended is started again: a pure rule, so that tests can walk through it in virtual time."""

import signal
from dataclasses import dataclass, field

BAD_CONFIGURATION = 78
"""EX_CONFIG of sysexits(3): a service that ends with it will not do better on a second try."""


@dataclass(frozen=True)
class Restart:
    """Start it again after `delay` seconds; `alarm` once, when it keeps failing."""

    delay: float
    alarm: bool = False


@dataclass(frozen=True)
class GiveUp:
    """Do not start it again; the whole start has failed because of `reason`."""

    reason: str


@dataclass(frozen=True)
class RestartPolicy:
    """Jittered exponential back-off. Times are seconds.

    A run shorter than `quick` counts as a fast end. After `patience` fast ends in a row a process that was never ready
    ends the start; one that was ready once goes on being restarted every `longest` seconds or less, with one alarm.
    """

    first: float = 0.3
    factor: float = 2.0
    longest: float = 10.0
    quick: float = 10.0
    patience: int = 5


@dataclass
class History:
    """What is remembered of one process between its runs."""

    policy: RestartPolicy = field(default_factory=RestartPolicy)
    was_ready: bool = False
    fast_ends: int = 0

    def ended(self, code: int, ran_for: float, draw: float) -> Restart | GiveUp:
        """Decides after a run of `ran_for` seconds; `draw` in [0, 1) spreads the delay between half and all of it."""
        if code == BAD_CONFIGURATION:
            return GiveUp("its configuration is wrong")
        self.fast_ends = self.fast_ends + 1 if ran_for < self.policy.quick else 1
        if self.fast_ends >= self.policy.patience and not self.was_ready:
            return GiveUp(f"it ended {self.fast_ends} times in a row before it was ready")
        full = min(self.policy.longest, self.policy.first * self.policy.factor ** min(self.fast_ends - 1, 30))
        return Restart(full * (0.5 + draw / 2), alarm=self.fast_ends == self.policy.patience)


def describe_end(code: int) -> str:
    """How a process ended, for people: "with code 1", "by signal 9 (SIGKILL)"."""
    if code >= 0:
        return f"with code {code}"
    try:
        return f"by signal {-code} ({signal.Signals(-code).name})"
    except ValueError:
        return f"by signal {-code}"
