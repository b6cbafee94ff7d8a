"""Sentences of one answer that workers have been asked to say, and whose audio has not come whole. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass

from parley_gateway.voice.tape import SAMPLE, Clip
from parley_protocol.audio import Spoken


@dataclass(slots=True)
class Order:
    """One sentence's."""

    attempt: int
    due: float
    """Until when the next part of it should have come."""
    part: int = 0
    """Number of that part."""
    skip: int = 0
    """Bytes of this attempt that an earlier one has brought already."""


class Orders:
    """By the numbers of sentences. Each is said in parts, in order; whatever does not fit is dropped and counted."""

    def __init__(self, rate: int, *, wait_s: float, longest_s: float) -> None:
        """``wait_s``: between two parts; ``longest_s``: of one sentence's audio."""
        self._rate = rate
        self._wait_s = wait_s
        self._longest_s = longest_s
        self._orders: dict[int, Order] = {}
        self.dropped = 0
        """Bytes of audio that nobody wanted: late, doubled, or too much."""

    def __len__(self) -> int:
        return len(self._orders)

    def __contains__(self, index: int) -> bool:
        return index in self._orders

    def __iter__(self) -> Iterator[int]:
        return iter(tuple(self._orders))

    def put(self, index: int, attempt: int, now: float, *, skip: int = 0) -> None:
        """Somebody is asked, now, of whose audio ``skip`` bytes are there already."""
        self._orders[index] = Order(attempt, now + self._wait_s, skip=skip)

    def take(self, part: Spoken, clip: Clip | None, now: float) -> bool:
        """Audio of a sentence, for its clip. False: it is of no use, and has been dropped."""
        order = self._orders.get(part.index)
        fits = order is not None and part.attempt == order.attempt and part.part == order.part
        if order is None or clip is None or not fits or part.rate != self._rate:
            self.dropped += len(part.data)
            return False
        order.part += 1
        order.due = now + self._wait_s
        data = part.data[order.skip :]
        order.skip = max(0, order.skip - len(part.data))
        room = max(0, round(self._longest_s * part.rate) * SAMPLE - len(clip.pcm))
        self.dropped += max(0, len(data) - room)
        clip.pcm += data[:room]
        if part.fault is not None and part.fault.retryable:
            order.due = now  # ask again at once, within the attempts
        elif part.last:
            clip.whole = True
            del self._orders[part.index]
        return True

    def late(self, now: float) -> list[tuple[int, int]]:
        """(number, attempt) of those whose audio does not come: the job is lost, or whoever had it."""
        return [(index, order.attempt) for index, order in self._orders.items() if now >= order.due]

    def waits(self, now: float) -> list[float]:
        """Until one of them is late, if there are any."""
        return [min(order.due for order in self._orders.values()) - now] if self._orders else []

    def drop_from(self, first: int) -> None:
        """This sentence and those after it are not needed any more."""
        self._orders = {index: order for index, order in self._orders.items() if index < first}
