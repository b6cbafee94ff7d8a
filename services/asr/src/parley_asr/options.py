"""Settings of leases and of how their work is shared out."""

from dataclasses import dataclass

from parley_runtime.config import setting


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenOptions:
    """Bounds of one process."""

    threads: int = setting(
        "PARLEY_ASR_THREADS",
        0,
        "Streams whose audio is worked on at the same moment",
        unit="streams",
        zero="twice as many as there are cores, and no fewer than the engine decodes in one call",
        minimum=0,
        maximum=256,
    )
    quantum_ms: int = setting(
        "PARLEY_ASR_QUANTUM_MS",
        200,
        "Audio of one stream that is worked on before the next stream has its turn",
        unit="milliseconds",
        minimum=20,
        maximum=5000,
    )
    inbox: int = setting(
        "PARLEY_ASR_INBOX",
        8_388_608,
        "Audio of one stream that may wait to be heard; a stream with more fails as overloaded",
        unit="bytes",
        minimum=65_536,
    )
    idle_s: float = setting(
        "PARLEY_ASR_IDLE_S",
        60.0,
        "A stream that sends nothing for so long is let go",
        unit="seconds",
        zero="never",
        minimum=0,
    )
    lease_s: float = setting(
        "PARLEY_ASR_LEASE_S",
        1350.0,
        "Age at which a stream moves to a fresh lease: well below the broker's consumer_timeout (30 min by default)",
        unit="seconds",
        minimum=1,
    )
    grace_s: float = setting(
        "PARLEY_ASR_GRACE_S",
        10.0,
        "How long a stream that is to move is still heard here",
        unit="seconds",
        minimum=0,
        maximum=600,
    )
    stuck_s: float = setting(
        "PARLEY_ASR_STUCK_S",
        20.0,
        "A stream whose engine has not come back for so long fails, to be heard by another process",
        unit="seconds",
        minimum=1,
    )
    audio_prefetch: int = setting(
        "PARLEY_ASR_PREFETCH", 200, "Batches of audio that the broker may hand over unacknowledged", minimum=1
    )
    vocabulary_s: float = setting(
        "PARLEY_ASR_VOCABULARY_S",
        0.5,
        "How long a stream waits, before it is heard, for the words of its knowledge base to be made ready; well below "
        "half of the gateways' PARLEY_AUDIO_LEASE_S, after which they ask again",
        unit="seconds",
        zero="not at all",
        minimum=0,
        maximum=30,
    )
