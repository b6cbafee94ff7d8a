"""More interleavings, each of which goes well for several reasons: taking one mechanism away would not show."""

from contextlib import suppress
from typing import Final

from .scene import STEP_S, Act, Scene, counted

ADOPTED: Final = 'parley_jobs_total{outcome="adopted"'


async def ending_record(scene: Scene) -> None:
    """A record is confirmed, no recorder is awake, and its gateway dies: the other one, which the record does not
    name, has to learn of the row by itself.
    """
    person = await scene.person()
    first, second = scene.hold("record"), scene.hold("recorded")
    await scene.ask(person, scene.question())
    await first.reached(STEP_S)
    await person.until(lambda: scene.text(person).endswith("t6"))
    for recorder in scene.world.of("rag"):
        scene.inject("stop-rag", recorder, "record")
        recorder.pause()
    first.release()
    await second.reached(STEP_S)
    second.release()
    scene.inject("kill-gateway", scene.gateway(1), "recorded")
    await scene.gateway(1).kill()
    await person.move(scene.gateway(2))
    for recorder in scene.world.of("rag"):
        recorder.resume()


async def adopted(scene: Scene) -> None:
    """A worker loses its links in mid-answer, and its job comes back to itself: it keeps its engine and goes on under
    the higher fence.
    """
    person = await scene.person()
    stop = scene.hold("answer")
    await scene.ask(person, scene.question())
    worker = scene.member(await stop.reached(STEP_S))
    (other,) = (member for member in scene.world.of("inference") if member is not worker)
    before = await counted([worker], ADOPTED)
    for fault, member in (("stop-inference", other), ("cut-inference", worker)):
        scene.inject(fault, member, "answer")
    other.pause()
    other.proxy.cut()
    worker.proxy.cut()
    try:
        await scene.until_counted([worker], ADOPTED, before)
    finally:
        other.resume()
    half = scene.text(person)
    stop.release()
    await person.until(lambda: scene.turn in person.done)
    assert scene.text(person).startswith(half), "the answer was begun anew"


async def sleeping_gateway(scene: Scene) -> None:
    """A gateway sleeps in mid-answer, its client goes to the other one, and comes back when it has woken."""
    person = await scene.person()
    stop = scene.hold("answer")
    await scene.ask(person, scene.question())
    await stop.reached(STEP_S)
    await scene.until_half(person)
    sleeper = scene.gateway(1)
    scene.inject("stop-gateway", sleeper, "answer")
    sleeper.pause()
    await person.move(scene.gateway(2))
    stop.release()
    await person.until(lambda: scene.turn in person.done)
    sleeper.resume()
    again = await scene.person(1, person.raw.session, (scene.turn,))
    await again.until(lambda: scene.turn in again.done)


async def killed_before_two(scene: Scene) -> None:
    """The worker of a repeatable answer is killed while the client reads at two gateways: both go on without a word."""
    person = await scene.person()
    stop = scene.hold("answer")
    await scene.ask(person, scene.question(salt=False))
    victim = scene.member(await stop.reached(STEP_S))
    await scene.until_half(person)
    other = await scene.person(2, person.raw.session, (scene.turn,))
    await scene.until_half(other)
    scene.inject("kill-inference", victim, "answer")
    await victim.kill()
    await other.until(lambda: scene.turn in other.done)


async def overtaken_submission(scene: Scene) -> None:
    """A turn is sent to a second gateway while its first job waits for the claim: the second one wins, and the first
    gateway's client is told the same.
    """
    person = await scene.person()
    stop = scene.hold("queued")
    await scene.ask(person, scene.question())
    await stop.reached(STEP_S)
    other = await scene.person(2, person.raw.session)
    await scene.ask(other, scene.question(), again=True)
    await other.until(lambda: scene.text(other))
    stop.release()
    for each in (other, person):
        await each.until(lambda each=each: scene.turn in each.done)  # type: ignore[misc]  # a default binds the name


async def three_deaths(scene: Scene) -> None:
    """A worker is killed in mid-answer, the next one before its record, the third before its ack."""
    person = await scene.person()
    stop = scene.hold("answer")
    await scene.ask(person, scene.question(salt=False))
    for phase, following in (("answer", "record"), ("record", "recorded"), ("recorded", "")):
        victim = scene.member(await stop.reached(STEP_S))
        if following:
            stop = scene.hold(following)
        scene.inject("kill-inference", victim, phase)
        await victim.kill()
        victim.start()
    with suppress(TimeoutError):
        await person.until(lambda: scene.turn in person.done)


INTERLEAVINGS: Final[dict[str, Act]] = {
    "ending-record": ending_record,
    "adopted": adopted,
    "sleeping-gateway": sleeping_gateway,
    "killed-before-two": killed_before_two,
    "overtaken-submission": overtaken_submission,
    "three-deaths": three_deaths,
}
