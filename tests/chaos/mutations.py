"""Mechanisms of the turn protocol that can be switched off in a process, to show that the checker misses them."""

from collections.abc import Callable
from typing import Final

MUTATIONS: Final[dict[str, Callable[[str], None]]] = {}
"""By name; each is called with the role of the process and patches it."""


def apply(name: str, role: str) -> None:
    """Switch ``name`` off in this process. Raises KeyError for a name that is not known."""
    MUTATIONS[name](role)
