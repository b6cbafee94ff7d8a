"""The only sentences of an answer that are not the passages' own."""

import re

from parley_inference.extract.terms import is_chinese


def _either(latin: str, chinese: str) -> re.Pattern[str]:
    return re.compile(rf"\b(?:{latin})\b|{chinese}", re.I)


_GREETING = _either(
    "hi|hello|hey|howdy|good (?:morning|afternoon|evening)", "你好|您好|嗨|哈喽|早上好|下午好|晚上好|早安"
)
_THANKS = _either("thanks?|thank you|thx|cheers|great|perfect|awesome|nice", "谢|感谢|太好了|不错|很好")
_BYE = _either("bye|goodbye|see you|good night|later", "再见|拜拜|晚安|回头见")
_WHO = _either("(?:who|what) are you|your name|what can you|help", "你是谁|你叫什么|你能做什么|你会什么|帮助|帮我")
_WELL = _either("how are you|how's it going", "你好吗|最近怎么样")

_REPLIES = (
    (
        _WHO,
        "I answer questions from this knowledge base, in the words of its own documents, and show where each sentence "
        "comes from. Ask me anything about it.",
        "我根据知识库里的文档回答问题，用文档自己的话，并标明每句话的出处。请直接提问。",
    ),
    (_BYE, "Goodbye! Come back whenever you have a question.", "再见！有问题随时再来。"),
    (_WELL, "All is well here, thank you. What would you like to know?", "一切都好，谢谢。您想了解什么？"),
    (_THANKS, "You're welcome! Ask away if there is anything else.", "不客气！还有问题请随时提出。"),
    (_GREETING, "Hello! Ask me anything about the knowledge base.", "您好！关于知识库的内容，请随时提问。"),
)
_OTHER = ("I'm here. Ask me anything about the knowledge base.", "我在。关于知识库的内容，请随时提问。")

_NOTHING = (
    "I found nothing about this in the knowledge base. Try other words, or add documents that cover it.",
    "知识库中没有找到与此相关的内容。请换个说法再试，或者添加相关文档。",
)
_EMPTY = (
    'The knowledge base "{kb}" holds no documents yet. Add some first: parley ingest PATH --kb {kb}',
    "知识库“{kb}”里还没有文档。请先导入：parley ingest PATH --kb {kb}",
)
_NEAREST = (
    "The knowledge base does not answer this directly. The closest passage says: ",
    "知识库没有直接回答这个问题，最接近的内容是：",
)


def small_talk(text: str) -> str:
    """A short friendly reply in the language of ``text``."""
    chinese = is_chinese(text)
    for pattern, english, other in _REPLIES:
        if pattern.search(text):
            return other if chinese else english
    return _OTHER[chinese]


def nothing_found(chinese: bool) -> str:
    """The stated refusal where no passage bears on the question."""
    return _NOTHING[chinese]


def nothing_ingested(chinese: bool, kb: str) -> str:
    """The stated refusal of an empty knowledge base, with what to do."""
    return _EMPTY[chinese].format(kb=kb)


def nearest(chinese: bool) -> str:
    """What comes before a quotation that bears on the question only in part."""
    return _NEAREST[chinese]
