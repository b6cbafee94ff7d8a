"""Words by which a listener says "go on": whoever says them does not want the floor. Pure."""

import re
import unicodedata
from collections.abc import Iterable

ENGLISH = (
    "uh huh|mm hmm|mm hm|mhm|mm|hmm|hm|uh|um|er|ah|aha|oh|yeah|yep|yup|yes|right|ok|okay|sure|i see|got it|go on|"
    "i know|of course|exactly|indeed|true|wow|cool|nice|good|great|fine|all right|alright|really|interesting"
)
CHINESE = (
    "嗯|唔|哦|噢|喔|啊|呃|额|哎|诶|对|对的|对啊|对呀|是|是的|是啊|是吗|好|好的|好啊|行|可以|没错|不错|当然|"
    "明白|明白了|懂了|知道|知道了|了解|原来如此|这样啊|这样|继续|你继续|继续说|哈|哇|真的|真的吗"
)


class Backchannels:
    """``more``: words and phrases of the installation's own."""

    def __init__(self, more: Iterable[str] = ()) -> None:
        phrases = {normal(phrase) for phrase in (*ENGLISH.split("|"), *CHINESE.split("|"), *more)} - {""}
        longest_first = sorted(phrases, key=len, reverse=True)
        words = "|".join(_pattern(phrase) for phrase in longest_first)
        self._all = re.compile(rf"(?:(?:{words}) ?)+")

    def only(self, text: str) -> bool:
        """Whether ``text`` is nothing else. Nothing at all is not."""
        return bool(found := normal(text)) and self._all.fullmatch(found) is not None


def normal(text: str) -> str:
    """Letters and digits in lower case, with single spaces between them."""
    spaced = "".join(character if _counts(character) else " " for character in text.casefold())
    return " ".join(spaced.split())


def _counts(character: str) -> bool:
    return unicodedata.category(character)[0] in "LN"


def _pattern(phrase: str) -> str:
    """A phrase of letters stands between spaces; one of Chinese characters anywhere."""
    return re.escape(phrase) if not phrase.isascii() else rf"{re.escape(phrase)}(?![a-z0-9])"
