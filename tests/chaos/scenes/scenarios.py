"""Interleavings that one mechanism of the turn protocol is there for, each brought about exactly: hold points say when,
links and signals do the rest. Whole, Parley survives each of them; without its mechanism the clients see it.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from ..crowd.readers import reread
from ..crowd.wire import FixedDoor
from ..history import Finished, History, Reread
from ..world.world import Member, World
from .interleavings import INTERLEAVINGS
from .scene import STEP_S, Act, Scene, counted

REREAD_S: Final = 2.0
RECORDS: Final = "parley_records_total{"
EVENTS: Final = 'parley_publishes_total{exchange="parley.events",outcome="confirmed"}'
JOBS: Final = "parley_jobs_total{"


async def killed_worker(scene: Scene) -> None:
    """The worker of a repeatable answer is killed in mid-answer: another one goes on, without a word."""
    person = await scene.person()
    stop = scene.hold("answer")
    await scene.ask(person, scene.question(salt=False))
    victim = scene.member(await stop.reached(STEP_S))
    await scene.until_half(person)
    scene.inject("kill-inference", victim, "answer")
    await victim.kill()


async def zombie(scene: Scene) -> None:
    """A worker sleeps in mid-answer while another one takes over; it wakes when that one is in mid-answer, and says
    the rest of its own.
    """
    person = await scene.person()
    first = scene.hold("answer")
    await scene.ask(person, scene.question())
    sleeper = scene.member(await first.reached(STEP_S))
    await scene.until_half(person)
    told = await counted([sleeper], EVENTS)
    second = scene.hold("answer")
    _sleep(scene, sleeper)
    await second.reached(STEP_S)
    await scene.until_anew(person, 1.0)
    first.release()
    sleeper.resume()
    await scene.until_counted([sleeper], EVENTS, told)
    second.release()


async def zombie_record(scene: Scene) -> None:
    """A worker sleeps when its answer is whole; it wakes when another one is in mid-answer, and publishes its record
    before it hears of that.
    """
    person = await scene.person()
    first = scene.hold("record")
    await scene.ask(person, scene.question())
    sleeper = scene.member(await first.reached(STEP_S))
    await person.until(lambda: scene.text(person).endswith("t6"))
    stored = await counted(scene.world.of("rag"), RECORDS)
    second = scene.hold("answer")
    _sleep(scene, sleeper)
    await second.reached(STEP_S)
    await scene.until_anew(person, 1.0)
    first.release()
    sleeper.resume()
    await scene.until_counted(scene.world.of("rag"), RECORDS, stored)
    second.release()


async def overtaken_record(scene: Scene) -> None:
    """A worker dies between its record's confirm and its ack, while no recorder is awake: another one has begun anew
    before the record is looked at.
    """
    person = await scene.person()
    first, second = scene.hold("record"), scene.hold("recorded")
    await scene.ask(person, scene.question())
    worker = scene.member(await first.reached(STEP_S))
    await person.until(lambda: scene.text(person).endswith("t6"))
    stored = await counted(scene.world.of("rag"), RECORDS)
    for recorder in scene.world.of("rag"):
        scene.inject("stop-rag", recorder, "record")
        recorder.pause()
    first.release()
    await second.reached(STEP_S)
    third = scene.hold("answer")
    scene.inject("kill-inference", worker, "recorded")
    await worker.kill()
    await third.reached(STEP_S)
    await scene.until_anew(person, 1.0)
    for recorder in scene.world.of("rag"):
        recorder.resume()
    await scene.until_counted(scene.world.of("rag"), RECORDS, stored)
    third.release()


async def cancel_to_nobody(scene: Scene) -> None:
    """A client cancels a turn whose job no worker has: all of them sleep."""
    person = await scene.person()
    workers = scene.world.of("inference")
    for worker in workers:
        scene.inject("stop-inference", worker, "forwarded")
        worker.pause()
    stop = scene.hold("forwarded")
    await scene.ask(person, scene.question())
    await stop.reached(STEP_S)
    stop.release()
    await person.raw.send({"type": "turn.cancel", "turn": scene.turn})
    try:
        await person.until(lambda: scene.turn in person.done, 3.0)
    finally:
        for worker in workers:
            worker.resume()


async def cancelled_early(scene: Scene) -> None:
    """A client cancels a turn before its first word. No fault at all."""
    person = await scene.person()
    stop = scene.hold("first")
    await scene.ask(person, scene.question())
    await stop.reached(STEP_S)
    served = await counted(scene.world.of("inference"), JOBS)
    await person.raw.send({"type": "turn.cancel", "turn": scene.turn})
    await scene.until_counted(scene.world.of("inference"), JOBS, served)


async def cancelled_elsewhere(scene: Scene) -> None:
    """A client reads at two gateways and cancels at the second: the first hears of it without waiting for a silence.
    No fault at all.
    """
    person = await scene.person()
    await scene.ask(person, scene.question(salt=False, tokens=200, every=20))
    await scene.until_half(person)
    other = await scene.person(2, person.raw.session, (scene.turn,))
    await other.until(lambda: scene.text(other))
    await other.raw.send({"type": "turn.cancel", "turn": scene.turn})
    await other.until(lambda: scene.turn in other.done)
    await person.until(lambda: scene.turn in person.done, 1.5)


async def second_gateway(scene: Scene) -> None:
    """As :func:`zombie`, but the client also reads at another gateway, which only the first worker knows of: whoever
    takes over has to find it, before the sleeper speaks to it again.
    """
    person = await scene.person()
    first = scene.hold("answer")
    await scene.ask(person, scene.question())
    sleeper = scene.member(await first.reached(STEP_S))
    await scene.until_half(person)
    other = await scene.person(2, person.raw.session, (scene.turn,))
    await scene.until_half(other)
    told = await counted([sleeper], EVENTS)
    second = scene.hold("answer")
    _sleep(scene, sleeper)
    await second.reached(STEP_S)
    # Well within the 2 s of silence after which a gateway would ask by itself.
    await asyncio.gather(scene.until_anew(person, 0.6), scene.until_anew(other, 0.6))
    first.release()
    sleeper.resume()
    await scene.until_counted([sleeper], EVENTS, told)
    second.release()
    await other.until(lambda: scene.turn in other.done)


def _sleep(scene: Scene, worker: Member) -> None:
    """The broker sees its links end at once, and delivers its jobs again; it sees nothing before it wakes."""
    scene.inject("stop-inference", worker, "answer")
    worker.pause()
    worker.proxy.cut()


async def cut_off(scene: Scene) -> None:
    """A worker loses its links in mid-answer and its job is delivered to another one, while it goes on."""
    person = await scene.person()
    first = scene.hold("answer")
    await scene.ask(person, scene.question())
    loser = scene.member(await first.reached(STEP_S))
    await scene.until_half(person)
    scene.inject("cut-inference", loser, "answer")
    loser.proxy.cut()
    await scene.until(lambda: len(scene.passed("record")) > 0, "the other run is whole")
    first.release()


async def confirm_lost(scene: Scene) -> None:
    """A job is published, its confirm goes down with the link, and it is published again while a worker is in the
    midst of it.
    """
    person = await scene.person()
    forward, first = scene.hold("retrieving"), scene.hold("answer")
    await scene.ask(person, scene.question())
    publisher = scene.member(await forward.reached(STEP_S))
    served = await counted(scene.world.of("inference"), JOBS)
    # The worker has half an answer before the confirm is half way back.
    publisher.proxy.latency_s = 0.8
    forward.release()
    try:
        await first.reached(STEP_S)
        scene.inject("cut-rag", publisher, "retrieving")
        publisher.proxy.cut()
    finally:
        publisher.proxy.latency_s = 0.0
    await scene.until_half(person)
    await scene.until_counted(scene.world.of("inference"), JOBS, served)
    first.release()


async def cancelled(scene: Scene) -> None:
    """A client cancels an answer at a gateway that is far from the broker: much of it is still on the way. No fault at
    all.
    """
    person = await scene.person()
    await scene.ask(person, scene.question(salt=False, tokens=2000, every=2))
    await person.until(lambda: scene.text(person).count(" ") > 20)
    proxy = scene.gateway(1).proxy
    proxy.latency_s = 0.1
    try:
        await person.raw.send({"type": "turn.cancel", "turn": scene.turn})
        await person.until(lambda: scene.turn in person.done)
    finally:
        proxy.latency_s = 0.0


async def resubmission(scene: Scene) -> None:
    """The same turn is sent to another gateway while it runs. No fault at all."""
    person = await scene.person()
    stop = scene.hold("answer")
    await scene.ask(person, scene.question())
    await stop.reached(STEP_S)
    await scene.until_half(person)
    served = await counted(scene.world.of("rag"), JOBS)
    other = await scene.person(2, person.raw.session)
    await scene.ask(other, scene.question(), again=True)
    await scene.until_counted(scene.world.of("rag"), JOBS, served)
    stop.release()
    await other.until(lambda: scene.turn in other.done)


async def lost_news(scene: Scene) -> None:
    """The second half of an answer and its terminal are sent to a gateway whose link is dead, and go down with its
    queue. The row alone knows of them.
    """
    person = await scene.person()
    stop = scene.hold("answer")
    await scene.ask(person, scene.question())
    await stop.reached(STEP_S)
    await scene.until_half(person)
    gateway, told = scene.gateway(1), await counted(scene.world.of("rag"), EVENTS)
    scene.inject("blackhole-gateway", gateway, "answer")
    gateway.proxy.blackhole()
    stop.release()
    await scene.until(lambda: len(scene.passed("told")) > 0, "the terminal is sent")
    await scene.until_counted(scene.world.of("rag"), EVENTS, told)
    gateway.proxy.cut()
    await gateway.proxy.restore()


async def dead_on_accept(scene: Scene) -> None:
    """A gateway is killed before it has published a turn; the client comes back to the other one."""
    person = await scene.person()
    stop = scene.hold("accept")
    await scene.ask(person, scene.question())
    await stop.reached(STEP_S)
    with suppress(TimeoutError):
        await person.until(lambda: scene.turn in person.accepted, 0.5)
    scene.inject("kill-gateway", scene.gateway(1), "accept")
    await scene.gateway(1).kill()
    await person.move(scene.gateway(2))


async def two_questions(scene: Scene) -> None:
    """A session asks twice at once, and the first answer takes its time. No fault at all."""
    person = await scene.person()
    stop = scene.hold("answer")
    await scene.ask(person, scene.question())
    later = f"later-{scene.mark}"
    await scene.ask(person, f"tag={later} tokens=3", later, later)
    await stop.reached(STEP_S)
    with suppress(TimeoutError):
        await person.until(lambda: later in person.done, 0.7)
    stop.release()


SCENARIOS: Final[dict[str, Act]] = {
    "killed-worker": killed_worker,
    "zombie": zombie,
    "zombie-record": zombie_record,
    "overtaken-record": overtaken_record,
    "cancel-to-nobody": cancel_to_nobody,
    "cancelled-early": cancelled_early,
    "cancelled-elsewhere": cancelled_elsewhere,
    "second-gateway": second_gateway,
    "cut-off": cut_off,
    "confirm-lost": confirm_lost,
    "cancelled": cancelled,
    "resubmission": resubmission,
    "lost-news": lost_news,
    "dead-on-accept": dead_on_accept,
    "two-questions": two_questions,
    **INTERLEAVINGS,
}


@dataclass(frozen=True)
class Show:
    """With ``mutation`` on, ``scenario`` breaks ``rule`` of the checker (and perhaps others)."""

    mutation: str
    scenario: str
    rule: str


SHOWS: Final = (
    Show("no-fence-test", "zombie-record", "fenced"),
    Show("no-fence-test", "overtaken-record", "fenced"),
    Show("no-again", "cut-off", "fenced"),
    Show("no-again", "confirm-lost", "fenced"),
    Show("no-repetition", "killed-worker", "seamless"),
    Show("no-begin", "second-gateway", "fenced"),
    Show("no-watch", "lost-news", "lost"),
    Show("no-submission-test", "resubmission", "restart"),
    Show("no-reconciliation", "lost-news", "text"),
    Show("ack-on-receipt", "killed-worker", "lost"),
    Show("accept-before-confirm", "dead-on-accept", "lost"),
    Show("no-session-order", "two-questions", "overlap"),
    Show("no-fence-at-gateway", "zombie", "fenced"),
    Show("done-before-stored", "zombie-record", "record"),
    Show("no-forced-record", "cancelled-early", "lost"),
    Show("no-freeze", "cancelled", "cancel-text"),
)


@dataclass(frozen=True)
class Played:
    """``stuck``: the step of the act that could not be taken; "" where all were."""

    history: History
    stuck: str


async def play(world: World, name: str, *, wait_s: float) -> Played:
    """The scenario ``name`` on a steady world, until every turn is done or for ``wait_s`` after the act; then all is
    healed and every turn read again, at the second gateway.
    """
    history = History()
    scene = Scene(world, history, name)
    stuck = ""
    try:
        try:
            await SCENARIOS[name](scene)
        except (TimeoutError, AssertionError) as error:
            stuck = str(error) or type(error).__name__
        world.stops.forget(scene.turn)
        for turn, person in scene.turns.items():
            with suppress(TimeoutError):
                await person.until(lambda turn=turn, person=person: turn in person.done, wait_s)  # type: ignore[misc]
        await world.steady()
        for person in scene.people:
            with suppress(TimeoutError):
                await person.until(lambda person=person: not person.degraded)  # type: ignore[misc]
        scene.healed()
        history.add(Finished(history.now()))
        await asyncio.gather(*(person.go() for person in scene.people))
        last = scene.gateway(2)
        for turn, person in scene.turns.items():
            assert person.raw.session is not None
            door = FixedDoor(last.service.url, last.name)
            try:
                async with asyncio.timeout(REREAD_S):
                    await reread(history, door, person.raw.session, person.name, [turn])
            except TimeoutError:
                history.add(Reread(history.now(), person.name, turn, ()))
    finally:
        world.stops.forget(scene.turn)
        await asyncio.gather(*(person.go() for person in scene.people))
    return Played(history, stuck)
