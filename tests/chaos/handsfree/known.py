"""What a client that talks hands free knows: of its connection, of its stream, and of its turns."""

from collections import deque
from collections.abc import Callable
from typing import Any

from websockets.asyncio.client import ClientConnection

from parley_protocol.speech import decode_audio

from .seen import Audio, Frame, Line, Talk


class Stream:
    """One ``audio.start``."""

    def __init__(self, id: str) -> None:
        self.id = id
        self.over = False
        self.left: deque[bytes] = deque()


class Socket:
    """What the client knows of the connection that it has."""

    def __init__(self, wire: ClientConnection) -> None:
        self.wire = wire
        self.open = False
        """It has been greeted."""
        self.draining = False
        self.audible: set[str] = set()
        """Turns of whose answers audio has come."""
        self.silent: set[str] = set()
        """Turns of whose answers no more comes."""
        self.asked: set[str] = set()
        """Turns whose answers are to be spoken here."""


class Known:
    """Everything that is read goes through here, and into the talk. ``at``: see the talker."""

    def __init__(self, lines: tuple[Line, ...], at: Callable[[str], None]) -> None:
        self.talk = Talk(lines)
        self.at = at
        self.session: str | None = None
        self.position: str | None = None
        self.line = -1
        """That is being said, or was said last."""
        self.stream: Stream | None = None
        self.accepted: list[str] = []
        self._done: set[str] = set()
        self._turns: dict[int, str] = {}
        """The turn of each line, as far as it is known."""

    @property
    def pending(self) -> list[str]:
        """Accepted, and not over."""
        return [turn for turn in self.accepted if turn not in self._done]

    def asked(self, number: int) -> bool:
        """Whether this line has been accepted."""
        return self._turns.get(number) in self.accepted

    def forget(self, number: int) -> None:
        """This line is said again."""
        self._turns.pop(number, None)

    def hear(self, socket: Socket, data: bytes) -> None:
        """Audio of an answer."""
        header, pcm = decode_audio(data)
        self.talk.sights.append(Audio(header.turn, header.at, len(pcm) // 2))
        socket.asked.add(header.turn)
        if header.turn not in socket.audible:
            socket.audible.add(header.turn)
            self.at("answering")

    def take(self, socket: Socket, frame: dict[str, Any]) -> None:
        """A frame."""
        self.talk.sights.append(Frame(frame))
        turn = frame.get("turn", "")
        if "seq" in frame:
            self.position = frame["position"]
        match frame["type"]:
            case "welcome":
                self.session, socket.open = frame["session"], True
            case "draining":
                socket.draining = True
            case "transcript.final" if turn not in self.accepted:
                self._turns.setdefault(self.line, turn)
            case "turn.accepted" if turn not in self.accepted:
                self._turns.setdefault(self.line, turn)
                self.accepted.append(turn)
                if self.stream is not None and turn.startswith(f"{self.stream.id}."):
                    socket.asked.add(turn)
            case "turn.done":
                self._done.add(turn)
                if frame["status"] != "completed" and turn not in socket.audible:
                    socket.silent.add(turn)
            case "error":
                self._refused(turn)
            case "speech.started" if self.talk.lines[self.line].over:
                self.at("barging")
            case "answer.flush" if frame.get("ended"):
                socket.silent.add(turn)
                self.at("interrupted")
            case "answer.flush" if self.talk.lines[self.line].backchannel:
                self.at("backchannel")
            case "answer.spoken":
                socket.silent.add(turn)

    def _refused(self, turn: str) -> None:
        if self.stream is not None and turn == self.stream.id:
            self.stream.over = True
        for number, known in list(self._turns.items()):
            if known == turn and turn not in self.accepted:
                del self._turns[number]
