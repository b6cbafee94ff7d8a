"""Putting something of a benchmark in Parley's place."""

import sys
from typing import Any


def swap(owner: Any, **replacements: Any) -> None:
    """Set attributes that exist already; ends the process, by name, where Parley no longer has one of them."""
    for name, value in replacements.items():
        if not hasattr(owner, name):
            sys.exit(f"this benchmark no longer fits Parley: {owner.__name__} has no {name}")
        setattr(owner, name, value)
