"""What the realtime ASR dialect says when, without a socket."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley_gateway.dialects.asr import frames
from parley_gateway.dialects.asr.frames import Action, Chunk, Code, Unfit, decoded
from parley_gateway.dialects.asr.machine import Asked, Begin, Cancel, Machine, Say
from parley_gateway.dialects.talk import Failed
from parley_protocol.faults import FaultCode, ProtocolError

pytestmark = pytest.mark.unit

SESSION = "11111111-2222-3333-4444-555555555555"
CHUNK = '{"type": "asr_chunk", "text": "TEXT", "is_final": true, "session_id": "SESSION"}'
BROKEN = frames.error(Code.RAG_FAILED, "no")


def new(limit: int = 8) -> Machine:
    return Machine(SESSION, lambda text: text.endswith("?"), limit=limit)


class Talk:
    """A machine driven by words; what it says in short."""

    def __init__(self, limit: int = 8) -> None:
        self.machine = new(limit)
        self.asked: list[Asked] = []
        self.cancelled: list[Asked] = []

    def do(self, word: str) -> list[str]:
        kind, _, rest = word.partition(" ")
        last = self.asked[-1] if self.asked else Asked("", "")
        match kind:
            case "interim":
                effects = self.machine.chunk(Chunk(rest, False))
            case "final":
                effects = self.machine.chunk(Chunk(rest, True))
            case "piece":
                effects = self.machine.piece(last, rest)
            case "anew":
                effects = self.machine.piece(last, rest, anew=True)
            case "end":
                effects = self.machine.ended(last)
            case "fail":
                effects = self.machine.failed(last, BROKEN)
            case "give-up":
                effects = self.machine.give_up(last)
            case _:
                effects = self.machine.control(Action(kind))
        return [self._short(effect) for effect in effects]

    def _short(self, effect: object) -> str:
        match effect:
            case Begin(asked):
                self.asked.append(asked)
                return f"begin {asked.text}"
            case Cancel(asked):
                self.cancelled.append(asked)
                return f"cancel {asked.text}"
            case Say("status", {"stage": stage}):
                return str(stage)
            case Say("answer", frame):
                marks = ("!" if frame["final"] else "") + ("~" if frame.get("restarted") else "")
                return f"{frame['stream_index']}{marks} {frame['content']}".rstrip()
            case Say("ack", frame):
                return "ack paused" if frame.get("message") == "paused" else "ack"
            case Say("error", frame):
                return str(frame["code"])
        raise AssertionError(effect)


BEGINS = ["analyzing", "querying_rag"]
CASES: dict[str, list[tuple[str, list[str]]]] = {
    "a question is answered": [
        ("interim wh", ["ack"]),
        ("interim why", ["ack"]),
        ("final why?", ["ack", *BEGINS, "begin why?"]),
        ("piece because", ["0 because"]),
        ("piece  of it", ["1  of it"]),
        ("end", ["2!", "idle", "listening"]),
    ],
    "no question": [("final well", ["ack", "listening"]), ("final ", ["ack", "listening"])],
    "only the final text is judged": [("interim why?", ["ack"]), ("final never mind", ["ack", "listening"])],
    "an answer without text": [("final why?", ["ack", *BEGINS, "begin why?"]), ("end", ["0!", "idle", "listening"])],
    "questions wait": [
        ("final a?", ["ack", *BEGINS, "begin a?"]),
        ("final b?", ["ack"]),
        ("final hm", ["ack", "listening"]),
        ("final c?", ["ack"]),
        ("end", ["0!", "idle", "listening", *BEGINS, "begin b?"]),
        ("fail", ["RAG_FAILED", "idle", "listening", *BEGINS, "begin c?"]),
        ("end", ["0!", "idle", "listening"]),
    ],
    "pause while nothing is answered": [
        ("pause", ["paused"]),
        ("final why?", ["ack paused"]),
        ("interim wh", ["ack paused"]),
        ("pause", ["paused"]),
        ("resume", ["listening"]),
        ("final why?", ["ack", *BEGINS, "begin why?"]),
    ],
    "pause lets the answer end, and keeps what waits": [
        ("final a?", ["ack", *BEGINS, "begin a?"]),
        ("final b?", ["ack"]),
        ("pause", []),
        ("final c?", ["ack paused"]),
        ("piece x", ["0 x"]),
        ("end", ["1!", "idle", "paused"]),
        ("resume", ["listening", *BEGINS, "begin b?"]),
        ("end", ["0!", "idle", "listening"]),
    ],
    "resume takes a pause back": [
        ("final a?", ["ack", *BEGINS, "begin a?"]),
        ("pause", []),
        ("resume", ["listening"]),
        ("end", ["0!", "idle", "listening"]),
    ],
    "resume while listening": [("resume", ["listening"])],
    "stop while nothing is answered": [
        ("stop", ["idle"]),
        ("stop", ["idle"]),
        ("interim w", ["ack", "listening"]),
        ("stop", ["idle"]),
        ("final hm", ["ack", "listening"]),
        ("stop", ["idle"]),
        ("final why?", ["ack", "listening", *BEGINS, "begin why?"]),
    ],
    "stop ends the answer and empties the queue": [
        ("final a?", ["ack", *BEGINS, "begin a?"]),
        ("final b?", ["ack"]),
        ("piece x", ["0 x"]),
        ("stop", ["cancel a?"]),
        ("piece y", ["1 y"]),
        ("end", ["2!", "idle"]),
        ("end", []),
        ("resume", ["listening"]),
    ],
    "stop of an answer that does not end": [
        ("final a?", ["ack", *BEGINS, "begin a?"]),
        ("stop", ["cancel a?"]),
        ("give-up", ["0!", "idle"]),
        ("piece late", []),
        ("fail", []),
    ],
    "stop of an answer that fails": [
        ("final a?", ["ack", *BEGINS, "begin a?"]),
        ("stop", ["cancel a?"]),
        ("fail", ["0!", "idle"]),
    ],
    "stop while paused": [("pause", ["paused"]), ("stop", ["idle"]), ("final a", ["ack", "listening"])],
    "an answer that starts anew": [
        ("final a?", ["ack", *BEGINS, "begin a?"]),
        ("anew one", ["0 one"]),
        ("anew two", ["1~ two"]),
        ("piece  more", ["2  more"]),
        ("end", ["3!", "idle", "listening"]),
    ],
}


@pytest.mark.parametrize("name", CASES)
def test_table(name: str) -> None:
    talk = Talk()
    for word, said in CASES[name]:
        assert talk.do(word) == said, word


def test_the_greeting_and_whose_session_it_is() -> None:
    machine = new()
    first, second = machine.greet()
    assert first == Say(
        "ack", {"type": "ack", "received_type": "connect", "message": "connected", "session_id": SESSION}
    )
    assert second == Say("status", {"type": "status", "stage": "listening"})
    acks = [machine.chunk(Chunk("a", False, name))[0] for name in ("", "user_001", "", "user_002")]
    assert [ack.frame["session_id"] for ack in acks if isinstance(ack, Say)] == [
        SESSION,
        "user_001",
        "user_001",
        "user_002",
    ]
    (begun,) = [each for each in machine.chunk(Chunk(" why? ", True)) if isinstance(each, Begin)]
    assert (begun.asked.text, begun.asked.session) == ("why?", "user_002")


def test_the_queue_has_a_bound() -> None:
    talk = Talk(limit=2)
    talk.do("final a?")
    assert [talk.do(f"final {which}?") for which in "bcd"] == [["ack"], ["ack"], ["ack", "OVERLOADED"]]
    assert talk.machine.waiting == 2
    assert talk.do("end")[-1] == "begin b?"
    assert talk.do("final e?") == ["ack"]


def test_what_a_drain_waits_for() -> None:
    talk = Talk()
    assert not talk.machine.busy
    talk.do("final a?")
    talk.do("final b?")
    talk.do("pause")
    assert talk.machine.busy
    talk.do("end")
    assert not talk.machine.busy
    talk.do("resume")
    assert talk.machine.busy
    talk.do("stop")
    talk.do("end")
    assert not talk.machine.busy


WORDS = st.sampled_from(
    ["interim x", "interim x?", "final x", "final x?", "pause", "resume", "stop", "piece p", "anew p", "end", "fail"]
)


@given(st.lists(WORDS, max_size=60))
def test_whatever_happens(words: list[str]) -> None:
    """Indices of each answer count up from 0; each question begun ends once; frames come in their order."""
    talk = Talk(limit=3)
    index, open_now, asked_finals = 0, False, 0
    for word in words:
        said = talk.do(word)
        if word.split()[0] in ("interim", "final"):
            assert said[0].startswith("ack")
            assert not any(each.startswith("ack") for each in said[1:])
        elif word in ("resume", "pause", "stop"):
            assert not any(each.startswith(("ack", "0", "1")) for each in said)
        asked_finals += word == "final x?" and said[0] == "ack" and "OVERLOADED" not in said
        for place, each in enumerate(said):
            head = each.split()[0]
            if head == "begin":
                assert not open_now
                assert said[place - 2 : place] == ["analyzing", "querying_rag"]
                index, open_now = 0, True
            elif head.rstrip("!~").isdigit():
                assert open_now
                assert int(head.rstrip("!~")) == index
                assert "~" not in head or index > 0
                index += 1
                if "!" in head:
                    open_now = False
                    assert said[place + 1] == "idle"
            elif head == "RAG_FAILED":
                assert open_now
                open_now = False
                assert said[place + 1] == "idle"
        assert talk.machine.waiting <= 3
    assert len(talk.asked) + talk.machine.waiting <= asked_finals
    if not {"stop", "pause"} & set(words):
        assert len(talk.asked) + talk.machine.waiting == asked_finals


@given(st.lists(st.text(max_size=20), max_size=10), st.sampled_from(["well", "why?"]))
def test_interim_texts_change_nothing(interims: list[str], final: str) -> None:
    heard, plain = new(), new()
    for text in interims:
        assert [effect.kind for effect in heard.chunk(Chunk(text, False)) if isinstance(effect, Say)] == ["ack"]
    one, other = heard.chunk(Chunk(final, True)), plain.chunk(Chunk(final, True))
    assert [each for each in one if isinstance(each, Say)] == [each for each in other if isinstance(each, Say)]
    assert [each.asked.text for each in one if isinstance(each, Begin)] == [
        each.asked.text for each in other if isinstance(each, Begin)
    ]


@pytest.mark.parametrize(
    ("data", "code", "said"),
    [
        ("{", "INVALID_JSON", "JSON"),
        ("", "INVALID_JSON", "JSON"),
        ("[" * 3000, "INVALID_JSON", "JSON"),
        ("[1]", "INVALID_JSON", "对象"),
        ('{"text": "\\ud800"}', "INVALID_JSON", "JSON"),
        ("{}", "MISSING_FIELD", "type"),
        ('{"type": 1}', "INVALID_FIELD", "type"),
        ('{"type": null}', "INVALID_FIELD", "type"),
        ('{"type": "hello"}', "UNKNOWN_TYPE", "asr_chunk"),
        ('{"type": "asr_chunk", "is_final": true}', "MISSING_FIELD", "text"),
        ('{"type": "asr_chunk", "text": "a"}', "MISSING_FIELD", "is_final"),
        ('{"type": "asr_chunk", "text": null, "is_final": true}', "INVALID_FIELD", "text"),
        ('{"type": "asr_chunk", "text": "a", "is_final": "true"}', "INVALID_FIELD", "is_final"),
        (CHUNK.replace("true", "1"), "INVALID_FIELD", "is_final"),
        ('{"type": "asr_chunk", "text": "a", "is_final": true, "session_id": 7}', "INVALID_FIELD", "session_id"),
        (CHUNK.replace("SESSION", "x" * 129), "INVALID_FIELD", "128"),
        (CHUNK.replace("TEXT", "x" * 101), "TOO_LARGE", "100"),
        ('{"type": "control"}', "MISSING_FIELD", "action"),
        ('{"type": "control", "action": 7}', "INVALID_FIELD", "action"),
        ('{"type": "control", "action": "jump"}', "UNKNOWN_ACTION", "pause"),
        ('{"type": "audio_config", "encoding": 3}', "INVALID_FIELD", "encoding"),
        ('{"type": "audio_config", "encoding": "mp3"}', "INVALID_FIELD", "pcm_s16le"),
        ('{"type": "audio_config", "encoding": "pcm_s16le", "sample_rate": 7}', "INVALID_FIELD", "8000"),
        ('{"type": "audio_config", "encoding": "pcm_s16le", "channels": 3}', "INVALID_FIELD", "channels"),
    ],
)
def test_what_cannot_be_taken(data: str, code: str, said: str) -> None:
    with pytest.raises(Unfit) as refused:
        decoded(data, 100)
    frame = frames.refusal(refused.value)
    assert (frame["type"], frame["code"]) == ("error", code)
    assert said in frame["message"]


def test_unknown_fields_are_ignored() -> None:
    data = '{"type": "asr_chunk", "text": "a", "is_final": false, "more": [1], "session_id": null}'
    assert decoded(data, 9) == Chunk("a", False)


@pytest.mark.parametrize(
    ("code", "question", "word", "said"),
    [
        (FaultCode.OVERLOADED, "为什么", "OVERLOADED", "服务繁忙"),
        (FaultCode.OVERLOADED, "why", "OVERLOADED", "busy"),
        (FaultCode.EXPIRED, "为什么", "RAG_TIMEOUT", "超时"),
        (FaultCode.EXPIRED, "why", "RAG_TIMEOUT", "in time"),
        (FaultCode.ENGINE_TIMEOUT, "why", "RAG_TIMEOUT", "REASON"),
        (FaultCode.ENGINE_FAILED, "为什么", "RAG_FAILED", "REASON"),
        (FaultCode.UNAVAILABLE, "为什么", "RAG_FAILED", "暂时无法回答"),
        (FaultCode.FAILED, "why", "RAG_FAILED", "could not"),
    ],
)
def test_a_question_without_an_answer(code: FaultCode, question: str, word: str, said: str) -> None:
    frame = frames.failure(Failed(code, "REASON", 500 if code is FaultCode.OVERLOADED else None), question)
    assert (frame["type"], frame["code"]) == ("error", word)
    assert said in frame["message"]
    assert "REASON" in frame["message"]
    assert frame.get("retry_after_ms") == (500 if code is FaultCode.OVERLOADED else None)


@pytest.mark.parametrize(
    ("code", "word"),
    [
        (FaultCode.TOO_LARGE, "TOO_LARGE"),
        (FaultCode.RATE_LIMITED, "RATE_LIMITED"),
        (FaultCode.UNAUTHORIZED, "UNAUTHORIZED"),
        (FaultCode.FAILED, "INTERNAL"),
    ],
)
def test_what_the_shell_refuses(code: FaultCode, word: str) -> None:
    assert frames.refusal(ProtocolError(code, "why"))["code"] == word
