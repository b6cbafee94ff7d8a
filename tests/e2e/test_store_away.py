"""The store on real processes: away for a while, claimed at every stage, and rid of dead letters."""

import asyncio
import functools
import json
import signal
import sqlite3
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from subprocess import CompletedProcess

import pytest

from parley_protocol.routes import WORK, Stage, topology
from parley_runtime.amqp import AmqpBroker
from parley_runtime.ports import Message
from parley_testkit.stack import Stack, soon

from .harness import INTERVAL_MS, TOKENS, WHOLE, parley, stored
from .sockets import opened
from .test_faults import at_work

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def always(request: pytest.FixtureRequest) -> Iterator[Stack]:
    """A stack whose stages claim every delivery, and wait for a lock no longer than a moment."""
    lab = request.getfixturevalue("lab")
    with lab.stack(
        "always",
        roles={"rag": 1, "inference": 2, "gateway": 1},
        PARLEY_ENGINE="scripted",
        PARLEY_SCRIPT_TOKENS=str(TOKENS),
        PARLEY_SCRIPT_INTERVAL_MS=str(INTERVAL_MS),
        PARLEY_CLAIM="always",
        PARLEY_STORE_TIMEOUT_S="0.2",
    ) as running:
        yield running


async def test_a_locked_store_holds_turns_up_and_ends_none(always: Stack) -> None:
    turn = uuid.uuid4().hex
    (rag,) = always.of("rag")
    with closing(sqlite3.connect(always.folder / "parley.db", isolation_level=None)) as lock:
        lock.execute("BEGIN IMMEDIATE")
        async with opened(always.url) as socket:
            await socket.start(turn)
            refused = functools.partial(rag.get, "/readyz")
            answer = await soon(lambda: (found := refused()).status_code == 503 and found, "not ready", limit_s=60)
            assert "locked" in answer.text
            lock.execute("ROLLBACK")
            done = await socket.until_done(turn)
    assert (done["status"], done["text"]) == ("completed", WHOLE)
    assert [row["text"] for row in stored(always, turn)] == [WHOLE]
    await asyncio.to_thread(rag.wait_ready)


async def test_a_killed_worker_is_succeeded_where_every_delivery_claims(always: Stack) -> None:
    turn = uuid.uuid4().hex
    async with opened(always.url) as socket:
        await socket.start(turn)
        await socket.until_text(turn, 30)
        victim = await asyncio.to_thread(at_work, always)
        await asyncio.to_thread(victim.end, signal.SIGKILL)
        try:
            done = await socket.until_done(turn)
        finally:
            victim.start()
            await asyncio.to_thread(victim.wait_ready)
        assert (done["status"], done["text"], socket.seen(turn).restarts) == ("completed", WHOLE, 0)
    (row,) = stored(always, turn)
    assert row["text"] == WHOLE


async def test_dead_letters_are_dropped(always: Stack) -> None:
    broker = AmqpBroker(always.amqp_url, name="test", topology=topology())
    try:
        link = await broker.open("publish")
        for number in range(3):
            await link.publish(WORK, Stage.RETRIEVE, Message(b"\xc1 %d" % number))
    finally:
        await broker.close()

    def listed() -> list[dict[str, str]]:
        found: list[dict[str, str]] = json.loads(parley(always.url, "dead", "list", "--json").stdout)
        return found

    letters = await soon(lambda: len(found := listed()) == 3 and found, "parked", limit_s=60)
    command: Callable[..., CompletedProcess[str]] = functools.partial(parley, always.url, "dead")
    one = await asyncio.to_thread(command, "drop", letters[0]["id"], "none", "--yes")
    assert (one.returncode, one.stdout) == (1, "dropped 1 dead letter\n")
    rest = await asyncio.to_thread(command, "drop", "--all", "--reason", "rejected", "--yes", "--json")
    assert (rest.returncode, len(json.loads(rest.stdout)["dropped"])) == (0, 2)
    assert await asyncio.to_thread(listed) == []
