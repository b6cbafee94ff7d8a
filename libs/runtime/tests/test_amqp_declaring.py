"""One declaration for all links of a process."""

import asyncio
from typing import cast

import pytest

from parley_runtime.amqp.declaring import Declared
from parley_runtime.amqp.faults import WireError
from parley_runtime.amqp.wire import Wire

pytestmark = pytest.mark.unit


class FakeWire:
    def __init__(self) -> None:
        self.closing: asyncio.Future[None] = asyncio.get_running_loop().create_future()


def wire() -> Wire:
    return cast(Wire, FakeWire())


class Declarer:
    """Declares when ``go`` is set; fails while ``broken``."""

    def __init__(self) -> None:
        self.on: list[Wire] = []
        self.go = asyncio.Event()
        self.go.set()
        self.broken = False

    async def __call__(self, on: Wire) -> None:
        self.on.append(on)
        await self.go.wait()
        if self.broken:
            raise WireError("broken", quick=True)


async def test_links_that_come_together_wait_for_one_declaration() -> None:
    declarer = Declarer()
    declared = Declared(declarer)
    declarer.go.clear()
    first, others = wire(), [wire() for _ in range(3)]
    tasks = [asyncio.create_task(declared(each)) for each in (first, *others)]
    await asyncio.sleep(0)
    assert not any(task.done() for task in tasks)
    declarer.go.set()
    await asyncio.gather(*tasks)
    assert declarer.on == [first]


async def test_when_the_wire_that_declared_is_lost_the_next_one_declares() -> None:
    declarer = Declarer()
    declared = Declared(declarer)
    first, second, third = wire(), wire(), wire()
    await declared(first)
    await declared(second)
    second.closing.set_result(None)
    await declared(third)
    assert declarer.on == [first]
    first.closing.set_result(None)
    await declared(third)
    assert declarer.on == [first, third]


async def test_a_declaration_that_failed_is_made_by_the_next_one() -> None:
    declarer = Declarer()
    declared = Declared(declarer)
    declarer.broken = True
    first, second = wire(), wire()
    with pytest.raises(WireError):
        await declared(first)
    declarer.broken = False
    await declared(second)
    assert declarer.on == [first, second]
