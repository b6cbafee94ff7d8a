"""What one run has to say and to whom; and the settings of how it travels."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from parley_protocol.ids import TurnKey
from parley_protocol.work import MAX_REPLY_TO
from parley_runtime.config import setting
from parley_runtime.run import Output


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkOptions:
    """How events travel from a worker to gateways."""

    flush_s: float = setting(
        "PARLEY_FLUSH_S",
        0.005,
        "longest wait of a status or of more text for company; sources and first text never wait",
        unit="seconds",
        zero="at the end of the loop tick",
        minimum=0,
        maximum=1,
    )
    batch_turns: int = setting(
        "PARLEY_BATCH_TURNS", 256, "turns in one batch; that many waiting turns are sent at once", minimum=1
    )
    window: int = setting(
        "PARLEY_BATCH_WINDOW", 8, "batches without a confirm before events wait in this process", minimum=1
    )
    confirm_s: float = setting(
        "PARLEY_BATCH_CONFIRM_S",
        2.0,
        "wait for a batch's confirm before it counts as failed",
        unit="seconds",
        minimum=0.01,
    )
    waiting: int = setting(
        "PARLEY_BATCH_WAITING",
        10_000,
        "turns of one gateway that wait out its back-off, and single events that wait to be sent; more are dropped",
        minimum=1,
    )


class Feed:
    """What one run has to say, and who follows it. ``gateways`` is ordered by arrival; those in ``behind`` get one
    snapshot in place of the next items.
    """

    __slots__ = ("behind", "fence", "gateways", "key", "on_detached", "output", "queued")

    def __init__(
        self,
        key: TurnKey,
        fence: int,
        output: Output,
        gateways: Iterable[str],
        on_detached: Callable[[], None] | None = None,
    ) -> None:
        self.key = key
        self.fence = fence
        self.output = output
        self.gateways: dict[str, None] = dict.fromkeys(gateways)
        self.behind: set[str] = set()
        self.queued = False
        self.on_detached = on_detached

    def follow(self, gateway: str) -> None:
        """Add ``gateway``; the next flush gives it a snapshot. Beyond the bound the earliest one leaves."""
        if gateway not in self.gateways and len(self.gateways) >= MAX_REPLY_TO:
            self.leave(next(iter(self.gateways)))
        self.gateways[gateway] = None
        self.behind.add(gateway)

    def leave(self, gateway: str) -> None:
        """Remove ``gateway``. Generation goes on without any."""
        self.behind.discard(gateway)
        if gateway in self.gateways:
            del self.gateways[gateway]
            if not self.gateways and self.on_detached is not None:
                self.on_detached()

    def mute(self) -> None:
        """Nobody follows any more: nothing further is sent."""
        self.gateways.clear()
        self.behind.clear()
