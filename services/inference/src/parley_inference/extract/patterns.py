"""What sentences that answer a kind of question look like, in English and Chinese."""

import re

from parley_inference.extract.blocks import Kind, Unit
from parley_inference.extract.questions import Asks


def _either(latin: str, chinese: str) -> re.Pattern[str]:
    return re.compile(f"{latin}|{chinese}", re.I)


_COUNT = r"one|two|three|four|five|six|seven|eight|nine|ten|twenty|thirty|sixty"

DEFINES = _either(
    r"\b(?:is|are|means?|refers? to|stands for|denotes|consists? of|describes?)\b",
    "——|—|是|指|即|称为|表示|意味着",
)
NUMBER = _either(
    rf"\d|\b(?:{_COUNT}|twice|half)\b",
    "[一二两三四五六七八九十百千万]+[个次秒分天种台条]",
)
SPAN = _either(
    rf"(?:\d|\b(?:{_COUNT}))\s*(?:ms|s|h|(?:millisecond|second|minute|hour|day|week|month|year)s?)\b",
    r"[\d一二两三四五六七八九十百半几]+ ?(?:毫秒|秒|分钟|小时|天|周|个月|年)",
)
TIME = _either(r"\b(?:immediately|at once|when|until|after|before|within|every)\b", "立刻|立即|之前|之后|以后|的时候")
BECAUSE = _either(
    r"\b(?:because|since|so that|therefore|thus|reason|otherwise|in order|avoid|prevents?)\b",
    "因为|由于|因此|所以|为了|以免|否则|以便",
)
DOES = _either(
    r"^(?:to|run|use|set|add|open|click|install|create|start|call|send|type|put|give|first|then|next|choose|select|copy"
    r"|edit|write|press|enter|make|stop|check|load)\b|`[^`]+`",
    "^(?:先|首先|然后|接着|再|使用|运行|执行|打开|点击|安装|创建|启动|设置|添加|输入|选择|把|将|通过|用)",
)
SERIES = _either(r"[,，、].*(?:[,，、]|\b(?:and|or)\b)", "[,，、].*[和与或]")
LEANS = _either(
    r"^(?:it|its|this|these|that|those|they|their|he|she|such|however|but|and|so|then|therefore|otherwise|instead|also"
    r"|here|both|either|in that case|in this case)\b",
    "^(?:它|这|该|此|其|因此|所以|但|然而|否则|同时|另外|并且|而且)",
)
"""A sentence that leans on the one before it."""
ENDS = re.compile(r"[.!?:。！？；：…][\"'”’」』）)\]]*$")
LEADS_ON = re.compile(r"[:：]$")
"""A sentence that leads on to a list or a block of code."""


_WANTED: dict[Asks, tuple[tuple[re.Pattern[str], ...], float, float]] = {
    Asks.DURATION: ((SPAN,), 1.7, 0.7),
    Asks.QUANTITY: ((NUMBER,), 1.4, 0.8),
    Asks.REASON: ((BECAUSE,), 1.4, 1.0),
    Asks.PROCEDURE: ((DOES, LEADS_ON), 1.3, 1.0),
    Asks.LISTING: ((SERIES, LEADS_ON), 1.25, 1.0),
}
"""What is looked for, and the factors with and without it."""


def fits(asks: Asks, unit: Unit) -> float:
    """Factor for how much ``unit`` looks like an answer to what is asked; definitions are judged elsewhere."""
    if unit.kind is Kind.CODE:
        return 0.8
    patterns, with_it, without = _WANTED.get(asks, ((), 1.0, 1.0))
    if any(pattern.search(unit.text) for pattern in patterns) or (asks is Asks.LISTING and unit.kind is Kind.ITEM):
        return with_it
    if asks is Asks.DURATION and TIME.search(unit.text):
        return 0.9
    return without
