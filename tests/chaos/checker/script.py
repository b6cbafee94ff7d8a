"""Histories written by hand: one client, what it sends and what it is told, a tenth of a second apart."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Self

from ..history import (
    Asked,
    Closed,
    Finished,
    Happening,
    Healed,
    Injected,
    Opened,
    Received,
    Reread,
    Sent,
)

STEP_S = 0.1
SESSIONS = {"a": "session-a", "b": "session-b"}


@dataclass
class Script:
    """Several clients may share ``happenings`` and their clock; see :meth:`other`."""

    client: str = "a"
    session: str = "session-a"
    happenings: list[Happening] = field(default_factory=list)
    number: int = 0
    seqs: dict[str, int] = field(default_factory=dict)

    @property
    def at(self) -> float:
        return round(len(self.happenings) * STEP_S, 3)

    def other(self, client: str, session: str) -> "Script":
        """Another client in the same run."""
        return Script(client, session, self.happenings)

    def add(self, happening: Happening) -> Self:
        self.happenings.append(happening)
        return self

    # --- what the client does

    def asked(self, turn: str, *, budget_s: float = 60.0, text: str = "", interrupt: bool = False) -> Self:
        """Asked for the first time, and sent. Its tag is ``TURN-CLIENT``."""
        self.add(Asked(self.at, self.client, turn, f"{turn}-{self.client}", budget_s))
        return self.start(turn, text=text, interrupt=interrupt)

    def start(self, turn: str, *, text: str = "", interrupt: bool = False) -> Self:
        frame = {"type": "turn.start", "turn": turn, "text": text or f"{turn}?"}
        return self.send(**frame, **({"interrupt": True} if interrupt else {}))

    def send(self, **frame: Any) -> Self:
        return self.add(Sent(self.at, self.client, self.number, frame))

    def open(self, *, hello: dict[str, Any] | None = None, gap: bool = False, session: str = "") -> Self:
        """A new socket with hello and welcome."""
        self.number += 1
        self.add(Opened(self.at, self.client, self.number, "gateway-1"))
        self.send(type="hello", **(hello or {}))
        resumed = bool(hello and hello.get("session"))
        return self.told(type="welcome", session=session or self.session, resumed=resumed, gap=gap)

    def resume(self, turn: str, *pending: str, gap: bool = False) -> Self:
        """A new socket that goes on after the last frame of ``turn``."""
        position = f"{self.client}/{turn}/{self.seqs[turn] - 1}"
        return self.open(hello={"session": self.session, "position": position, "pending": list(pending)}, gap=gap)

    def closed(self, code: int = 1006, *, own: bool = False) -> Self:
        return self.add(Closed(self.at, self.client, self.number, code, own))

    # --- what it is told

    def told(self, **frame: Any) -> Self:
        return self.add(Received(self.at, self.client, self.number, frame))

    def turn(self, turn: str, type: str, *, seq: int | None = None, **fields: Any) -> Self:
        """A numbered frame; the next number unless ``seq`` says another."""
        number = self.seqs.get(turn, 0) if seq is None else seq
        self.seqs[turn] = max(self.seqs.get(turn, 0), number + 1)
        return self.told(**numbered(self.client, turn, type, number, **fields))

    def accepted(self, turn: str) -> Self:
        return self.told(type="turn.accepted", turn=turn)

    def delta(self, turn: str, text: str, *, seq: int | None = None) -> Self:
        return self.turn(turn, "answer.delta", seq=seq, text=text)

    def restarted(self, turn: str) -> Self:
        return self.turn(turn, "turn.restarted", attempt=2)

    def done(self, turn: str, text: str, *, seq: int | None = None, status: str = "completed", **fields: Any) -> Self:
        return self.turn(turn, "turn.done", seq=seq, **end(status, text, **fields))

    def error(self, code: str, turn: str, **fields: Any) -> Self:
        return self.told(type="error", code=code, message="no", retryable=True, turn=turn, **fields)

    # --- the run

    def fault(self, name: str = "kill", *, healed: bool = True) -> Self:
        self.add(Injected(self.at, name, "inference-1", "mid-answer"))
        return self.add(Healed(self.at, name, "inference-1")) if healed else self

    def reread(self, turn: str, *texts: str, status: str = "completed", ended: bool = True) -> Self:
        """Read again: ``texts`` as deltas, then their sum as the end."""
        frames = [numbered("r", turn, "answer.delta", seq, text=text) for seq, text in enumerate(texts)]
        if ended:
            frames.append(numbered("r", turn, "turn.done", len(texts), **end(status, "".join(texts))))
        return self.add(Reread(self.at, self.client, turn, tuple(frames)))

    def finished(self) -> list[Happening]:
        """The end of the run."""
        self.add(Finished(self.at))
        return self.happenings

    def __iter__(self) -> Iterator[Happening]:
        return iter(self.happenings)


def numbered(client: str, turn: str, type: str, seq: int, **fields: Any) -> dict[str, Any]:
    """A turn's frame as it is on the wire."""
    return {"type": type, "turn": turn, "seq": seq, "position": f"{client}/{turn}/{seq}", **fields}


def end(status: str, text: str, **fields: Any) -> dict[str, Any]:
    """The fields of ``turn.done``."""
    return {"status": status, "text": text, "sources": [], "usage": None, "latency": {"total_ms": 1.0}} | fields


# ---- histories that tests share

WORDS = ("t1-a.aa.t1 ", "t1-a.aa.t2 ", "t1-a.aa.t3")
B4 = tuple(f"t1-a.bbbbbb.t{number}" for number in range(1, 5))
WHOLE = "t1-a.aa.t1 t1-a.aa.t2 t1-a.aa.t3"


def begun() -> Script:
    """One turn asked and accepted."""
    return Script().open().asked("t1").accepted("t1")


def answered(script: Script, turn: str = "t1", *words: str) -> Script:
    for word in words or WORDS:
        script.delta(turn, word)
    return script


def clean() -> Script:
    """Everything that a client may see without a promise being broken."""
    run = answered(begun()).done("t1", WHOLE)
    run.asked("t2").accepted("t2").turn("t2", "turn.status", stage="retrieving")
    run.turn("t2", "retrieval", intent="question", route="kb", sources=[{"id": "s"}]).delta("t2", "t2-a.t1 ")
    run.closed().resume("t2", "t2").delta("t2", "t2-a.t2").done("t2", "t2-a.t1 t2-a.t2", sources=[{"id": "s"}])
    run.asked("t3", text="tokens=2").accepted("t3").delta("t3", "t3-a.01.t1 ").fault()
    run.restarted("t3").delta("t3", "t3-a.02.t1 t3-a.02.t2").done("t3", "t3-a.02.t1 t3-a.02.t2")
    run.asked("t4").accepted("t4").delta("t4", "t4-a.t1 ").send(type="turn.cancel", turn="t4")
    run.delta("t4", "t4-a.t2 ").done("t4", "t4-a.t1 t4-a.t2 ", status="cancelled")
    run.asked("t5").error("overloaded", "t5", retry_after_ms=200).start("t5").accepted("t5")
    run.told(type="degraded", reason="broker").told(type="restored")
    run.done("t5", "", status="failed", fault={"code": "failed", "message": "the engine failed"})
    run.asked("t6", budget_s=0.3).accepted("t6").done("t6", "", status="expired", fault={"message": "too late"})
    run.asked("t7").error("conflict", "t7")
    twin = run.other("a+1", "session-a").open(hello={"session": "session-a"}).start("t1", text="t1?").accepted("t1")
    answered(twin).done("t1", WHOLE).closed(1000, own=True)
    run.told(type="draining", reconnect_in_ms=10).closed(4001).resume("t6")
    other = run.other("b", "session-b").open().asked("t1").accepted("t1")
    answered(other, "t1", "t1-b.t1 ", "t1-b.t2").done("t1", "t1-b.t1 t1-b.t2")
    return run.reread("t1", *WORDS).reread("t3", "t3-a.02.t1 ", "t3-a.02.t2")


def lost() -> Script:
    return answered(begun())


def failed() -> Script:
    return begun().done("t1", "", status="failed", fault={"code": "failed", "message": "the engine failed"})


def missing() -> Script:
    return begun().delta("t1", WORDS[0]).delta("t1", WORDS[2], seq=2).done("t1", WHOLE)


def restart() -> Script:
    return answered(begun().delta("t1", WORDS[0]).restarted("t1")).done("t1", WHOLE)


def cancel_text() -> Script:
    run = begun().delta("t1", WORDS[0]).delta("t1", WORDS[1]).send(type="turn.cancel", turn="t1")
    return run.restarted("t1").delta("t1", WORDS[0]).done("t1", WORDS[0], status="cancelled")


def cancel_ignored() -> Script:
    run = begun().delta("t1", WORDS[0]).send(type="turn.cancel", turn="t1")
    for _ in range(25):
        run.told(type="pong")
    return run.delta("t1", WORDS[1]).done("t1", WORDS[0] + WORDS[1], status="cancelled")
