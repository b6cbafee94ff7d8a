"""Server-sent events, read incrementally: of WHATWG HTML, "Server-sent events", what matters to a stream of data."""

import codecs

MAX_EVENT = 1_048_576
"""Characters of one event's data."""


class EventTooLarge(ValueError):
    """One event holds more than :data:`MAX_EVENT` characters."""


class SseReader:
    """Bytes in, the data of whole events out. Lines end in LF, CRLF or CR, wherever the network cuts them; several
    ``data`` lines of one event are joined with LF; comments and other fields are skipped.
    """

    def __init__(self) -> None:
        self._decode = codecs.getincrementaldecoder("utf-8-sig")(errors="replace").decode
        self._rest = ""
        self._data: list[str] = []
        self._size = 0
        self._after_cr = False

    def feed(self, chunk: bytes) -> list[str]:
        """Data of the events that ``chunk`` completes. Raises EventTooLarge."""
        text = self._decode(chunk)
        if self._after_cr and text:
            # The LF of a CRLF that was cut in two.
            text = text.removeprefix("\n")
            self._after_cr = False
        self._after_cr = self._after_cr or text.endswith("\r")
        lines = (self._rest + text).replace("\r\n", "\n").replace("\r", "\n").split("\n")
        self._rest = lines.pop()
        if len(self._rest) > MAX_EVENT:
            raise EventTooLarge(f"an event has more than {MAX_EVENT} characters")
        return [event for line in lines if (event := self._line(line)) is not None]

    def _line(self, line: str) -> str | None:
        if not line:
            event = "\n".join(self._data) if self._data else None
            self._data, self._size = [], 0
            return event
        name, _, value = line.partition(":")
        if name == "data":
            self._data.append(value.removeprefix(" "))
            self._size += len(value)
            if self._size > MAX_EVENT:
                raise EventTooLarge(f"an event has more than {MAX_EVENT} characters")
        return None

    def end(self) -> str | None:
        """Data of an event that the end of the stream left without its blank line."""
        last = self._line(self._rest) if self._rest else None
        return last if last is not None else self._line("")
