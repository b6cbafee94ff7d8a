"""Answers that are ready: told word for word, and by a model only where every figure stays."""

from collections.abc import AsyncGenerator

import pytest

from parley_inference.engine import Piece, Request
from parley_inference.prepared import PreparedGenerator, same_figures
from parley_protocol.events import Usage
from parley_protocol.work import ChatMessage
from parley_runtime.errors import EngineError

pytestmark = pytest.mark.unit
TEXT = "昨天水温：最高 24.0℃（pond-1，2026-11-27 16:00）。"


class Model:
    """Says what it is told to say."""

    name, model, deterministic, continues = "fake", "fake-1", False, False

    def __init__(self, said: str, fails: bool = False) -> None:
        self.said, self.fails, self.asked = said, fails, 0

    async def generate(self, request: Request, *, prefix: str = "") -> AsyncGenerator[Piece, None]:
        self.asked += 1
        yield Piece(self.said)
        if self.fails:
            raise EngineError("broken off")
        yield Piece("", Usage(3, 4))


def request() -> Request:
    return Request(messages=(ChatMessage("user", "q"),), question="q", prepared=TEXT)


async def told(engine: PreparedGenerator, prefix: str = "") -> list[Piece]:
    return [piece async for piece in engine.generate(request(), prefix=prefix)]


async def test_it_is_told_word_for_word_in_pieces() -> None:
    pieces = await told(PreparedGenerator(0.0))
    assert "".join(piece.text for piece in pieces) == TEXT
    assert len(pieces) > 5
    assert pieces[-1].usage == Usage(completion_tokens=len(pieces) - 1)


async def test_a_successor_goes_on_from_what_was_delivered() -> None:
    pieces = await told(PreparedGenerator(0.0, Model("another text")), prefix=TEXT[:9])
    assert pieces[0].text == TEXT[:9]
    assert "".join(piece.text for piece in pieces) == TEXT


async def test_a_model_may_phrase_it_and_keeps_every_figure() -> None:
    phrased = "pond-1 在 2026-11-27 16:00 测到昨天的最高水温：24.0 ℃。"
    pieces = await told(PreparedGenerator(0.0, Model(phrased)))
    assert "".join(piece.text for piece in pieces) == phrased
    assert pieces[-1].usage == Usage(3, 4)


@pytest.mark.parametrize(
    "said",
    [
        "最高 24℃（pond-1，2026-11-27 16:00）",
        "很热",
        "",
        TEXT + " 平均 20.0",
        "二十四度，24.0℃，pond-1，2026-11-27 16:00",
    ],
)
async def test_a_model_that_changes_a_figure_is_not_told(said: str) -> None:
    pieces = await told(PreparedGenerator(0.0, Model(said)))
    assert "".join(piece.text for piece in pieces) == TEXT


async def test_a_model_that_fails_leaves_the_answer_as_it_is() -> None:
    pieces = await told(PreparedGenerator(0.0, Model("最高 24", fails=True)))
    assert "".join(piece.text for piece in pieces) == TEXT


def test_figures_are_compared_by_their_digits() -> None:
    assert same_figures("a 1.50 b -2", "-2 and １.50, 1.50 again")
    assert not same_figures("a 1.50", "a 1.5")
    assert not same_figures("a -2", "a 2")
