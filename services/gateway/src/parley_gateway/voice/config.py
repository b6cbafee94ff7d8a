"""Settings of streams of audio at the gateway."""

from dataclasses import dataclass

from parley_runtime.config import setting


@dataclass(frozen=True, slots=True, kw_only=True)
class EarSettings:
    """How audio travels to recognisers, and what bounds it."""

    flush_s: float = setting(
        "PARLEY_AUDIO_FLUSH_S",
        0.06,
        "Audio of all streams for one worker is gathered for so long, and sent as one message",
        unit="seconds",
        minimum=0.005,
        maximum=1,
    )
    progress_s: float = setting(
        "PARLEY_AUDIO_PROGRESS_S",
        1.0,
        "Audio sent so long ago and not reported as taken: its worker is gone, and another one is asked",
        unit="seconds",
        minimum=0.1,
    )
    lease_s: float = setting(
        "PARLEY_AUDIO_LEASE_S",
        2.0,
        "Time for a worker to take a new stream; after that its client is told overloaded",
        unit="seconds",
        minimum=0.1,
    )
    failover_s: float = setting(
        "PARLEY_AUDIO_FAILOVER_S",
        20.0,
        "Time for another worker to take a stream whose worker is gone, while its audio has room",
        unit="seconds",
        minimum=0.1,
    )
    ring: int = setting(
        "PARLEY_AUDIO_RING",
        4 * 1024 * 1024,
        "Audio of one stream kept for another worker: what has not been heard to the end of its utterance",
        unit="bytes",
        minimum=65_536,
    )
    ahead_s: float = setting(
        "PARLEY_AUDIO_AHEAD_S",
        60.0,
        "How much more audio a stream may have sent than time has passed",
        unit="seconds",
        minimum=1,
    )
    streams: int = setting("PARLEY_AUDIO_STREAMS", 500, "Streams of audio at one gateway", unit="streams", minimum=1)
    identity_streams: int = setting(
        "PARLEY_AUDIO_IDENTITY_STREAMS",
        10,
        "Streams of audio of one user with a token at one gateway",
        unit="streams",
        zero="no bound",
        minimum=0,
    )
    longest_s: float = setting(
        "PARLEY_AUDIO_LONGEST_S", 10_800.0, "Longest stream of audio", unit="seconds of audio", minimum=1
    )
    silence_ms: int = setting(
        "PARLEY_AUDIO_SILENCE_MS",
        600,
        "Silence that ends an utterance where the client does not say",
        unit="milliseconds",
        minimum=100,
        maximum=10_000,
    )
    idle_s: float = setting(
        "PARLEY_AUDIO_IDLE_S",
        60.0,
        "A stream without any audio for so long ends, as it holds a worker's seat",
        unit="seconds",
        minimum=1,
    )
