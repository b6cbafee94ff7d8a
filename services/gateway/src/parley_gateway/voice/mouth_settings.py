"""Settings of spoken answers."""

from dataclasses import dataclass

from parley_runtime.config import setting


@dataclass(frozen=True, slots=True, kw_only=True)
class MouthSettings:
    """How answers are spoken."""

    lead_s: float = setting(
        "PARLEY_SPEAK_LEAD_S",
        0.4,
        "Audio of an answer that is sent ahead of its being played; an interruption takes back no less",
        unit="seconds",
        minimum=0.05,
        maximum=5,
    )
    frame_ms: int = setting(
        "PARLEY_SPEAK_FRAME_MS",
        100,
        "Longest audio of one frame to a client",
        unit="milliseconds",
        minimum=10,
        maximum=1000,
    )
    ahead: int = setting(
        "PARLEY_SPEAK_AHEAD",
        2,
        "Sentences that are asked for while another one is being played",
        unit="sentences",
        minimum=1,
        maximum=20,
    )
    ahead_s: float = setting(
        "PARLEY_SPEAK_AHEAD_S",
        10.0,
        "Audio kept for one client before further sentences are asked for",
        unit="seconds",
        minimum=0.5,
        maximum=120,
    )
    longest_s: float = setting(
        "PARLEY_SPEAK_LONGEST_S",
        60.0,
        "Audio taken of one sentence; what goes beyond is dropped",
        unit="seconds",
        minimum=1,
        maximum=600,
    )
    ask_s: float = setting(
        "PARLEY_SPEAK_ASK_S",
        2.0,
        "Time for a sentence's next audio to come, after which it is asked for again",
        unit="seconds",
        minimum=0.05,
    )
    attempts: int = setting(
        "PARLEY_SPEAK_ATTEMPTS",
        3,
        "How often one sentence is asked for before the answer goes on unspoken",
        unit="attempts",
        minimum=1,
        maximum=20,
    )
    heard_s: float = setting(
        "PARLEY_HEARD_S",
        0.5,
        "How long a session's next turn waits until it is stored how much of an interrupted answer was heard",
        unit="seconds",
        minimum=0.01,
    )
    waiting: int = setting(
        "PARLEY_SPEAK_WAITING", 16, "Answers of one socket that wait to be spoken", unit="answers", minimum=1
    )
