"""Audio of clients: raw in a binary frame of a JSON socket, one ``bin`` on a MessagePack socket."""

from parley_protocol.faults import FaultCode, ProtocolError

_HEADERS = {0xC4: 2, 0xC5: 3, 0xC6: 5}
"""First byte of a MessagePack ``bin`` and the bytes of its header. No other frame begins so."""


def is_audio(data: bytes, *, text: bool) -> bool:
    """Whether a binary frame holds audio. ``text``: of a socket whose other frames are text."""
    return text or (bool(data) and data[0] in _HEADERS)


def pcm_of(data: bytes, *, text: bool) -> bytes:
    """The audio. Raises ProtocolError ``bad_frame``."""
    if text:
        return data
    size = _HEADERS[data[0]]
    if len(data) < size or int.from_bytes(data[1:size], "big") != len(data) - size:
        raise ProtocolError(FaultCode.BAD_FRAME, "audio of a MessagePack socket is one bin, and nothing else")
    return data[size:]
