"""Which of a stage's engines is used: the one that a setting names, or the best that can be used; and why."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from parley_runtime.errors import ParleyError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Found(Generic[T]):
    """An engine that can be used. ``why`` tells of those passed over, too."""

    name: str
    opened: T
    why: str


async def first_usable(
    names: Sequence[str], open_one: Callable[[str], Awaitable[T]], *, because: Callable[[T], str], setting: str = ""
) -> Found[T] | str:
    """The first of ``names`` that can be opened, best first; where none can be, why not. ``because`` says in a few
    words why an engine can be used. ``setting``: what names the only one there is to try, in place of a choice.

    Raises:
        ParleyError: the engine that ``setting`` names cannot be used; the message says why.
    """
    passed_over: list[str] = []
    for name in names:
        try:
            opened = await open_one(name)
        except ParleyError as error:
            if setting:
                raise
            passed_over.append(f"{name}: {error}")
            continue
        named = f"{setting} names it" if setting else because(opened)
        return Found(name, opened, "; ".join([named, *(f"not {reason}" for reason in passed_over)]))
    return "; ".join(passed_over)
