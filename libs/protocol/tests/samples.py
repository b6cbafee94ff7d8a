"""One message of every kind, with every field filled, for the golden files."""

from typing import Any

import msgspec

from parley_protocol import audio, client, contact, control, events, readings, reviews, tutors, work
from parley_protocol.ids import TurnKey

KEY = TurnKey("acme", "s-1", "t-1")
SOURCE = events.Source(
    id="p1", document="guide.md", title="Guide › Start", score=1.5, text="问候 hello", start=3, end=11, kb="test"
)
READING = readings.Reading(timestamp="2026-01-02T03:04:05+00:00", value="23.50", unit="℃", sensor="pond-1")
DATA = readings.MetricData(metric="temp", readings=(READING,), truncated=True)
RETRIEVAL = events.Retrieval(1, "question", "knowledge_base", (SOURCE,), (DATA,))
MARKS = events.Marks("generating", "hello", RETRIEVAL)
HOP = events.Hop("retrieve", 0.5, 1.25, 0.75)
FAULT = events.Fault("failed", "try again", True)
USAGE = events.Usage(12, 34)
TOOLS = (work.Tool("look_up", "Looks up.", {"type": "object"}),)
SAMPLING = work.Sampling("m", 64, 0.5, 0.9, 7, ("\n",), TOOLS, "=look_up")
CALL_OF = events.ToolCall("call_1", "look_up", '{"city":"巴黎"}')
ENDING = events.Ending("length", (CALL_OF,))
JOB: dict[str, Any] = {
    "key": KEY,
    "submission": "sub",
    "budget_s": 30.0,
    "base": 2,
    "fence": 3,
    "again": True,
    "n": 4,
    "marks": MARKS,
    "reply_to": ("gateway-1",),
    "hops": (HOP,),
    "tries": 1,
    "sent_at": 1700000000.5,
    "question": "你好?",
    "kb": "test",
}
ASKING = {"engine": "dify", "user": "user_001"}
CALL: dict[str, Any] = {"call": "c1", "reply_to": "gateway-1", "tenant": "acme"}
EVENT: dict[str, Any] = {"turn": "t-1", "seq": 5, "position": "abc"}

MESSAGES = (
    work.ChatMessage("user", "hi"),
    work.ChatMessage("assistant", "", (CALL_OF,)),
    work.ChatMessage("tool", "21 °C", (), "call_1"),
)

EARLY = work.Early(kb="test", query="and it?", context="水温", limit=5, at=12, sources=(SOURCE,))

JOBS = {
    "retrieve": work.Retrieve(
        **JOB, digest="d", context={"a": 1}, messages=MESSAGES, sampling=SAMPLING, early=EARLY, **ASKING
    ),
    "generate": work.Generate(
        **JOB, prompt=(work.ChatMessage("system", "be brief"),), sampling=SAMPLING, prepared="23.50 ℃", **ASKING
    ),
    "record": work.Record(
        **JOB,
        status=events.TurnStatus.COMPLETED,
        text="答案 [1]",
        sources=(SOURCE,),
        usage=USAGE,
        fault=FAULT,
        forced=True,
        digest="d",
        ending=ENDING,
    ),
}
KNOWLEDGE = {
    "put": work.PutDocument(**CALL, kb="test", path="a.md", data=b"# A", media_type="text/markdown"),
    "delete": work.DeleteDocument(**CALL, kb="test", path="a.md"),
    "list": work.ListDocuments(**CALL, kb="test", after="a.md", limit=10),
    "search": work.SearchPassages(**CALL, kb="test", query="水温", limit=3),
    "search.foreseen": work.SearchPassages(**CALL, kb="test", query="水温", foreseen=work.Foreseen("s-1", MESSAGES)),
    "dead": work.ListDead(**CALL, limit=5, id="x", before="w"),
    "drop": work.DropDead(**CALL, id="x"),
    "readings.put": readings.PutReadings(**CALL, data=b"metric,value", media_type="text/csv", all_or_nothing=True),
    "readings.drop": readings.DropReadings(**CALL, metric="temp", sensor="pond-1"),
}
REVIEW = {
    "read": reviews.ReadReview(tenant="acme", task=123, tries=1),
    "assess": reviews.AssessClauses(tenant="acme", task=123, first=8, count=4, tries=1),
}
ITEMS = (
    events.Status(0, "retrieving"),
    RETRIEVAL,
    events.Transcript(2, "hello", True),
    events.Delta(3, 0, "答"),
    events.Snapshot(4, MARKS, "答", True),
    events.Terminal(5, events.TurnStatus.FAILED, "答", (SOURCE,), USAGE, (HOP,), FAULT, MARKS, "sub", ENDING),
    events.Refusal("sub", FAULT),
)
STREAM_EVENTS = (
    audio.Leased("pocketsphinx", 1.5),
    audio.Progress(6400, 3200, 1),
    audio.SpeechStarted(1, 240),
    audio.SpeechStopped(1, 1840),
    audio.Partial(1, "what is a", 4, True, 1280),
    audio.Heard(1, "what is a turn", 64_000, (audio.Word("what", 240, 480, 0.75),), 240, 1840, True, 12.5, 0.25, True),
    audio.Moving("age"),
    audio.Failed(FAULT),
    audio.Ended(3000, 0.25),
)
GATEWAY = {
    "batch": events.Batch((events.TurnEvents(KEY, 2, ITEMS, "inference-1"),)),
    "reply": events.Reply("c1", b"\x80", FAULT),
    "hearings": audio.Hearings((audio.StreamEvents("a-1", 2, "asr-1", STREAM_EVENTS),)),
    "spoken": audio.Spoken("sp-1", 3, 1, 2, b"\x00\x01", 24_000, True, FAULT, 0.5, 2.25),
}
LISTEN = {
    "listen": audio.Listen(
        stream="a-1",
        epoch=2,
        gateway="gateway-1",
        tenant="acme",
        session="s-1",
        hearing=audio.Hearing(
            encoding="opus",
            rate=48_000,
            channels=2,
            language="en",
            engine="sherpa",
            prompt="turn, session",
            by_silence=True,
            partials=False,
            endpointing=audio.Endpointing(
                threshold=0.6,
                start_ms=60,
                prefix_ms=200,
                pause_ms=200,
                silence_ms=500,
                longest_ms=20_000,
            ),
        ),
        kb="test",
        at=3200,
        utterance=1,
        sent_at=1700000000.5,
    ),
}
AUDIO = {
    "audio": audio.AudioBatch(
        "gateway-1",
        (audio.AudioPart("a-1", 2, 3200, b"\x00\x01"), audio.AudioPart("a-2", 1, 0, b"", audio.Mark.COMMIT)),
    ),
}
SPEAK = {
    "speak": audio.Speak(
        speech="sp-1",
        index=3,
        text="答案。",
        gateway="gateway-1",
        rate=16_000,
        voice="cmn",
        language="zh",
        speed=1.25,
        key=KEY,
        attempt=1,
        budget_s=5.0,
        sent_at=1700000000.5,
    ),
}
CONTROL = {
    "begin": control.Begin(KEY, 2, "inference-1"),
    "prefix": control.Prefix(KEY, 2, "gateway-1", "答"),
    "stop": control.Stop(KEY, 2),
    "hush": control.Hush("gateway-1/7"),
    "leave": control.Leave(KEY, "gateway-1", True),
    "detached": control.Detached(KEY, 2, "inference-1"),
    "attach": control.Attach("gateway-1", (KEY,)),
    "running": control.Running(KEY, 2, "rag-1"),
    "alive": control.Alive(KEY, 2, "rag-2"),
    "hail": control.Hail("c1", "gateway-1"),
    "review": control.ReviewMoved("acme", 123, reviews.ReviewStatus.PROCESSING, 9, 4),
    "contact.news": contact.ContactNews(7, "c1", "gateway-1", False),
    "tutor.ended": tutors.SessionsEnded(("s-1", "s-2")),
}
NOTICES = {
    "contact": contact.ContactNotice(
        tenant="acme",
        message=contact.ContactMessage(
            id=7,
            client_id="v-1",
            sender=contact.VISITOR,
            kind=contact.REQUEST,
            message="请联系我",
            timestamp="2026-01-02T03:04:05.678+00:00",
            user_agent="Mozilla/5.0",
        ),
        tries=1,
    ),
}
VOICE = client.Voice(voice="en-us", language="en", rate=16_000, speed=1.25)
CLIENT = {
    "hello": client.Hello(session="s", position="p", pending=("t-1",), token="x"),
    "turn.start": client.TurnStart(
        turn="t-1", text="hi", kb="test", context={"a": 1}, deadline_ms=1000, interrupt=True, speak=VOICE
    ),
    "turn.cancel": client.TurnCancel(turn="t-1"),
    "audio.start": client.AudioStart(
        turn="t-1",
        format=client.AudioFormat(rate=8000),
        hands_free=True,
        kb="test",
        context={"a": 1},
        deadline_ms=1000,
        language="en",
        prompt="turn, session",
        silence_ms=500,
        interrupt=True,
        speak=VOICE,
    ),
    "audio.stop": client.AudioStop(),
    "audio.played": client.AudioPlayed(turn="t-1", ms=1200),
    "answer.speak": client.AnswerSpeak(turn="t-1", speak=client.Voice(rate=16_000), sentence=3),
    "ack": client.Ack(position="p"),
    "ping": client.Ping(),
}
SERVER = {
    "welcome": client.Welcome(
        session="s",
        resumed=True,
        gap=False,
        heartbeat_s=25.0,
        limits=client.Limits(frame=1, text=2, queued_turns=3, rate=4.0),
    ),
    "turn.accepted": client.Accepted(turn="t-1"),
    "turn.status": client.StatusFrame(**EVENT, stage="retrieving"),
    "transcript.partial": client.TranscriptPartial(**EVENT, text="he"),
    "transcript.final": client.TranscriptFinal(**EVENT, text="hello"),
    "retrieval": client.RetrievalFrame(
        **EVENT, intent="question", route="knowledge_base", sources=(SOURCE,), data=(DATA,)
    ),
    "answer.delta": client.AnswerDelta(**EVENT, text="答"),
    "turn.restarted": client.Restarted(**EVENT, attempt=2),
    "turn.done": client.Done(
        **EVENT,
        status=events.TurnStatus.COMPLETED,
        text="答",
        usage=USAGE,
        sources=(SOURCE,),
        latency=client.Latency(accepted_ms=1.0, first_token_ms=2.0, total_ms=3.0, stages=(HOP,)),
        fault=FAULT,
        ending=ENDING,
    ),
    "speech.started": client.SpeechStartedFrame(turn="t-1", ms=240),
    "speech.stopped": client.SpeechStoppedFrame(turn="t-1", ms=1840),
    "answer.flush": client.AnswerFlush(turn="t-1", ms=900, ended=True),
    "answer.spoken": client.AnswerSpoken(turn="t-1", ms=2400, fault=FAULT),
    "degraded": client.Degraded(reason="broker"),
    "restored": client.Restored(),
    "draining": client.Draining(reconnect_in_ms=100),
    "error": client.ErrorFrame(code="invalid", message="no", retryable=False, retry_after_ms=5, turn="t-1"),
    "pong": client.Pong(),
}
_LIST: dict[str, Any] = {**CALL, "limit": 5, "id": "x"}
_RETRIEVAL = events.Retrieval(1, "question", "knowledge_base", (SOURCE,))
_MARKS = events.Marks("generating", "hello", _RETRIEVAL)
_SNAPSHOT = events.Snapshot(4, _MARKS, "答", True)
_BARE = events.Terminal(5, events.TurnStatus.FAILED, "答", (SOURCE,), USAGE, (HOP,), FAULT, _MARKS)
_TERMINAL = msgspec.structs.replace(_BARE, submission="sub")
_UNENDED = msgspec.structs.replace(_TERMINAL, sources=(SOURCE,), marks=MARKS)
_PLAIN = work.Sampling("m", 64, 0.5, 0.9, 7, ("\n",))
_TIMELY = msgspec.structs.replace(JOBS["retrieve"], early=None)
_RETRIEVE = msgspec.structs.replace(_TIMELY, messages=MESSAGES[:1], sampling=_PLAIN)
_GENERATE = msgspec.structs.replace(JOBS["generate"], sampling=_PLAIN)
_RECORD = msgspec.structs.replace(JOBS["record"], ending=None)
_DONE = msgspec.structs.replace(SERVER["turn.done"], ending=None)


def _batch(terminal: events.Terminal) -> events.Batch:
    items = (ITEMS[0], _RETRIEVAL, *ITEMS[2:4], _SNAPSHOT, terminal, ITEMS[6])
    return events.Batch((events.TurnEvents(KEY, 2, items, "inference-1"),))


_UNASKED = {"engine": "", "user": ""}
UNTIMED_EVENTS = tuple(
    msgspec.structs.replace(event, ms=0) if isinstance(event, audio.Partial) else event for event in STREAM_EVENTS
)
FORMER_EVENTS = tuple(
    audio.Progress(6400, 3200)
    if isinstance(event, audio.Progress)
    else msgspec.structs.replace(event, marked=False)
    if isinstance(event, audio.Heard)
    else event
    for event in UNTIMED_EVENTS
)
FORMER: tuple[tuple[str, Any], ...] = (
    ("knowledge", work.ListDead(**_LIST, before="")),
    ("gateway", _batch(_BARE)),
    ("control", control.Leave(KEY, "gateway-1", False)),
    ("job", msgspec.structs.replace(_RECORD, digest="", marks=_MARKS)),
    ("job", msgspec.structs.replace(_RETRIEVE, marks=_MARKS, **_UNASKED)),
    ("job", msgspec.structs.replace(_GENERATE, marks=_MARKS, prepared="", **_UNASKED)),
    ("job", msgspec.structs.replace(_RECORD, marks=_MARKS)),
    ("gateway", _batch(_TERMINAL)),
    ("server", msgspec.structs.replace(SERVER["retrieval"], data=())),
    ("server", msgspec.structs.replace(SERVER["retrieval"], data=())),
    ("job", msgspec.structs.replace(_RETRIEVE, **_UNASKED)),
    ("job", msgspec.structs.replace(_GENERATE, **_UNASKED)),
    ("control", contact.ContactNews(7, "c1", "gateway-1")),
    ("client", msgspec.structs.replace(CLIENT["turn.start"], speak=None)),
    ("client", msgspec.structs.replace(CLIENT["turn.start"], speak=None)),
    ("client", client.AudioStart(turn="t-1", format=client.AudioFormat(rate=8000))),
    ("client", client.AudioStart(turn="t-1", format=client.AudioFormat(rate=8000))),
    ("gateway", audio.Hearings((audio.StreamEvents("a-1", 2, "asr-1", FORMER_EVENTS),))),
    ("job", _RETRIEVE),
    ("job", _GENERATE),
    ("job", _RECORD),
    ("gateway", events.Batch((events.TurnEvents(KEY, 2, (*ITEMS[:5], _UNENDED, ITEMS[6]), "inference-1"),))),
    ("server", _DONE),
    ("server", _DONE),
    ("gateway", audio.Hearings((audio.StreamEvents("a-1", 2, "asr-1", UNTIMED_EVENTS),))),
    ("job", _TIMELY),
)
"""What the lines of ``golden/v1-read.txt`` mean, in their order: each without the fields that came after it."""

GROUPS = {
    "job": JOBS,
    "knowledge": KNOWLEDGE,
    "gateway": GATEWAY,
    "control": CONTROL,
    "review": REVIEW,
    "notice": NOTICES,
    "listen": LISTEN,
    "audio": AUDIO,
    "speak": SPEAK,
    "client": CLIENT,
    "server": SERVER,
}
