"""Retrieve by default; only what is small talk through and through skips it."""

import pytest

from parley_rag.routing import Intent, Route, decide, is_small_talk

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    "text",
    [
        "hello",
        "Hello!",
        "HI",
        "hey there",
        "Good morning.",
        "thanks",
        "Thank you very much!",
        "who are you?",
        "What can you do?",
        "What's your name?\n    ",
        "ok",
        "OK, thanks!",
        "hi, how are you?",
        "bye",
        "Hello 👋",
        "  hello  ",
        "你好",
        "你好！",
        "您好，谢谢",
        "谢谢",
        "谢谢你！",
        "再见",
        "早上好",
        "你是谁？",
        "你是谁\n    ",
        "你能做什么？",
        "好的，谢谢！",
        "在吗",
        "哈哈哈",
        "謝謝",
        "晚上好呀",
        "那再见",
        "hello everyone",
        "ok bye",
        "ok no problem thanks a lot",
        "好的谢谢再见",
        "👍",
        "...",
        "？",
        "",
    ],
)
def test_small_talk(text: str) -> None:
    assert is_small_talk(text.strip("\n"))
    assert decide(text, leans=False).route is Route.SMALL_TALK
    assert decide(text, leans=True).intent is Intent.SMALL_TALK


@pytest.mark.parametrize(
    "text",
    [
        "hello world program",
        "Hi, how do I install it?",
        "thanks, and how is it removed",
        "what can you do with the outbox",
        "why?\n    ",
        "who are the maintainers",
        "what about Chinese?",
        "okay google",
        "no route to host",
        "yes command",
        "help",
        "status",
        "fine tuning",
        "test\n    ",
        "good morning routine of the pump",
        "Who are you talking to when a gateway sends begin?",
        "RAG",
        "它呢",
        "为什么",
        "你好，怎么安装",
        "谢谢，那价格呢\n    ",
        "你是谁开发的",
        "你能做什么样的检索",
        "好的队列有哪些特点",
        "行列式",
        "是否支持",
        "对称加密",
        "早期版本",
        "不支持什么",
        "可以离线吗",
        "不可以",
        "是不是",
        "好的谢谢再见栅栏",
        "thanks what is a fence",
        "what are you good at",
        "hello everyone else",
        "那它呢",
        "数据库\n    ",
        "x hello hello hello hello hello hello hello hello hello hello hello hello",
    ],
)
def test_everything_else_is_retrieved(text: str) -> None:
    decision = decide(text.strip(), leans=False)
    assert decision.route is Route.KNOWLEDGE_BASE
    assert decision.intent is Intent.QUESTION
    assert decide(text.strip(), leans=True).intent is Intent.FOLLOW_UP
