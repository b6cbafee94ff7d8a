"""The prompt: numbered passages, the question's language, a bounded conversation."""

import pytest

from parley_protocol.events import Source
from parley_protocol.work import ChatMessage
from parley_rag.prompt import MAX_CONTEXT, Bounds, build
from parley_rag.routing import Intent

pytestmark = pytest.mark.unit

SOURCES = [
    Source("p1", "a.md", "A › B", 0.9, "First text.", 0, 11),
    Source("p2", "b.md", "b.md", 0.5, "第二段。", 5, 9),
]


def system(question: str, sources: list[Source] = SOURCES, intent: Intent = Intent.QUESTION) -> str:
    return build(question, sources, [], intent, kb="docs")[0].content


def test_passages_are_numbered_from_one() -> None:
    messages = build("What?", SOURCES, [], Intent.QUESTION, kb="docs")
    assert [message.role for message in messages] == ["system", "user"]
    assert messages[-1].content == "What?"
    assert messages[0].content.endswith("[1] a.md › A › B\nFirst text.\n\n[2] b.md\n第二段。")


@pytest.mark.parametrize(
    ("question", "language"),
    [
        ("What is it?", "in English"),
        ("什么是队列？", "in Chinese"),
        ("Qu'est-ce que c'était ?", "in the user's language"),
    ],
)
def test_the_language_of_the_question(question: str, language: str) -> None:
    assert language in system(question)
    assert language in system(question, [])
    assert language in system(question, [], Intent.SMALL_TALK)


def test_without_passages_nothing_may_be_invented() -> None:
    assert "do not invent" in system("What?", [])
    assert "Passages:" not in system("What?", [])


def test_an_empty_installation_says_how_to_fill_it() -> None:
    assert "parley ingest PATH --kb docs" in system("What?", [], Intent.NO_DOCUMENTS)
    assert "还没有任何文档" in system("什么？", [], Intent.NO_DOCUMENTS)


def history(*texts: str) -> list[ChatMessage]:
    return [ChatMessage("user" if i % 2 == 0 else "assistant", text) for i, text in enumerate(texts)]


@pytest.mark.parametrize(
    ("room", "kept"),
    [(100, ["q1", "a1", "q2", "a2"]), (8, ["q1", "a1", "q2", "a2"]), (7, ["q2", "a2"]), (3, []), (0, [])],
)
def test_the_conversation_is_bounded_from_its_end(room: int, kept: list[str]) -> None:
    messages = build(
        "q3", SOURCES, history("q1", "a1", "q2", "a2"), Intent.QUESTION, kb="k", bounds=Bounds(history=room)
    )
    assert [message.content for message in messages[1:]] == [*kept, "q3"]


def test_what_the_clients_system_messages_say_first_is_never_cut_off() -> None:
    said = [ChatMessage("system", "be brief"), *history("q1", "a1"), ChatMessage("system", "late")]
    messages = build("q2", SOURCES, said, Intent.QUESTION, kb="k", bounds=Bounds(history=4))
    assert [message.content for message in messages[1:]] == ["be brief", "late", "q2"]


def test_the_clients_context_is_shown_as_data_and_bounded() -> None:
    content = build("q", SOURCES, [], Intent.QUESTION, kb="k", context={"place": "北京" * 5_000})[0].content
    assert '{"place": "北京' in content
    assert len(content) < MAX_CONTEXT + 2_000
