"""The clients on a server that keeps every promise, and on one that breaks one: they write down what happens."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from ..checker.checker import judge
from ..history import Asked, Closed, Finished, Happening, History, Opened, Received, Reread, Sent
from . import readers
from .clients import Fleet
from .mimic import Frame, Mimic
from .plans import Choices, Habits, Plan
from .wire import GONE, Note, Raw, decode

pytestmark = pytest.mark.unit

LIMIT_S = 30.0
BUSY = Habits(
    tokens=(3, 12),
    every_ms=(1, 12),
    pause_s=(0.0, 0.01),
    cancel=0.25,
    again=0.25,
    conflict=0.15,
    burst=0.3,
    interrupt=0.1,
    drop=0.3,
    deadline=0.2,
)


class Watched(History):
    """Wakes whoever waits for something to be written."""

    def __init__(self) -> None:
        super().__init__()
        self._changed = asyncio.Event()

    def add(self, happening: Happening) -> None:
        super().add(happening)
        self._changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(LIMIT_S):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    def frames(self, kind: type[Sent] | type[Received], *types: str) -> list[dict[str, Any]]:
        return [each.frame for each in self.happenings if isinstance(each, kind) and each.frame["type"] in types]

    def ends(self) -> int:
        return len(self.frames(Received, "turn.done"))


async def test_busy_clients_of_an_honest_server_tell_a_clean_history() -> None:
    history = Watched()
    async with Mimic().open() as mimic, Fleet(mimic.doors, history, sessions=6, seed=3, habits=BUSY) as fleet:
        await history.until(lambda: history.ends() >= 150)
        await fleet.finish(LIMIT_S)
    verdict = judge(history.happenings)
    assert [str(violation) for violation in verdict.violations] == []
    assert verdict.ok
    assert fleet.troubles == []
    counts = verdict.counts
    for name in ("completed", "cancelled", "expired", "refused conflict", "resumes", "read again"):
        assert counts[name], name
    assert counts["open"] == 0
    assert any(door.drops for door in mimic.made.values())
    twins = {each.client for each in history.happenings if isinstance(each, Asked) and "+" in each.client}
    assert twins
    assert isinstance(history.happenings[-1], Closed | Finished)


SPOILS: list[tuple[str, str, Callable[[Frame], list[Frame]]]] = [
    ("lost", "turn.done", lambda frame: []),
    ("text", "answer.delta", lambda frame: [frame | {"text": "t1"}]),
    ("malformed", "turn.status", lambda frame: [frame | {"stage": None}]),
]


@pytest.mark.parametrize(("rule", "kind", "spoil"), SPOILS, ids=[rule for rule, _, _ in SPOILS])
async def test_one_spoiled_frame_is_found(rule: str, kind: str, spoil: Callable[[Frame], list[Frame]]) -> None:
    spoiled: list[Frame] = []

    def once(frame: Frame) -> list[Frame]:
        if frame["type"] != kind or spoiled:
            return [frame]
        spoiled.append(frame)
        return spoil(frame)

    history = Watched()
    async with Mimic(spoil=once).open() as mimic, Fleet(mimic.doors, history) as fleet:
        asking = asyncio.create_task(fleet.ask_one("one", tokens=4, every_ms=1))
        await history.until(lambda: bool(spoiled))
        if rule != "lost":
            await history.until(lambda: history.ends() > 0 or rule == "malformed")
        await fleet.finish(0.2)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    assert rule in judge(history.happenings).broken


async def test_one_turn_is_written_down_from_the_question_to_the_end() -> None:
    history = Watched()
    async with Mimic().open() as mimic, Fleet(mimic.doors, history) as fleet:
        done = await fleet.ask_one("hold 1", tokens=2, every_ms=0, deadline_s=9.0)
        await fleet.finish(1.0)
    assert done is not None
    assert done.text == "aim-hold-1.t1 aim-hold-1.t2"
    kinds = [
        (type(each).__name__, getattr(each, "frame", {}).get("type"))
        for each in history.happenings
        if getattr(each, "client", "") == "aim-hold 1"
    ]
    assert kinds == [
        ("Opened", None),
        ("Sent", "hello"),
        ("Received", "welcome"),
        ("Asked", None),
        ("Sent", "turn.start"),
        ("Received", "turn.accepted"),
        ("Received", "turn.status"),
        ("Received", "answer.delta"),
        ("Received", "answer.delta"),
        ("Received", "turn.done"),
        ("Closed", None),
        ("Reread", None),
    ]
    (asked,) = (each for each in history.happenings if isinstance(each, Asked))
    assert (asked.turn, asked.tag, asked.budget_s, asked.cancels) == ("hold 1", "aim-hold-1", 9.0, False)
    (again,) = (each for each in history.happenings if isinstance(each, Reread))
    assert [frame["seq"] for frame in again.frames] == [0, 1, 2, 3]
    assert again.frames[-1]["text"] == done.text
    assert isinstance(history.happenings[-1], Finished)


async def test_a_refused_turn_is_asked_again_under_its_id() -> None:
    history = Watched()
    async with Mimic(refuse=2).open() as mimic, Fleet(mimic.doors, history) as fleet:
        assert await fleet.ask_one("one", tokens=2, every_ms=0) is not None
        await fleet.finish(1.0)
    assert [frame["turn"] for frame in history.frames(Sent, "turn.start")] == ["one", "one", "one"]
    verdict = judge(history.happenings)
    assert (verdict.violations, verdict.counts["refused overloaded"]) == ([], 2)


async def test_a_cancelled_turn_keeps_what_was_told() -> None:
    history = Watched()
    async with Mimic().open() as mimic, Fleet(mimic.doors, history) as fleet:
        done = await fleet.ask_one("one", tokens=1000, every_ms=1, cancel_at=3)
        await fleet.finish(1.0)
    assert done is not None
    assert done.status == "cancelled"
    assert judge(history.happenings).violations == []


async def test_a_reader_that_stops_reads_on_where_it_was_even_on_a_new_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "LONG", Habits(tokens=(30, 40), every_ms=(1, 1), pause_s=(0.0, 0.0)))
    monkeypatch.setattr(readers, "HOLD_S", (0.01, 0.05))
    history = Watched()
    async with Mimic().open() as mimic, Fleet(mimic.doors, history, stoppers=1, seed=5) as fleet:
        await history.until(lambda: "s1" in mimic.made and mimic.made["s1"].stalls > 0)
        mimic.made["s1"].drop()  # as a gateway does with a client that is too slow
        await history.until(lambda: history.ends() >= 3)
        await fleet.finish(LIMIT_S)
    verdict = judge(history.happenings)
    assert [str(violation) for violation in verdict.violations] == []
    hellos = history.frames(Sent, "hello")
    assert [hello for hello in hellos if hello.get("position") and hello.get("pending")]


async def test_a_turn_that_is_nowhere_is_read_again_without_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "REREAD_S", 0.1)
    history = Watched()
    async with Mimic().open() as mimic:
        await readers.reread(history, await mimic.doors("reread"), "no-such-session", "p1", ["t1"])
    (again,) = history.happenings
    assert isinstance(again, Reread)
    assert (again.client, again.turn, again.frames) == ("p1", "t1", ())


async def test_a_drop_is_the_client_s_own_doing_and_another_loss_is_not() -> None:
    history = Watched()
    async with Mimic().open() as mimic:
        door = await mimic.doors("p1")
        note = Note(history, "p1", door)
        raw = Raw(note)
        for own in (True, False):
            with pytest.raises(GONE):
                async with raw.opened():
                    if own:
                        note.drop()
                    else:
                        door.drop()
                    await raw.read()
    assert [(each.code, each.own) for each in history.happenings if isinstance(each, Closed)] == [
        (1006, True),
        (1006, False),
    ]
    assert [each.gateway for each in history.happenings if isinstance(each, Opened)] == ["gateway-1", "gateway-1"]


def test_the_same_seed_asks_the_same_and_another_one_does_not() -> None:
    def plans(name: str, seed: int) -> list[Plan]:
        choices = Choices(name, seed, BUSY)
        return [plan for _ in range(20) for plan in choices.burst()]

    assert plans("p1", 1) == plans("p1", 1)
    assert plans("p1", 1) != plans("p1", 2)
    assert len({plan.tag for name in ("p1", "p2", "p11") for plan in plans(name, 1)}) == sum(
        len(plans(name, 1)) for name in ("p1", "p2", "p11")
    )


def test_a_question_says_what_the_scripted_engine_is_to_do() -> None:
    plan = Plan(turn="t1", tag="p1-1", tokens=7, every_ms=2.5, salt=True)
    assert plan.text == "say it tag=p1-1 salt tokens=7 every=2.5"


def test_what_is_no_frame_is_kept_as_one_that_no_rule_allows() -> None:
    assert decode("[1]") == {"type": "?", "value": [1]}
    assert decode(b"\xc1")["type"] == "?"
    assert decode('{"a": 1}') == {"type": "?", "value": {"a": 1}}
