"""Answers from passages: right sentence, right citation, nothing invented."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley_inference.extract import phrases
from parley_inference.extract.compose import answer, pieces
from parley_inference.extract.questions import Asks, read_question
from parley_inference.extract.ranking import choose
from parley_inference.extract.terms import is_chinese, stem, terms
from parley_protocol.events import Source
from parley_protocol.work import ChatMessage

pytestmark = pytest.mark.unit

GUARANTEES = """## Fencing (G5)

A fence is a number that the store gives to each run of a turn. The higher fence wins: once a successor has begun,
nothing of the older run is delivered. A process that wakes up late does no harm.
"""
RESUME = """## Resume (G3)

A client that returns to any gateway within the resume window gets exactly what it missed. The window is ten minutes by
default and is set with `PARLEY_RESUME_WINDOW_S`. Sticky sessions are not needed.
"""
INGEST = """## Putting documents in

Documents are known by their path. To load a folder, run:

```
parley ingest ./handbook --kb handbook
```

Markdown, plain text, HTML, PDF and DOCX are read. A document may be 12 MiB at most, because it travels in one message.
"""
SETTINGS = """## Settings

| name | default | meaning |
|---|---|---|
| PARLEY_DRAIN_S | 25 | seconds that work in flight may take after SIGTERM |
| PARLEY_SEATS | 32 | answers made at a time |
"""
ZH = """## 围栏号

围栏号是数据库发给一轮的每一次执行的整数，编号大的取代编号小的。新的执行一旦开始，旧的执行就不能再送出任何内容。

## 恢复

客户端在恢复窗口内回到任意一个网关，都会准确收到错过的内容。窗口默认是十分钟。

## 放入文档

支持 Markdown、纯文本、HTML、PDF 和 DOCX 五种格式。要放入一个文件夹，请运行：

```
parley ingest ./handbook
```
"""


def sources(*texts: str) -> tuple[Source, ...]:
    return tuple(
        Source(str(i), f"{i}.md", "Handbook", 1.0 - i / 10, text, 0, len(text)) for i, text in enumerate(texts)
    )


ALL = sources(RESUME, GUARANTEES, INGEST, SETTINGS)


@pytest.mark.parametrize(
    ("question", "begins", "number"),
    [
        ("What is a fence?", "A fence is a number that the store gives to each run of a turn.", 2),
        ("how long is the resume window?", "The window is ten minutes by default", 1),
        ("How do I load a folder?", "To load a folder, run:", 3),
        ("Why may a document be only 12 MiB?", "A document may be 12 MiB at most, because", 3),
        ("What is the default of PARLEY_DRAIN_S?", "PARLEY_DRAIN_S — default: 25", 4),
        ("parley_drain_s", "PARLEY_DRAIN_S — default: 25", 4),
        ("drain", "PARLEY_DRAIN_S — default: 25", 4),
        ("Are sticky sessions needed?", "Sticky sessions are not needed.", 1),
        ("What does waking up late do?", "A process that wakes up late does no harm.", 2),
    ],
)
def test_the_sentence_that_answers_comes_first_and_is_cited(question: str, begins: str, number: int) -> None:
    text = answer(question, ALL)
    assert text.startswith(begins)
    assert re.findall(r"\[(\d+)\]", text)[0] == str(number)


@pytest.mark.parametrize(
    ("question", "begins"),
    [
        ("什么是围栏号？", "围栏号是数据库发给一轮的每一次执行的整数"),
        ("支持哪些格式？", "支持 Markdown、纯文本、HTML、PDF 和 DOCX 五种格式。"),
        ("如何放入文件夹？", "要放入一个文件夹，请运行："),
    ],
)
def test_chinese_questions(question: str, begins: str) -> None:
    text = answer(question, sources(ZH))
    assert text.startswith(begins)
    assert text.endswith("[1]")


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("会话保存多久？", ["会话", "话保", "保存"]),
        ("它的性能有什么要求？", ["性能", "要求"]),
        ("所有请求都在线吗？", ["所有", "有请", "请求", "在线"]),
        ("序号由谁分配？", ["序号", "分配"]),
        ("消息会丢失吗？", ["消息", "丢失"]),
        ("How long is it kept after a drop?", ["kept", "drop"]),
        ("How many long words?", ["long", "word"]),
    ],
)
def test_words_that_only_ask_are_no_terms_but_parts_of_words_are(question: str, expected: list[str]) -> None:
    assert terms(question, question=True) == expected


@pytest.mark.parametrize("question", ["序号由谁分配？", "Who assigns the sequence numbers?"])
def test_one_short_passage_can_be_a_direct_answer(question: str) -> None:
    """A word that both its sentences hold counts, although other words of the question stand nowhere."""
    passage = (
        "同一轮的帧带有连续的序号。序号由网关在写入套接字时给出，因此客户端看不到缺口。"
        if is_chinese(question)
        else "Frames carry sequence numbers. The gateway gives sequence numbers as it writes frames to the socket."
    )
    text = answer(question, sources(passage))
    assert not text.startswith((phrases.nearest(True), phrases.nearest(False)))


def test_how_to_is_answered_where_the_command_is_shown() -> None:
    what = "A base is a named set of documents. Every question names one base with `kb`."
    how = "To delete a base with its documents:\n\n```\nparley kb drop NAME\n```\n"
    text = answer("How do I delete a base?", sources(what, how))
    assert text.startswith("To delete a base with its documents:")
    assert "parley kb drop NAME" in text


def test_a_duration_is_found() -> None:
    assert "窗口默认是十分钟。" in answer("恢复窗口有多久？", sources(ZH))


def test_a_command_comes_whole_with_the_sentence_that_leads_to_it() -> None:
    text = answer("How do I load a folder?", ALL)
    assert "```\nparley ingest ./handbook --kb handbook\n```" in text
    assert "```\nparley ingest ./handbook\n```" in answer("如何放入文件夹？", sources(ZH))


def test_a_colon_brings_its_list_along() -> None:
    passage = "There are three ways to stop:\n\n- press Ctrl-C\n- send SIGTERM\n- run `parley down`\n\nNothing is lost."
    text = answer("Which ways are there to stop?", sources(passage))
    assert text == ("There are three ways to stop:\n\n- press Ctrl-C\n- send SIGTERM\n- run `parley down` [1]")


def test_numbered_steps_keep_their_numbers() -> None:
    passage = "# Install\n\nTo install the server:\n\n1. Get the package.\n2. Run the setup.\n3. Start it.\n"
    text = answer("How do I install the server?", sources(passage))
    assert "1. Get the package.\n2. Run the setup.\n3. Start it. [1]" in text


def test_a_sentence_that_leans_takes_the_one_before_along() -> None:
    passage = "The outbox holds 256 KiB per socket. It closes the socket when the limit overflows. Birds sing in trees."
    text = answer("What happens when the limit overflows?", sources(passage))
    assert text.startswith("The outbox holds 256 KiB per socket. It closes the socket when the limit overflows. [1]")


def test_the_language_of_the_question_is_preferred() -> None:
    english = "PARLEY_SEATS is the number of answers made at a time."
    chinese = "PARLEY_SEATS 是同时生成的回答的数量。"
    assert answer("What is PARLEY_SEATS?", sources(chinese, english)).startswith(english)
    assert answer("PARLEY_SEATS 是什么？", sources(english, chinese)).startswith(chinese)


def test_a_follow_up_borrows_the_terms_of_the_question_before() -> None:
    messages = (
        ChatMessage("system", "rules"),
        ChatMessage("user", "What is a fence?"),
        ChatMessage("assistant", "A number."),
        ChatMessage("user", "and why?"),
    )
    assert stem("fence") in read_question("and why?", messages).weights
    assert answer("and why?", ALL, messages=messages).startswith(("A fence is", "The higher fence wins"))


@pytest.mark.parametrize("question", ["What is the capital of France?", "法国的首都在哪里？", "zzz", "?", "", "  "])
def test_nothing_found_is_said(question: str) -> None:
    text = answer(question, ALL)
    assert text == phrases.nothing_found(is_chinese(question))
    assert answer(question, ()) == text


def test_a_passage_that_bears_on_it_only_in_part_is_called_so() -> None:
    text = answer("Which fence surrounds the medieval castle garden of Prague?", ALL)
    assert text.startswith(phrases.nearest(False))
    assert text.endswith("[2]")


@pytest.mark.parametrize(
    ("said", "reply"),
    [
        ("hello", "Hello!"),
        ("Thanks a lot!", "You're welcome!"),
        ("bye", "Goodbye!"),
        ("who are you?", "I answer questions"),
        ("how are you", "All is well"),
        ("ok", "I'm here."),
        ("你好", "您好！"),
        ("谢谢", "不客气！"),
        ("再见", "再见！"),
        ("你是谁？", "我根据知识库"),
        ("嗯", "我在。"),
    ],
)
def test_small_talk(said: str, reply: str) -> None:
    assert answer(said, (), intent="small_talk").startswith(reply)


def test_an_empty_knowledge_base_says_what_to_do() -> None:
    assert answer("What is a fence?", (), intent="no_documents", kb="mine").endswith("parley ingest PATH --kb mine")
    assert answer("什么是围栏？", (), intent="no_documents", kb="mine").startswith("知识库“mine”")


def test_the_same_sentence_in_two_passages_is_quoted_once() -> None:
    text = answer("What is a fence?", sources(GUARANTEES, GUARANTEES))
    assert text.count("A fence is a number") == 1


def test_an_answer_is_short_and_a_huge_passage_is_quick() -> None:
    passage = "\n\n".join(f"The fence number {k} stands beside the house and the garden." for k in range(5000))
    text = answer("What is a fence number?", sources(passage))
    assert len(text) < 1000


@pytest.mark.parametrize(
    ("text", "asks"),
    [
        ("What is a fence?", Asks.DEFINITION),
        ("done 是什么意思", Asks.DEFINITION),
        ("How do I stop it?", Asks.PROCEDURE),
        ("如何停止", Asks.PROCEDURE),
        ("How long does it take?", Asks.DURATION),
        ("要多久", Asks.DURATION),
        ("How many seats are there?", Asks.QUANTITY),
        ("最多有多少个席位", Asks.QUANTITY),
        ("Why is that?", Asks.REASON),
        ("为什么", Asks.REASON),
        ("Which formats are read?", Asks.LISTING),
        ("有哪些引擎", Asks.LISTING),
        ("Does it stop?", Asks.FACT),
    ],
)
def test_kinds_of_questions(text: str, asks: Asks) -> None:
    assert read_question(text).asks is asks


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("restart", "restarting"),
        ("restart", "restarted"),
        ("restart", "restarts"),
        ("query", "queries"),
        ("stop", "stopped"),
        ("stop", "stopping"),
        ("message", "messages"),
        ("cancel", "cancels"),
        ("make", "making"),
    ],
)
def test_forms_of_a_word_meet(one: str, other: str) -> None:
    assert stem(one) == stem(other)


def test_terms() -> None:
    assert terms("死信队列") == ["死信", "信队", "队列"]
    assert terms("什么是死信队列？", question=True) == ["死信", "信队", "队列"]
    assert terms("What is the PARLEY_DRAIN_S?", question=True) == ["parley_drain_s", "parley", "drain"]
    assert terms("ＦＵＬＬ width") == ["full", "width"]
    assert set(terms("maxTokens x-max-length")) >= {"max", "token", "length"}


SENTENCES = st.lists(st.sampled_from([RESUME, GUARANTEES, INGEST, SETTINGS, ZH, "", "plain words"]), max_size=6)


@given(st.text(max_size=60) | st.sampled_from(["What is a fence?", "如何放入文档？", "drain"]), SENTENCES)
def test_nothing_is_invented_and_citations_point_at_sources(question: str, texts: list[str]) -> None:
    given_sources = sources(*texts)
    text = answer(question, given_sources)
    assert text == answer(question, given_sources)
    assert "".join(pieces(text)) == text
    for number in re.findall(r"(?<!`)\[(\d+)\]", text):
        assert 1 <= int(number) <= len(texts)
    own = [phrases.nothing_found(False), phrases.nothing_found(True), phrases.nearest(False), phrases.nearest(True)]
    rest = re.sub(r"\[\d+\]", "", text)
    for phrase in own:
        rest = rest.replace(phrase, "")
    known = "".join(texts) + "—:;-"
    for word in re.findall(r"[A-Za-z]{3,}|[\u4e00-\u9fff]+", rest):
        assert word in known


@given(st.text(max_size=200))
def test_pieces_join_to_the_text(text: str) -> None:
    assert "".join(pieces(text)) == text
    assert all(pieces(text))


def test_pieces_are_small() -> None:
    assert pieces("A fence wins. [1]") == ["A ", "fence ", "wins. ", "[1]"]
    assert pieces("围栏号是整数。[1]") == ["围栏号", "是整数。", "[1]"]
    assert max(len(piece) for piece in pieces("x" * 500)) <= 24


def test_two_passages_each_have_their_citation() -> None:
    one = "The gateway closes a slow socket with code 4008."
    two = "The worker stops an orphaned turn after sixty seconds of silence."
    text = answer("What do the gateway socket and the worker turn do?", sources(one, two))
    assert text == f"{one} [1] {two} [2]"


def test_two_passages_with_lists_are_set_apart() -> None:
    gateway = "Ways to stop the gateway:\n\n- press Ctrl-C\n- send SIGTERM"
    worker = "Ways to drain the worker:\n\n- send SIGINT\n- close its queue"
    text = answer("Which ways stop the gateway, and which ways drain the worker?", sources(gateway, worker))
    assert text == f"{gateway} [1]\n\n{worker} [2]"


def test_half_of_a_long_sentence_ends_with_a_full_stop() -> None:
    half = "网关" + "把事件逐个写入套接字" * 8
    assert answer("网关做什么？", sources(half + "；数据库保存记录。")).startswith(half)
    assert "；[1]" not in answer("网关做什么？", sources(half + "；数据库保存记录。"))


def test_the_new_subject_of_a_follow_up_outweighs_the_old_one() -> None:
    asked = [
        ChatMessage("user", "水温超过多少度要打开增氧机？"),
        ChatMessage("assistant", "水温超过三十度时必须打开增氧机。[1]"),
        ChatMessage("user", "那喂食呢？"),
    ]
    passages = (
        Source("1", "a.md", "养殖手册 › 水温", 1.0, "水温超过三十度时必须打开增氧机。", 0, 16),
        Source("2", "a.md", "养殖手册 › 喂食", 0.9, "每天早上八点和下午四点各喂食一次。", 16, 33),
    )
    picked = choose(read_question("那喂食呢？", asked), passages).picked
    assert [candidate.source for candidate in picked] == [1]
