"""Which parts of a text are to be said by which voice. Pure."""

from itertools import pairwise

CHINESE = "zh"
OTHER = ""

_HAN = ((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x323AF), (0x3007, 0x3007))


def is_han(char: str) -> bool:
    """Whether it is a Chinese character."""
    code = ord(char)
    return code >= 0x3007 and any(low <= code <= high for low, high in _HAN)


def speakable(text: str) -> bool:
    """Whether there is a letter or a digit in it."""
    return any(char.isalnum() for char in text)


def clean(text: str) -> str:
    """``text`` without characters that have no sound and trouble engines: controls, surrogates, private use."""
    return "".join(char if char.isprintable() else " " for char in text).strip()


def runs(text: str) -> list[tuple[str, str]]:
    """(script, text) of each stretch, in order; together they are ``text``. Digits, blanks and punctuation belong to
    what comes before them, or, at the beginning, to what follows.
    """
    changes: list[tuple[int, str]] = []
    for at, char in enumerate(text):
        script = CHINESE if is_han(char) else OTHER if char.isalpha() else None
        if script is not None and (not changes or changes[-1][1] != script):
            changes.append((at if changes else 0, script))
    if not changes:
        return [(OTHER, text)] if text else []
    ends = [*changes, (len(text), OTHER)]
    return [(script, text[at:end]) for (at, script), (end, _) in pairwise(ends)]
