"""Settings of the worker loop, and of whoever ends a turn."""

import enum
from dataclasses import dataclass, field

from parley_runtime.config import setting
from parley_runtime.sink import SinkOptions


class Claim(enum.StrEnum):
    """Which deliveries of a later stage claim a fence of their own. (First stages always claim.)"""

    REDELIVERED = "redelivered"
    """Those that the broker or the job itself does not call the first."""
    ALWAYS = "always"
    """All: nothing depends on the broker's word, for one more write per turn and stage."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AskOptions:
    """How long gateways are given to say what they have delivered."""

    begin_wait_s: float = setting(
        "PARLEY_BEGIN_WAIT_S",
        0.15,
        "longest wait for a gateway's word on what it has delivered, before a repeated run speaks",
        unit="seconds",
        zero="do not wait: a repeated run says its whole answer, and one that differs starts anew",
        minimum=0,
        maximum=5,
    )
    begin_more_s: float = setting(
        "PARLEY_BEGIN_MORE_S",
        0.02,
        "wait for further gateways after the first one's answer",
        unit="seconds",
        zero="take the first answer",
        minimum=0,
        maximum=5,
    )
    end_wait_s: float = setting(
        "PARLEY_END_WAIT_S",
        3.0,
        "longest wait for a gateway's word on what it has delivered, before a turn is ended for which no run speaks",
        unit="seconds",
        zero="do not ask: what was delivered of such a turn is not stored, unless its gateway stores it first",
        minimum=0,
        maximum=60,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions(AskOptions):
    """Waits and bounds of the worker loop. Seats belong to the stage; the ladder's delays to the topology."""

    claim: Claim = setting(
        "PARLEY_CLAIM",
        Claim.REDELIVERED,
        "Deliveries of later stages that claim a fence from the store: redelivered ones, or always (one more write)",
    )
    store_hold_s: float = setting(
        "PARLEY_JOB_HOLD_S",
        10.0,
        "how long jobs are held for a store that is away before they go back to the broker",
        unit="seconds",
        zero="they go back at once, those of stages that go on without the store after a second",
        minimum=0,
        maximum=600,
    )
    running_wait_s: float = setting(
        "PARLEY_RUNNING_WAIT_S",
        0.1,
        "wait for a worker that still runs a turn which was delivered again",
        unit="seconds",
        zero="do not ask: the turn is run again",
        minimum=0,
        maximum=5,
    )
    ended_turns: int = setting(
        "PARLEY_ENDED_TURNS",
        1000,
        "finished runs that still answer a gateway's attach",
        unit="turns",
        zero="none does",
        minimum=0,
    )
    ended_s: float = setting(
        "PARLEY_ENDED_S", 5.0, "how long a finished run answers an attach", unit="seconds", zero="not at all", minimum=0
    )
    publish_s: float = setting(
        "PARLEY_PUBLISH_S",
        5.0,
        "one attempt to hand a job to the broker; attempts repeat until the turn's deadline",
        unit="seconds",
        minimum=0.1,
    )
    hand_over_s: float = setting(
        "PARLEY_HAND_OVER_S",
        5.0,
        "time at the end of a drain to hand unfinished jobs back",
        unit="seconds",
        zero="leave them to the broker's redelivery",
        minimum=0,
    )
    sink: SinkOptions = field(default_factory=SinkOptions)
