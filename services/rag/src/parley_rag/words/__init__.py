"""Word lists: one entry to a line, ``#`` begins a comment line."""

from importlib.resources import files


def word_list(name: str) -> frozenset[str]:
    """The entries of ``name``.txt."""
    text = (files(__name__) / f"{name}.txt").read_text(encoding="utf-8")
    return frozenset(line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#"))
