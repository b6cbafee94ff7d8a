"""One turn as one client is told of it: numbers, text and end, over all of the client's sockets.

What a socket tells of a turn is a *view*. A new socket goes on after the position of its hello. Where hello has none,
or the turn is asked again there, it is told from its start. After ``welcome.gap`` anything may come.
"""

from dataclasses import dataclass, field
from typing import Any

from ..history import Asked
from .answers import Reading, read
from .findings import Findings
from .numbers import Numbers

Frame = dict[str, Any]


@dataclass(slots=True)
class Socket:
    """``base``: turn and seq of the position in its hello; ``unknown``: that position, or the hello, was not seen."""

    number: int
    hello: Frame | None = None
    base: tuple[str, int] | None = None
    unknown: bool = False
    gap: bool = False
    degraded: bool = False
    starts: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class End:
    """What a ``turn.done`` says, as far as it must be the same for everyone."""

    status: str
    text: str
    sources: Any

    @staticmethod
    def of(frame: Frame) -> "End":
        return End(str(frame.get("status")), str(frame.get("text")), frame.get("sources"))

    def differs(self, other: "End") -> str:
        """What is not the same, in words; "" where nothing differs."""
        if self.status != other.status:
            return f"status {self.status!r}, before {other.status!r}"
        if self.text != other.text:
            return f"text {clip(self.text)}, before {clip(other.text)}"
        return "" if self.sources == other.sources else "other sources"


class Telling:
    """What a view has told: deltas, restarts and sources. ``partial``: its beginning is not known."""

    def __init__(self) -> None:
        self.partial = False
        self._told: list[tuple[int, str, Any]] = []

    def __bool__(self) -> bool:
        return bool(self._told)

    def keep(self, frame: Frame, kind: str) -> None:
        """A frame in order, or one that fills a hole."""
        if kind == "answer.delta":
            self._told.append((frame["seq"], kind, frame["text"]))
        elif kind == "retrieval":
            self._told.append((frame["seq"], kind, frame["sources"]))
        elif kind == "turn.restarted":
            self._told.append((frame["seq"], kind, None))

    def rewind(self, seq: int) -> None:
        """Forget what came after ``seq``."""
        self._told = [told for told in self._told if told[0] <= seq]

    def clear(self) -> None:
        """Forget everything."""
        self._told = []
        self.partial = False

    def segments(self) -> list[str]:
        """The texts between restarts, the one that counts last."""
        segments: list[list[str]] = [[]]
        for _, kind, what in sorted(self._told, key=lambda told: told[0]):
            if kind == "answer.delta":
                segments[-1].append(what)
            elif kind == "turn.restarted":
                segments.append([])
        return ["".join(parts) for parts in segments]

    def sources(self) -> Any:
        """Those named last; None where none were."""
        named = [told for told in self._told if told[1] == "retrieval"]
        return max(named, key=lambda told: told[0])[2] if named else None


class Track:
    """``next``: the number after the last frame read; ``end``: what the first ``turn.done`` said."""

    def __init__(self, client: str, turn: str, findings: Findings) -> None:
        self.client = client
        self.turn = turn
        self.asked: Asked | None = None
        self.question: str | None = None
        self.sent_at: float | None = None
        self.accepted_at: float | None = None
        self.accepted = 0
        self.refused = ""
        self.first_at: float | None = None
        self.read_at: float | None = None
        self.done_at: float | None = None
        self.restarts: list[float] = []
        self.end: End | None = None
        self.next = 0
        self._findings = findings
        self._socket = 0
        self._numbers = Numbers()
        self._telling = Telling()
        self._over = False
        self._holed = False

    @property
    def spoken(self) -> bool:
        """Whether the server has taken the turn in."""
        return self.accepted_at is not None or self.next > 0 or self.end is not None

    def breach(self, rule: str, at: float, what: str) -> None:
        """A rule was broken in this turn."""
        self._findings.breach(rule, self.client, self.turn, at, what)

    def ask_again(self, socket: Socket) -> None:
        """Sent, or accepted, after its end was read: the socket that told it may tell it anew, from the start."""
        if self._over and socket.number == self._socket:
            self._socket = 0

    def take(self, frame: Frame, kind: str, socket: Socket, at: float) -> bool:
        """The next frame with a number. False where it is not to be judged further: it was told before."""
        if socket.number != self._socket:
            self._begin(socket, at)
        seq, numbers = frame["seq"], self._numbers
        if self._over:
            self.breach("after-done", at, f"{kind} {seq} came after turn.done")
            return False
        if numbers.expected is None and (seq != self.next or not self._telling):
            self._telling.clear()
            self._telling.partial = seq > 0
        expected = numbers.expected
        if rule := numbers.take(seq):
            self.breach(rule, at, f"{kind} {seq} came where {expected} was expected")
            if rule != "reordered":
                return False
        self.next = max(self.next, seq + 1)
        self._telling.keep(frame, kind)
        if kind == "answer.delta" and self.first_at is None:
            self.first_at = at
        return True

    def _begin(self, socket: Socket, at: float) -> None:
        """A view by a socket that has not spoken of this turn before."""
        self.settle(at)
        self._socket, self._holed = socket.number, False
        hello, telling = socket.hello or {}, self._telling
        if socket.gap or socket.unknown:
            self._numbers.begin(None)
            self._over = False
        elif socket.base is not None and socket.base[0] == self.turn:
            seq = socket.base[1]
            telling.rewind(seq)
            ended = self.end is not None
            self._over = ended and seq + 1 >= self.next
            # What a finished telling held is forgotten: a text that goes on from its middle cannot be compared.
            telling.partial = telling.partial or self.next <= seq or (ended and not self._over)
            self._numbers.begin(seq + 1, resumed=True)
        elif self.turn in socket.starts or not hello.get("position"):
            self._numbers.begin(0)
            telling.clear()
            self._over = False
        else:
            self._numbers.begin(self.next, resumed=bool(hello))

    def settle(self, at: float) -> None:
        """The view is over: what is missing now stays missing."""
        for rule, numbers in self._numbers.settle():
            self._holed = True
            self.breach(rule, at, f"no frame {numbers}")

    def close(self, frame: Frame, at: float, tag: str, words: int) -> None:
        """``turn.done``: compare what was told with what it says. ``words``: how many the whole answer has, 0 for
        unknown.
        """
        self.settle(at)
        self._over = True
        end = End.of(frame)
        if not self._holed and not self._telling.partial:
            self._compare(end, at)
        self._read(end, at, tag, words)
        if self.end is None:
            self.end, self.done_at = end, at
        self._telling.clear()

    def _compare(self, end: End, at: float) -> None:
        text = self._telling.segments()[-1]
        if text != end.text:
            self.breach("text", at, f"deltas make {clip(text)}, turn.done says {clip(end.text)}")
        sources = self._telling.sources()
        if end.status == "completed" and sources is not None and sources != end.sources:
            self.breach("sources", at, f"retrieval named {len(sources)} sources, turn.done {len(end.sources or ())}")

    def _read(self, end: End, at: float, tag: str, words: int) -> None:
        whole = end.status == "completed"
        readings = [read(text, tag, whole=False) for text in self._telling.segments()[:-1]]
        readings.append(read(end.text, tag, whole=whole))
        self._judge(readings, at)
        last = readings[-1]
        if whole and last.last and words and last.last < words and not last.flaws:
            self.breach("torn-lost", at, f"the answer ends with word {last.last} of {words}")

    def _judge(self, readings: list[Reading], at: float) -> None:
        """Words as they must be; and a run that was superseded does not come back."""
        past: list[str] = []
        for reading in readings:
            for flaw in reading.flaws:
                self.breach(flaw.rule, at, flaw.what)
            for run in reading.runs:
                if run in past[:-1]:
                    self.breach("fenced", at, f"run {run!r} speaks again after run {past[-1]!r}")
                if not past or run != past[-1]:
                    past.append(run)

    def stop(self, at: float, tag: str) -> None:
        """The history ends here: an open turn is judged by what there is."""
        self.settle(at)
        if not self._over and self._telling and not self._holed:
            self._judge([read(text, tag, whole=False) for text in self._telling.segments()], at)


def clip(text: str, most: int = 60) -> str:
    """Both ends of a text, quoted, with its length."""
    if len(text) <= 2 * most:
        return repr(text)
    return f"{text[:most]!r} ... {text[-most:]!r} ({len(text)} characters)"
