"""A clean history, made at random, passes; the same history with one thing wrong does not."""

import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from ..history import Closed, Happening, Received
from .checker import judge
from .script import Script, end, numbered

pytestmark = pytest.mark.unit

SEEDS = st.integers(0, 2**32)
BOUNDED = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


class Author:
    """Writes clean histories: sessions that ask turn after turn, drop, resume, cancel and start anew."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.happenings: list[Happening] = []

    def write(self) -> list[Happening]:
        clients = [Script(name, f"session-{name}", self.happenings) for name in "abc"[: self.rng.randint(1, 3)]]
        for client in clients:
            client.open()
        turns = [self._turn(client, f"t{number}") for client in clients for number in range(1, 4)]
        self.rng.shuffle(turns)
        for client in clients:  # a session's turns in order, those of several sessions mixed
            for step in (step for steps in turns if steps[0] is client for step in steps[1]):
                step()
        self.happenings.sort(key=lambda happening: happening.at)
        return clients[0].finished()

    def _turn(self, client: Script, turn: str) -> tuple[Script, list[Callable[[], Any]]]:
        rng, count = self.rng, self.rng.randint(2, 7)
        run = f".{rng.randrange(16**4):04x}" if rng.random() < 0.5 else ""
        words = [f"{turn}-{client.client}{run}.t{number} " for number in range(1, count + 1)]
        words[-1] = words[-1].rstrip()
        cancelled = rng.randint(1, count - 1) if rng.random() < 0.2 else 0
        dropped = rng.randint(1, count - 1) if rng.random() < 0.4 else 0
        steps: list[Callable[[], Any]] = [
            lambda: client.asked(turn, text=f"why? tokens={count}"),
            lambda: client.accepted(turn),
            lambda: client.turn(turn, "turn.status", stage="retrieving"),
        ]
        for number, word in enumerate(words[: cancelled or count]):
            if dropped and number == dropped:
                steps += [client.closed, lambda: client.resume(turn, turn)]
            steps.append(lambda word=word: client.delta(turn, word))  # type: ignore[misc]  # a default binds it
        told = "".join(words[: cancelled or count])
        if cancelled:
            steps.append(lambda: client.send(type="turn.cancel", turn=turn))
        steps.append(lambda: client.done(turn, told, status="cancelled" if cancelled else "completed"))
        if rng.random() < 0.5:
            steps.append(lambda: client.reread(turn, told, status="cancelled" if cancelled else "completed"))
        return client, steps


def frames(happenings: list[Happening], *kinds: str) -> list[int]:
    """Where frames of these types are."""
    return [
        index for index, each in enumerate(happenings) if isinstance(each, Received) and each.frame.get("type") in kinds
    ]


def with_frame(happenings: list[Happening], index: int, **fields: Any) -> None:
    each = happenings[index]
    assert isinstance(each, Received)
    happenings[index] = replace(each, frame=each.frame | fields)


def drop_a_frame(happenings: list[Happening], rng: random.Random) -> None:
    del happenings[rng.choice(frames(happenings, "turn.status", "answer.delta", "turn.done"))]


def repeat_a_frame(happenings: list[Happening], rng: random.Random) -> None:
    index = rng.choice(frames(happenings, "turn.status", "answer.delta", "turn.done", "turn.accepted"))
    happenings.insert(index, happenings[index])


def swap_two_frames(happenings: list[Happening], rng: random.Random) -> None:
    """Of one socket's turn, neighbours there."""
    pairs = []
    last: dict[tuple[str, int, str], int] = {}
    for index in frames(happenings, "turn.status", "answer.delta", "turn.done"):
        each = happenings[index]
        assert isinstance(each, Received)
        key = (each.client, each.socket, each.frame["turn"])
        if key in last:
            pairs.append((last[key], index))
        last[key] = index
    one, other = rng.choice(pairs)
    happenings[one], happenings[other] = happenings[other], happenings[one]


def swap_two_texts(happenings: list[Happening], rng: random.Random) -> None:
    """Two deltas' texts, numbers left alone; of turns with at least two."""
    deltas: dict[tuple[str, str], list[int]] = {}
    for index in frames(happenings, "answer.delta"):
        each = happenings[index]
        assert isinstance(each, Received)
        deltas.setdefault((each.client, each.frame["turn"]), []).append(index)
    some = [indexes for indexes in deltas.values() if len(indexes) > 1]
    one, other = rng.sample(rng.choice(some), 2) if some else (0, 0)
    if some:
        texts = [happenings[index].frame["text"] for index in (one, other)]  # type: ignore[union-attr]  # deltas
        with_frame(happenings, one, text=texts[1])
        with_frame(happenings, other, text=texts[0])
    else:
        drop_a_frame(happenings, rng)


def change_a_delta(happenings: list[Happening], rng: random.Random) -> None:
    with_frame(happenings, rng.choice(frames(happenings, "answer.delta")), text="something ")


def change_the_end(happenings: list[Happening], rng: random.Random) -> None:
    index = rng.choice(frames(happenings, "turn.done"))
    with_frame(happenings, index, text=happenings[index].frame["text"] + " more")  # type: ignore[union-attr]  # a done


def change_the_status(happenings: list[Happening], rng: random.Random) -> None:
    status = rng.choice(["failed", "expired", "open"])
    with_frame(happenings, rng.choice(frames(happenings, "turn.done")), status=status)


def give_a_frame_to_another_turn(happenings: list[Happening], rng: random.Random) -> None:
    with_frame(happenings, rng.choice(frames(happenings, "answer.delta", "turn.done")), turn="t99")


def change_whose_words_they_are(happenings: list[Happening], rng: random.Random) -> None:
    """In the deltas and in the end alike, so that only the words tell."""
    index = rng.choice(frames(happenings, "turn.done"))
    done = happenings[index]
    assert isinstance(done, Received)
    tag = f"{done.frame['turn']}-{done.client}."
    for each in frames(happenings, "answer.delta", "turn.done"):
        other = happenings[each]
        assert isinstance(other, Received)
        if (other.client, other.frame["turn"]) == (done.client, done.frame["turn"]):
            with_frame(happenings, each, text=other.frame["text"].replace(tag, "zz-z."))


def end_twice(happenings: list[Happening], rng: random.Random) -> None:
    index = rng.choice(frames(happenings, "turn.done"))
    done = happenings[index]
    assert isinstance(done, Received)
    again = numbered(done.client, done.frame["turn"], "turn.done", done.frame["seq"] + 1, **end("completed", ""))
    happenings.insert(index + 1, replace(done, frame=again))


def restart_for_nothing(happenings: list[Happening], rng: random.Random) -> None:
    """With the numbers after it moved up: nothing else is wrong."""
    index = rng.choice(frames(happenings, "answer.delta"))
    first = happenings[index]
    assert isinstance(first, Received)
    turn = first.frame["turn"]
    restarted = numbered(first.client, turn, "turn.restarted", first.frame["seq"], attempt=2)
    for each in frames(happenings, "answer.delta", "turn.done"):
        other = happenings[each]
        assert isinstance(other, Received)
        if each >= index and (other.client, other.frame["turn"]) == (first.client, turn):
            with_frame(happenings, each, seq=other.frame["seq"] + 1)
    happenings.insert(index, replace(first, frame=restarted))


def close_for_good(happenings: list[Happening], rng: random.Random) -> None:
    index = rng.choice(frames(happenings, "turn.status", "answer.delta"))
    each = happenings[index]
    assert isinstance(each, Received)
    happenings.insert(index, Closed(each.at, each.client, each.socket, rng.choice([1000, 1011, 1012, 4101])))


MUTATIONS = [
    drop_a_frame,
    repeat_a_frame,
    swap_two_frames,
    swap_two_texts,
    change_a_delta,
    change_the_end,
    change_the_status,
    give_a_frame_to_another_turn,
    change_whose_words_they_are,
    end_twice,
    restart_for_nothing,
    close_for_good,
]


@BOUNDED
@given(seed=SEEDS)
def test_a_clean_history_passes(seed: int) -> None:
    verdict = judge(Author(seed).write())
    assert [str(violation) for violation in verdict.violations] == []
    assert verdict.ok


@pytest.mark.parametrize("mutate", MUTATIONS, ids=[mutate.__name__ for mutate in MUTATIONS])
@BOUNDED
@given(seed=SEEDS, choice=SEEDS)
def test_whatever_is_wrong_is_found(
    mutate: Callable[[list[Happening], random.Random], None], seed: int, choice: int
) -> None:
    happenings = Author(seed).write()
    mutate(happenings, random.Random(choice))
    assert judge(happenings).violations
