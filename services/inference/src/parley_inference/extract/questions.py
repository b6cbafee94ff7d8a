"""What kind of answer a question asks for, and which of its terms matter."""

import enum
import re
from collections.abc import Sequence
from dataclasses import dataclass

from parley_inference.extract.terms import STOP, is_chinese, terms, words
from parley_protocol.work import ChatMessage


class Asks(enum.Enum):
    """What the answer should look like."""

    DEFINITION = "definition"
    PROCEDURE = "procedure"
    DURATION = "duration"
    QUANTITY = "quantity"
    REASON = "reason"
    LISTING = "listing"
    FACT = "fact"


# The first that matches decides.
_PATTERNS = (
    (Asks.DURATION, r"\bhow (?:long|often|soon|fast)\b|\bwhen\b|多久|多长时间|多快|几[秒分天]|什么时候|何时"),
    (
        Asks.QUANTITY,
        r"\bhow (?:many|much|long|often|big|large|small|fast|far|old|high|soon)\b|\b(?:default|maximum|minimum|limit|"
        r"size|number|port|version|percentage)\b.*\?|多少|多久|多大|多长|多快|几[个次秒分种台天]|第几|默认值|上限|下限|端口",
    ),
    (Asks.REASON, r"\bwhy\b|\breasons?\b|为什么|为何|原因|怎么会"),
    (
        Asks.PROCEDURE,
        r"\bhow (?:do|does|can|could|to|should|would|is|are)\b|\bsteps?\b|\bcommand\b|\binstall|\bset ?up\b|"
        r"如何|怎么|怎样|步骤|命令|方法|安装|配置",
    ),
    (
        Asks.LISTING,
        r"\b(?:which|list|what (?:kinds|types|sorts|are the)|what (?:\w+ ){1,3}(?:are|can|do))\b|"
        r"哪些|哪几|有什么|列出|包括什么",
    ),
    (
        Asks.DEFINITION,
        r"^\s*(?:what|who)(?:'s| is| are| was| were)\b|\bwhat do(?:es)? .*\bmean|\bmeaning of\b|\bdefin|\bwhat is\b|"
        r"什么是|是什么|什么叫|何谓|是谁|指什么|什么意思|含义|定义|介绍",
    ),
)
_KINDS = tuple((kind, re.compile(pattern, re.I)) for kind, pattern in _PATTERNS)

EARLIER_WEIGHT = 0.4
"""Of a term that only an earlier question holds, at most."""
EARLIER_SHARE = 0.8
"""All earlier terms together weigh at most this part of the question's own: the new subject decides."""
_FEW = 2


@dataclass(frozen=True, slots=True)
class Question:
    """A question as the ranking sees it. ``weights`` holds each term once, in order of appearance."""

    text: str
    asks: Asks
    chinese: bool
    weights: dict[str, float]
    words: frozenset[str]
    """Latin words as they were written, in small letters, without stop words."""


def read_question(text: str, messages: Sequence[ChatMessage] = ()) -> Question:
    """``messages`` is the conversation up to and including this question: a follow-up with few terms of its own
    ("and how long?") borrows those of the question before it.
    """
    weights = dict.fromkeys(terms(text, question=True), 1.0)
    asks = next((kind for kind, pattern in _KINDS if pattern.search(text)), Asks.FACT)
    if len(weights) <= _FEW:
        earlier = [term for term in terms(_before(text, messages), question=True) if term not in weights]
        most = EARLIER_SHARE * len(weights) / len(earlier) if weights and earlier else EARLIER_WEIGHT
        weights.update(dict.fromkeys(earlier, min(EARLIER_WEIGHT, most)))
    # A question of nothing but common words is asked about these words.
    weights = weights or dict.fromkeys(terms(text), 1.0)
    return Question(text, asks, is_chinese(text), weights, words(text) - STOP)


def _before(text: str, messages: Sequence[ChatMessage]) -> str:
    asked = [message.content for message in messages if message.role == "user"]
    # The last one is this question, perhaps with the passages around it.
    earlier = asked[:-1]
    return next((question for question in reversed(earlier) if question.strip() != text.strip()), "")
