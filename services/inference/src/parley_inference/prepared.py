"""Answers that are ready: told as they stand, whichever engine is chosen, so that no model can change a figure.

With ``PARLEY_PHRASE_DATA`` a model may phrase them anew. Its text is held back until it is whole, and told only where
it states no figure that the prepared one does not, and leaves none out.
"""

import asyncio
import re
import unicodedata
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from parley_inference.engine import Generator, Piece, Request
from parley_inference.extract.compose import pieces
from parley_protocol.events import Usage
from parley_runtime.config import setting
from parley_runtime.errors import EngineError, EngineRejected
from parley_runtime.telemetry import metrics, names
from parley_runtime.telemetry.logging import get_logger

log = get_logger(__name__)

NAME = "prepared"
_FIGURE = re.compile(r"[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
_AS_DIGIT = re.compile(r"[\u4e00-\u9fff]*[一二三四五六七八九十百千万两半]+(?:点[一二三四五六七八九零]+)?\s*[度℃%％米]")


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedSettings:
    """Settings of answers from data."""

    phrase: bool = setting(
        "PARLEY_PHRASE_DATA",
        False,
        "A model engine phrases answers from measured data; its text is held back until every figure has been checked",
    )


def same_figures(prepared: str, phrased: str) -> bool:
    """Whether ``phrased`` states every figure of ``prepared`` and none beside them. Figures in words are refused."""
    if _AS_DIGIT.search(phrased):
        return False
    return set(_figures(prepared)) == set(_figures(phrased))


def _figures(text: str) -> Counter[str]:
    return Counter(figure.lstrip("+") for figure in _FIGURE.findall(unicodedata.normalize("NFKC", text)))


class PreparedGenerator:
    """Tells ``request.prepared``. ``model``: the engine that may phrase it; None: none may."""

    name = NAME
    deterministic = True
    continues = False

    def __init__(self, pace_s: float, phraser: Generator | None = None) -> None:
        self._pace_s = pace_s
        self._phraser = phraser

    @property
    def model(self) -> str:
        """Of the engine that phrases; this one where none does."""
        return self._phraser.model if self._phraser is not None else NAME

    async def generate(self, request: Request, *, prefix: str = "") -> AsyncGenerator[Piece, None]:
        """The whole answer, from the start; what repeats ``prefix`` comes in one piece, without pace.

        A run that continues another's text tells the prepared answer where that began with it, and asks no model.
        """
        text, usage = request.prepared, Usage()
        if self._phraser is not None and not (prefix and text.startswith(prefix)):
            text, usage = await self._phrased(self._phraser, request)
        rest = pieces(text)
        count = len(rest)
        if prefix and text.startswith(prefix):
            yield Piece(prefix)
            rest = pieces(text[len(prefix) :])
        for index, piece in enumerate(rest):
            if index:
                await asyncio.sleep(self._pace_s)
            yield Piece(piece)
        yield Piece("", Usage(usage.prompt_tokens, usage.completion_tokens or count))

    async def _phrased(self, phraser: Generator, request: Request) -> tuple[str, Usage]:
        """The model's words where every figure is right, else the prepared ones."""
        parts: list[str] = []
        usage = Usage()
        try:
            async with aclosing(phraser.generate(request)) as output:
                async for piece in output:
                    parts.append(piece.text)
                    usage = piece.usage or usage
        except (EngineError, EngineRejected) as error:
            metrics.counter(names.PHRASED).labels("failed").inc()
            log.warning("a model could not phrase an answer; it is told as it stands", error=type(error).__name__)
            return request.prepared, usage
        text = "".join(parts).strip()
        right = bool(text) and same_figures(request.prepared, text)
        metrics.counter(names.PHRASED).labels("taken" if right else "figures").inc()
        if not right:
            log.warning("a model changed the figures of an answer; it is told as it stands", engine=phraser.name)
        return (text if right else request.prepared), usage

    def problem(self) -> str | None:
        """Always fine: without its model it tells the prepared text."""
        return None

    async def close(self) -> None:
        """Nothing of its own to free."""
