"""Who has the floor: tables of what is said over an answer, on a clock of their own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley_gateway.voice.backchannel import Backchannels
from parley_gateway.voice.floor import Act, Floor, Scene, Terms

pytestmark = pytest.mark.unit
QUIET, ANSWERING, SPEAKING = Scene(), Scene(answering=True), Scene(answering=True, speaking=True)
SPOKEN = Scene(speaking=True)
"""Generated to its end, and being spoken still."""
WORDS = Backchannels(("roger",))


ONLY = "uh-huh|Mm-hmm.|OK|okay, right|I see|yeah yeah|嗯|嗯嗯。|对，对对|好的|是的，明白了|Roger!|oh wow|嗯 ok|原来如此"
MORE = "|stop|no|wait, ok|okay what about turns|right hand|不对|停|好的但是|okra|等一下|嗯我想问|yes and then|?!"


@pytest.mark.parametrize("text", ONLY.split("|"))
def test_backchannels(text: str) -> None:
    assert WORDS.only(text)


@pytest.mark.parametrize("text", MORE.split("|"))
def test_what_wants_the_floor(text: str) -> None:
    assert not WORDS.only(text)


# (at, what happens, scene) and what is to be done
Step = tuple[float, str, Scene]
TABLE: dict[str, tuple[list[Step], list[tuple[float, Act]]]] = {
    "a question in silence": (
        [(0.0, "start", QUIET), (0.4, "what is", QUIET), (1.0, "stop", QUIET), (1.1, "=what is a turn", QUIET)],
        [(1.1, Act.TAKE)],
    ),
    "a yes in silence is an answer": (
        [(0.0, "start", QUIET), (0.3, "stop", QUIET), (0.9, "=yes", QUIET)],
        [(0.9, Act.TAKE)],
    ),
    "silence after all": ([(0.0, "start", QUIET), (0.5, "stop", QUIET), (0.6, "=", QUIET)], [(0.6, Act.IGNORE)]),
    "barge-in by words": (
        [
            (0.0, "start", SPEAKING),
            (0.3, "wait", SPEAKING),
            (0.6, "wait what", SPEAKING),
            (1.0, "stop", QUIET),
            (1.6, "=wait what about it", QUIET),
        ],
        [(0.0, Act.PAUSE), (0.6, Act.INTERRUPT), (1.6, Act.TAKE)],
    ),
    "a short word interrupts once it is certain": (
        [(0.0, "start", SPEAKING), (0.2, "stop", SPEAKING), (0.8, "=stop", SPEAKING)],
        [(0.0, Act.PAUSE), (0.8, Act.INTERRUPT), (0.8, Act.TAKE)],
    ),
    "a backchannel": (
        [(0.0, "start", SPEAKING), (0.6, "uh huh", SPEAKING), (0.7, "stop", SPEAKING), (1.3, "=uh-huh", SPEAKING)],
        [(0.0, Act.PAUSE), (1.3, Act.RESUME), (1.3, Act.IGNORE)],
    ),
    "a Chinese one": (
        [(0.0, "start", SPOKEN), (0.6, "嗯", SPOKEN), (0.7, "stop", SPOKEN), (1.3, "=嗯，对", SPOKEN)],
        [(0.0, Act.PAUSE), (1.3, Act.RESUME), (1.3, Act.IGNORE)],
    ),
    "a backchannel that goes on": (
        [
            (0.0, "start", SPEAKING),
            (0.5, "yeah", SPEAKING),
            (0.9, "yeah but why", SPEAKING),
            (2, "=yeah but why", QUIET),
        ],
        [(0.0, Act.PAUSE), (0.9, Act.INTERRUPT), (2, Act.TAKE)],
    ),
    "a cough": (
        [(0.0, "start", SPEAKING), (0.3, "stop", SPEAKING), (0.9, "=", SPEAKING)],
        [(0.0, Act.PAUSE), (0.9, Act.RESUME), (0.9, Act.IGNORE)],
    ),
    "a cough of which nothing more is heard": (
        [(0.0, "start", SPEAKING), (0.3, "stop", SPEAKING), (9.0, "=", SPEAKING)],
        [(0.0, Act.PAUSE), (2.3, Act.RESUME), (9.0, Act.IGNORE)],
    ),
    "words that come late interrupt after all": (
        [(0.0, "start", SPEAKING), (0.3, "stop", SPEAKING), (4.0, "=no stop it", SPEAKING)],
        [(0.0, Act.PAUSE), (2.3, Act.RESUME), (4.0, Act.INTERRUPT), (4.0, Act.TAKE)],
    ),
    "speech that lasts needs no words": (
        [(0.0, "start", SPEAKING), (3.0, "stop", QUIET), (3.6, "=listen to me", QUIET)],
        [(0.0, Act.PAUSE), (2.0, Act.INTERRUPT), (3.6, Act.TAKE)],
    ),
    "an answer that ended by itself meanwhile": (
        [(0.0, "start", SPEAKING), (0.3, "quiet now", QUIET), (0.9, "=quiet now", QUIET)],
        [(0.0, Act.PAUSE), (0.9, Act.RESUME), (0.9, Act.TAKE)],
    ),
    "an answer not spoken is interrupted too": (
        [(0.0, "start", ANSWERING), (0.6, "never mind", ANSWERING), (1.4, "=never mind", QUIET)],
        [(0.6, Act.INTERRUPT), (1.4, Act.TAKE)],
    ),
    "interrupted once": (
        [(0.0, "start", SPEAKING), (0.6, "no", SPEAKING), (0.9, "no I", SPEAKING), (1.5, "=no I mean it", SPEAKING)],
        [(0.0, Act.PAUSE), (0.6, Act.INTERRUPT), (1.5, Act.TAKE)],
    ),
    "a breath within an utterance": (
        [
            (0.0, "start", SPEAKING),
            (0.4, "stop", SPEAKING),
            (0.6, "start", SPEAKING),
            (1.3, "so tell me", SPEAKING),
            (2.0, "=so tell me", QUIET),
        ],
        [(0.0, Act.PAUSE), (1.3, Act.INTERRUPT), (2.0, Act.TAKE)],
    ),
}


def play(steps: list[Step]) -> list[tuple[float, Act]]:
    floor, done = Floor(Terms(), WORDS), []
    before = QUIET
    for at, what, scene in steps:
        while (due := floor.due()) is not None and due < at:
            done += [(due, act) for act in floor.tick(before, due, due)]
        before = scene
        if what == "start":
            acts = floor.started(scene, at, at)
        elif what == "stop":
            acts = floor.stopped(at)
        elif what.startswith("="):
            acts = floor.heard(what[1:], scene, at)
        else:
            acts = floor.said(what, scene, at)
        done += [(at, act) for act in acts]
    return done


@pytest.mark.parametrize("name", TABLE)
def test_table(name: str) -> None:
    steps, expected = TABLE[name]
    assert play(steps) == expected


def test_speech_interrupts_by_its_length_only_as_far_as_it_has_been_heard() -> None:
    """The recogniser has died, or the gateway stood still: whether the user speaks on will be known soon."""
    floor = Floor(Terms(enough_s=2.0, false_s=3.0), WORDS)
    assert floor.started(SPEAKING, 10.0, 7.5) == [Act.PAUSE]
    assert floor.due() == 12.0
    assert floor.tick(SPEAKING, 12.0, 7.75) == []
    assert floor.due() == 13.75
    assert floor.tick(SPEAKING, 13.75, 9.5) == [Act.INTERRUPT]
    assert floor.due() is None


def test_who_is_not_heard_holds_an_answer_up_for_a_while_only() -> None:
    floor = Floor(Terms(enough_s=2.0, false_s=3.0), WORDS)
    floor.started(SPEAKING, 10.0, 7.5)
    assert floor.tick(SPEAKING, 12.0, 7.5) == []
    assert floor.tick(SPEAKING, 14.0, 4.0) == []
    assert floor.due() == 15.0
    assert floor.tick(SPEAKING, 15.0, 4.0) == [Act.RESUME]
    assert not floor.taken
    assert floor.said("stop", SPEAKING, 16.0) == [Act.INTERRUPT]
    assert floor.heard("stop it", QUIET, 17.0) == [Act.TAKE]


MOVES = st.lists(
    st.tuples(
        st.sampled_from(["start", "stop", "wait", "uh huh", "=", "=uh huh", "=stop it"]),
        st.sampled_from([QUIET, ANSWERING, SPEAKING, SPOKEN]),
        st.sampled_from([0.0, 0.1, 0.6, 2.5, 40.0]),
        st.sampled_from([0.0, 0.0, 1.0, 30.0]),
    ),
    max_size=20,
)


@given(moves=MOVES)
def test_nothing_stays_held_up(moves: list[tuple[str, Scene, float, float]]) -> None:
    """Whatever is said or lost: a pause is followed by a resume or an interruption, at the latest 2 s after news, and
    4 s where whoever listens is behind.
    """
    floor, now, paused = Floor(Terms(), WORDS), 0.0, False
    log: list[Act] = []
    for what, scene, wait, behind in moves:
        match what:
            case "start":
                log += floor.started(scene, now, now)
            case "stop":
                log += floor.stopped(now)
            case _ if what.startswith("="):
                acts = floor.heard(what[1:], scene, now)
                assert acts[-1] in (Act.TAKE, Act.IGNORE)
                assert not floor.paused
                log += acts
            case _:
                log += floor.said(what, scene, now)
        end = now + wait
        while (due := floor.due()) is not None and due <= end:
            before = (floor.due(), floor.paused)
            log += floor.tick(scene, due, due - behind)
            assert (floor.due(), floor.paused) != before, "a timer that changes nothing"
        now = end
        if wait > (4.0 if behind else 2.0):
            assert not floor.paused
    for act in log:
        if act is Act.PAUSE:
            assert not paused
            paused = True
        elif act in (Act.RESUME, Act.INTERRUPT):
            assert paused or act is Act.INTERRUPT
            paused = False
    assert paused == floor.paused
