"""What of an answer's text is said aloud. Pure.

Citations and code are not; of links the words are; of addresses the host; of markdown's marks nothing.
"""

import re
from array import array
from dataclasses import dataclass, field

_TOKEN = re.compile(
    r"""
      (?P<code>```.*?(?:```|\Z))
    | !?\[(?P<link>[^\]\n]*)\]\([^()\s]*(?:\s"[^"\n]*")?\)
    | (?P<cite>\[\^?\d{1,3}(?:\s?[,，、–-]\s?\^?\d{1,3})*\]|【\d{1,3}[^】\n]{0,40}】)
    | https?://(?:www\.)?(?P<host>[^\s/?\#)\]>"'，。；！？、（）]+)[^\s)\]>"'，。；！？、（）]*
    | (?P<tag></?[A-Za-z][^<>\n]{0,80}>)
    | (?P<rule>(?m:^[ \t]*[|:*_=-][ \t|:*_=-]{2,}$))
    | (?P<mark>(?m:^[ \t]*(?:(?:[-+*•>]|\#{1,6})[ \t]+)+))
    """,
    re.X | re.S,
)
_DROPPED = frozenset("*`#~|\\")
"""Marks that are silent wherever they stand."""


@dataclass(frozen=True, slots=True)
class Spoken:
    """``text`` is what is said, and ``at[i]`` the place in the answer of its character ``i``."""

    text: str
    at: "array[int]" = field(default_factory=lambda: array("L"))

    def __bool__(self) -> bool:
        return any(char.isalnum() for char in self.text)


class _Said:
    """Collects characters; blanks become one, and none stands at the beginning."""

    def __init__(self) -> None:
        self.chars: list[str] = []
        self.at = array("L")

    def add(self, text: str, at: int) -> None:
        for offset, char in enumerate(text):
            if char.isspace() or not char.isprintable():
                self.blank(at + offset)
            elif char == "_":
                self._underscore(text, offset, at + offset)
            elif char not in _DROPPED and not _is_picture(char):
                self._put(char, at + offset)

    def blank(self, at: int) -> None:
        if self.chars and self.chars[-1] != " ":
            self._put(" ", at)

    def _underscore(self, text: str, offset: int, at: int) -> None:
        """``_so_`` is emphasis, ``a_name`` is a name: either way nobody says "underscore"."""
        if text[offset - 1 : offset].isalnum() and text[offset + 1 : offset + 2].isalnum():
            self.blank(at)

    def _put(self, char: str, at: int) -> None:
        self.chars.append(char)
        self.at.append(at)


def _is_picture(char: str) -> bool:
    """Emoji and dingbats: engines read their names aloud."""
    code = ord(char)
    return 0x2600 <= code <= 0x27BF or 0x1F000 <= code <= 0x1FAFF or code == 0x200D


def spoken(text: str, start: int = 0) -> Spoken:
    """What is said of ``text``, a piece of an answer that begins at ``start``."""
    said, at = _Said(), 0
    for token in _TOKEN.finditer(text):
        said.add(text[at : token.start()], start + at)
        at = token.end()
        for group in ("link", "host"):
            if token.group(group) is not None:
                said.add(token.group(group), start + token.start(group))
        if token.group("code") or token.group("tag") or token.group("rule"):
            said.blank(start + token.start())
    said.add(text[at:], start + at)
    while said.chars and said.chars[-1] == " ":
        said.chars.pop()
        said.at.pop()
    return Spoken("".join(said.chars), said.at)
