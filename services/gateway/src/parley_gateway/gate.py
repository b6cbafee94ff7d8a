"""Which frames of one native socket are taken at all: their size, their rate, their kind. Pure."""

from parley_gateway.config import LimitSettings
from parley_gateway.limits import Bucket, exceeds
from parley_protocol.faults import FaultCode, ProtocolError


class Gate:
    """``text``: the socket speaks JSON, and MessagePack else."""

    __slots__ = ("_bucket", "_most", "_text")

    def __init__(self, limits: LimitSettings, now: float, *, text: bool) -> None:
        self._most = limits.max_message
        self._bucket = Bucket(limits.message_rate, limits.message_burst, now)
        self._text = text

    def frame(self, data: str | bytes, now: float) -> None:
        """Raises ProtocolError ``too_large``, ``rate_limited`` or ``bad_frame``."""
        self.stray(data, now)
        if isinstance(data, str) != self._text:
            kind = "text frames with JSON" if self._text else "binary frames with MessagePack"
            raise ProtocolError(FaultCode.BAD_FRAME, f"this socket speaks {kind}; the frame was dropped")

    def stray(self, data: str | bytes, now: float) -> None:
        """One that is no frame of the socket's kind. Raises ProtocolError ``too_large`` or ``rate_limited``."""
        self.audio(data)
        if not self._bucket.take(now):
            text = "frames come faster than this socket may send them; slow down"
            raise ProtocolError(FaultCode.RATE_LIMITED, text)

    def audio(self, data: str | bytes) -> None:
        """One of a stream of audio, which bounds their rate. Raises ProtocolError ``too_large``."""
        if exceeds(data, self._most):
            raise ProtocolError(FaultCode.TOO_LARGE, f"a frame may have {self._most} bytes; this one was dropped")

    def wait_s(self) -> float:
        """Until one more frame is within the rate."""
        return self._bucket.wait_s()
