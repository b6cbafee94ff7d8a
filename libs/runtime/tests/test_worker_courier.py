"""Publishing what follows a run: nothing accepted is given up since a later queue is full, missing or out of reach."""

from typing import cast

import pytest

from parley_protocol.codec import unpack_job
from parley_protocol.events import TurnStatus
from parley_protocol.work import AnyJob, Record
from parley_runtime.errors import Expired, OutcomeUnknown, Refused, Unavailable, Unroutable
from parley_runtime.ports import Link, Message
from parley_runtime.work.envelope import Courier
from parley_testkit.clock import VirtualClock
from parley_testkit.house import KEY, prompt

pytestmark = [pytest.mark.unit, pytest.mark.virtual_time]

RECORD = Record(key=KEY, submission="s", budget_s=1.0, status=TurnStatus.COMPLETED, text="So.")


class Wire:
    """A link whose publishes meet ``troubles``, one after the other, and then succeed."""

    def __init__(self, *troubles: Exception) -> None:
        self.troubles = list(troubles)
        self.asked: list[tuple[str, str, bool, AnyJob, float | None]] = []

    async def publish(
        self, exchange: str, key: str, message: Message, *, timeout_s: float = 5.0, mandatory: bool = True
    ) -> None:
        self.asked.append((exchange, key, mandatory, unpack_job(message.body), message.expires_s))
        if self.troubles:
            raise self.troubles.pop(0)


def courier(wire: Wire, clock: VirtualClock) -> Courier:
    return Courier(cast(Link, wire), clock, 5.0)


async def test_a_full_missing_or_distant_queue_is_waited_out(virtual_clock: VirtualClock) -> None:
    wire = Wire(Refused("full"), Unroutable("no queue"), Unavailable("no link"), Refused("full"))
    publisher = courier(wire, virtual_clock)
    begun = virtual_clock.monotonic()
    assert await publisher.forward(prompt(), begun + 30, lambda: True)
    assert virtual_clock.monotonic() - begun > 0.5
    assert {(exchange, key, mandatory) for exchange, key, mandatory, _, _ in wire.asked} == {
        ("parley.work", "generate", True)
    }
    jobs = [job for *_, job, _ in wire.asked]
    assert [job.again for job in jobs] == [False] * 5
    assert 29 < jobs[-1].budget_s < jobs[0].budget_s == 30.0


async def test_after_an_unknown_outcome_every_copy_says_so(virtual_clock: VirtualClock) -> None:
    wire = Wire(Refused("full"), OutcomeUnknown("no confirm"), Refused("full"))
    assert await courier(wire, virtual_clock).forward(prompt(), virtual_clock.monotonic() + 30, lambda: True)
    assert [job.again for *_, job, _ in wire.asked] == [False, False, True, True]


async def test_a_job_is_tried_until_the_turns_deadline(virtual_clock: VirtualClock) -> None:
    wire = Wire(*(Refused("full") for _ in range(1000)))
    deadline = virtual_clock.monotonic() + 10
    with pytest.raises(Expired):
        await courier(wire, virtual_clock).forward(prompt(), deadline, lambda: True)
    assert 10 <= virtual_clock.monotonic() - deadline + 10 < 12


async def test_a_record_is_tried_as_long_as_its_delivery_is_ours_and_never_expires(virtual_clock: VirtualClock) -> None:
    wire = Wire(*(Unavailable("no link") for _ in range(1000)))
    begun = virtual_clock.monotonic()
    publisher = courier(wire, virtual_clock)
    assert not await publisher.forward(RECORD, begun + 1, lambda: virtual_clock.monotonic() < begun + 100)
    assert 100 <= virtual_clock.monotonic() - begun < 103
    assert {expires_s for *_, expires_s in wire.asked} == {None}


async def test_the_ladders_delay_is_taken_off_the_budget(virtual_clock: VirtualClock) -> None:
    wire = Wire()
    publisher = courier(wire, virtual_clock)
    assert await publisher.climb(prompt(), 1, "generate", virtual_clock.monotonic() + 30, lambda: True)
    [(exchange, key, mandatory, job, expires_s)] = wire.asked
    assert (exchange, key, mandatory, job.budget_s, expires_s) == ("parley.retry.1", "generate", True, 25.0, None)
