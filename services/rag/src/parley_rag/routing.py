"""What a question is and where it goes. Pure.

Retrieve by default: only a message that is small talk from its first word to its last skips retrieval. A gate that
guesses harder loses answers silently.
"""

import enum
import re
import unicodedata
from dataclasses import dataclass


class Intent(enum.StrEnum):
    """What the user's words were taken for."""

    QUESTION = "question"
    FOLLOW_UP = "follow_up"
    """A question that leans on the turn before it."""
    SMALL_TALK = "small_talk"
    NO_DOCUMENTS = "no_documents"
    """A question to the default base before anything was ingested."""


class Route(enum.StrEnum):
    """Where it goes."""

    KNOWLEDGE_BASE = "knowledge_base"
    SMALL_TALK = "small_talk"


@dataclass(frozen=True, slots=True)
class Decision:
    """Intent and route of one message."""

    intent: Intent
    route: Route


_ALLOWED = frozenset(
    (
        "hi|hello|hey|hiya|howdy|yo|hello there|hi there|hey there|greetings|good morning|good afternoon|good evening|"
        "good night|morning|evening|bye|goodbye|bye bye|see you|see you later|see ya|farewell|take care|have a nice day|"
        "thanks|thank you|thank you very much|thank you so much|thanks a lot|many thanks|thx|ty|cheers|ok|okay|"
        "ok thanks|okay thanks|ok thank you|great|great thanks|cool|nice|perfect|awesome|got it|i see|understood|sure|"
        "yes|no|yep|nope|fine|no problem|sorry|never mind|nevermind|how are you|how are you doing|how are you today|"
        "how is it going|hows it going|whats up|sup|nice to meet you|who are you|what are you|what is your name|"
        "whats your name|are you a bot|are you a robot|are you human|what can you do|what can you help me with|"
        "how can you help me|help me|can you help me|tell me a joke|lol|haha|"
        "你好|您好|你好啊|您好啊|你好呀|大家好|嗨|哈喽|哈啰|嘿|喂|在吗|在么|你在吗|您在吗|有人吗|早|早安|早上好|"
        "上午好|中午好|下午好|晚上好|晚安|再见|拜拜|拜|回头见|下次见|谢谢|谢谢你|谢谢您|谢谢啦|多谢|非常感谢|"
        "十分感谢|感谢|感谢你|感谢您|谢了|好|好的|好吧|好啊|行|可以|嗯|嗯嗯|哦|噢|喔|知道了|明白|明白了|了解|"
        "了解了|收到|没事|没关系|不客气|不用谢|对不起|抱歉|不好意思|是|是的|不|不是|对|哈哈|哈哈哈|呵呵|嘿嘿|"
        "你是谁|您是谁|你叫什么|你叫什么名字|您叫什么名字|你是什么|你是机器人吗|你是人吗|你是真人吗|你能做什么|"
        "你会做什么|你会什么|你可以做什么|你有什么功能|你能帮我什么|你能帮我做什么|能帮我吗|你好吗|你怎么样|"
        "最近怎么样|最近好吗|吃了吗|吃饭了吗|辛苦了|真棒|太好了|厉害|讲个笑话|謝謝|謝謝你|再見|你是誰|您好嗎|"
        "你好嗎|在嗎"
    ).split("|")
)
"""The allow-list, folded as :func:`_fold` does; Chinese in simplified and traditional characters."""

_MAX_SMALL_TALK = 60
"""Code points: anything longer is a question."""


def _fold(text: str) -> str:
    """Lower case, without punctuation, symbols (emoji too) and repeated white space."""
    folded = unicodedata.normalize("NFKC", text).lower().replace("'", "").replace("’", "")
    kept = "".join(" " if unicodedata.category(char)[0] in "PSZC" else char for char in folded)
    return re.sub(r"\s+", " ", kept).strip()


def is_small_talk(text: str) -> bool:
    """Whether all of ``text`` is on the allow-list, also as several phrases ("hi, thanks!")."""
    if len(text) > _MAX_SMALL_TALK:
        return False
    if _fold(text) in _ALLOWED:
        return True
    parts = [_fold(part) for part in re.split(r"[,.!?;~，。！？；～…、\n]+", text)]
    return all(part in _ALLOWED for part in parts if part)


def decide(question: str, *, leans: bool) -> Decision:
    """``leans``: the question was found to depend on the conversation."""
    if is_small_talk(question):
        return Decision(Intent.SMALL_TALK, Route.SMALL_TALK)
    return Decision(Intent.FOLLOW_UP if leans else Intent.QUESTION, Route.KNOWLEDGE_BASE)
