"""Bounds on real time that a loaded machine does not break."""

from collections.abc import Awaitable, Callable


async def least(measure: Callable[[], Awaitable[float]], *, under: float, tries: int = 5) -> float:
    """The shortest of ``tries`` measurements; no more of them are made once one is below ``under``.

    What other processes add to a duration is never negative: the shortest one tells what the code itself takes.
    """
    shortest = float("inf")
    for _ in range(tries):
        shortest = min(shortest, await measure())
        if shortest < under:
            break
    return shortest
