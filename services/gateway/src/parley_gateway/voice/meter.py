"""What a stream of audio may be: its format, and how much of it may come when. Pure."""

import msgspec

from parley_gateway.voice.config import EarSettings
from parley_protocol.audio import Hearing
from parley_protocol.faults import FaultCode, ProtocolError

WIDTHS = {"pcm_s16le": 2, "pcm_f32le": 4, "pcm_mulaw": 1}
"""Bytes of a sample."""
OPUS = "opus"
OPUS_BYTES_S = 64_000
"""The most that the codec makes of a second."""
MAX_PACKET = 65_535
MAX_PROMPT = 2000
BEFORE_S = 6.0
"""Silence that a worker may still need before an utterance, and what comes before it has told of its end."""
SHORTEST_S = 2.0


def check_hearing(hearing: Hearing) -> None:
    """Raises ProtocolError ``unsupported`` or ``invalid`` that names the field and says what can be had."""
    if hearing.encoding not in WIDTHS and hearing.encoding != OPUS:
        known = ", ".join((*WIDTHS, OPUS))
        raise ProtocolError(FaultCode.UNSUPPORTED, f"encoding {hearing.encoding[:40]!r} is not known; send {known}")
    if not 8000 <= hearing.rate <= 48_000:
        raise _invalid(f"rate must be 8000 to 48000 Hz, not {hearing.rate}")
    if hearing.channels not in (1, 2):
        raise _invalid(f"channels must be 1 or 2, not {hearing.channels}")
    if len(hearing.prompt) > MAX_PROMPT or len(hearing.language) > 35:
        raise _invalid(f"prompt may have {MAX_PROMPT} characters, language 35")
    point = hearing.endpointing
    if not 100 <= point.silence_ms <= 10_000:
        raise _invalid("silence_ms must be 100 to 10000")
    if not 0 < point.threshold < 1 or not 1000 <= point.longest_ms <= 120_000:
        raise _invalid("threshold must lie between 0 and 1, longest_ms between 1000 and 120000")


def bytes_per_s(hearing: Hearing) -> int:
    """Bytes of a second; of a compressed one, the most."""
    return WIDTHS[hearing.encoding] * hearing.channels * hearing.rate if hearing.encoding != OPUS else OPUS_BYTES_S


def fitting(hearing: Hearing, room: int) -> Hearing:
    """The same, with utterances so short that ``room`` bytes hold one of them: a longer one goes on in the next."""
    longest_s = max(SHORTEST_S, room / bytes_per_s(hearing) - BEFORE_S)
    point = hearing.endpointing
    if point.longest_ms <= longest_s * 1000:
        return hearing
    shorter = msgspec.structs.replace(point, longest_ms=int(longest_s * 1000))
    return msgspec.structs.replace(hearing, endpointing=shorter)


class Meter:
    """Counts one stream's audio against time."""

    def __init__(self, hearing: Hearing, settings: EarSettings, now: float) -> None:
        self.bytes_s = bytes_per_s(hearing)
        self._compressed = hearing.encoding == OPUS
        self.total = 0
        self.last_at = now
        self._settings = settings
        self._started_at = now

    def add(self, size: int, now: float) -> None:
        """Raises ProtocolError ``rate_limited`` or ``invalid``: the stream cannot go on."""
        settings = self._settings
        self.total += size
        self.last_at = now
        audio_s, passed_s = self.total / self.bytes_s, now - self._started_at
        if audio_s > passed_s + settings.ahead_s:
            text = (
                f"audio came more than {settings.ahead_s:g} s ahead of time, and the stream was ended; "
                "send it as fast as it is spoken"
            )
            raise ProtocolError(FaultCode.RATE_LIMITED, text)
        if max(audio_s, passed_s) > settings.longest_s:
            raise _invalid(
                f"a stream of audio may last {settings.longest_s:g} s, and this one was ended; begin another"
            )

    def seconds(self, size: int, now: float) -> float:
        """Of so many bytes; of compressed ones by the stream's pace so far."""
        passed_s = now - self._started_at
        pace = self.total / passed_s if self._compressed and passed_s > 0 else self.bytes_s
        return size / pace if pace else 0.0

    def idle_s(self, now: float) -> float:
        """Seconds without any audio."""
        return now - self.last_at


def _invalid(message: str) -> ProtocolError:
    return ProtocolError(FaultCode.INVALID, message)
