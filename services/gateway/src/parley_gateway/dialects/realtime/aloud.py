"""How far the text of a spoken item has been given as audio. Pure."""

from dataclasses import dataclass, field

import msgspec

from parley_gateway.dialects.realtime.faults import Unfit
from parley_gateway.dialects.realtime.items import Item, Message


@dataclass(frozen=True, slots=True)
class Given:
    """A piece of an answer's audio, from ``begin_ms`` to ``end_ms`` of it: when it has been heard, ``at`` code points
    of the answer have.
    """

    sentence: int
    begin_ms: int
    end_ms: int
    at: int


@dataclass(slots=True)
class Aloud:
    """Of one item of ``response``, whose text begins ``origin`` code points into the answer. ``ms``: all so far."""

    response: str
    origin: int = 0
    ms: int = 0
    _begin_ms: int = -1
    _sentence: int = -1
    _ends: list[tuple[int, int]] = field(default_factory=list)
    """(milliseconds, code points) of the item where a sentence ends, or has come so far."""

    def give(self, piece: Given) -> None:
        """More of it."""
        if self._begin_ms < 0:
            self._begin_ms = piece.begin_ms
        self.ms = max(0, piece.end_ms - self._begin_ms)
        end = (self.ms, max(0, piece.at - self.origin))
        if piece.sentence == self._sentence:
            self._ends[-1] = end
        else:
            self._sentence = piece.sentence
            self._ends.append(end)

    def check(self, heard_ms: int) -> None:
        """Raises Unfit where there is not so much of it."""
        if heard_ms > self.ms:
            raise Unfit(f"Audio content of {self.ms}ms is already shorter than {heard_ms}ms", param="audio_end_ms")

    def heard(self, heard_ms: int) -> int:
        """Code points of the item that have been said by then; within a sentence, at an even pace."""
        ms = at = 0
        for end_ms, end in self._ends:
            if heard_ms < end_ms:
                return at + max(0, end - at) * (heard_ms - ms) // (end_ms - ms)
            ms, at = end_ms, end
        return at


class Spoken:
    """All spoken items of a socket, the last ``kept`` of them."""

    __slots__ = ("_items", "_kept", "ms")

    def __init__(self, kept: int) -> None:
        self._kept = kept
        self._items: dict[str, Aloud] = {}
        self.ms = 0
        """Of the answer that was spoken last."""

    def give(self, item: str, piece: Given, *, response: str, origin: int) -> None:
        """More of this item; see :class:`Aloud`."""
        self.ms = piece.end_ms
        aloud = self._items.get(item)
        if aloud is None:
            aloud = self._items[item] = Aloud(response, origin)
        aloud.give(piece)
        if len(self._items) > self._kept:
            del self._items[next(iter(self._items))]

    def of(self, item: str) -> Aloud:
        """How far it has been given."""
        return self._items.get(item) or Aloud("")


def cut(item: Item, index: int, heard_ms: int, aloud: Aloud) -> Message:
    """The item, if of a part's audio only this much was heard: without the rest of its text. Raises Unfit."""
    if not isinstance(item, Message) or item.role != "assistant":
        raise Unfit("only a message of the assistant can be truncated", param="item_id")
    if index >= len(item.content):
        raise Unfit("there is no such part of its content", param="content_index")
    part = item.content[index]
    if part.type != "output_audio":
        raise Unfit("this part has no audio: only audio can be truncated", param="content_index")
    aloud.check(heard_ms)
    whole = item.status == "completed" and heard_ms == aloud.ms > 0
    parts = list(item.content)
    text = part.said if whole else heard_of(part.said, aloud.heard(heard_ms))
    parts[index] = msgspec.structs.replace(part, transcript=text)
    return msgspec.structs.replace(item, content=parts)


def heard_of(text: str, heard: int) -> str:
    """The first ``heard`` code points of a text, to a word's end (of Chinese: a character's)."""
    if heard >= len(text):
        return text
    end = max(0, heard)
    while end and text[end - 1].isascii() and not text[end - 1].isspace() and not text[end].isspace():
        end -= 1
    return text[:end].rstrip()
