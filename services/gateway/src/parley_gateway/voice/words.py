"""Putting together what was heard in pieces. Pure."""

import unicodedata

_CLOSED = ("CJK", "HIRAGANA", "KATAKANA", "FULLWIDTH", "IDEOGRAPHIC")


def join(*pieces: str) -> str:
    """The pieces as one text: with a space between them, but for scripts that have none."""
    text = ""
    for piece in filter(None, (piece.strip() for piece in pieces)):
        tight = not text or _unspaced(text[-1]) or _unspaced(piece[0])
        text += piece if tight else f" {piece}"
    return text


def _unspaced(character: str) -> bool:
    return unicodedata.name(character, "").startswith(_CLOSED)
