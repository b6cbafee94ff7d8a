"""Words of a text as they are compared: Latin words lightly stemmed, Chinese, Japanese and Korean as pairs."""

import re
import unicodedata
from functools import lru_cache

_CJK = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u3040-\u30ff\uac00-\ud7af"
_RUN = re.compile(rf"[{_CJK}]+|[^\W{_CJK}]+(?:[._/:+#-][^\W{_CJK}]+)*")
_CJK_CHAR = re.compile(f"[{_CJK}]")
_LATIN = re.compile("[A-Za-z0-9]+")
_SPLIT = re.compile(r"[._/:+#-]+")
_CAMEL = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")

_STOP_WORDS = """
a about after also am an and any are as at be been being but by can could did do does for from get got had has have
having he her here him his how i if in into is it its just like me more most much my no not of on one only or other
our out over please she should so some such tell than that the their them then there these they this those to too up
us very want was we were what when where which while who whom whose why will with would you your explain describe mean
means happen happens exactly actually use used uses using need needs needed
"""
STOP = frozenset(_STOP_WORDS.split())
_STOP_PHRASES = """
请告诉我 告诉我 请问 是什么意思 什么意思 什么时候 什么是 是什么 什么叫 什么 为什么 为何 如何 怎么样 怎么办
会怎样 会怎么样 怎么 怎样 会发生什么 发生什么 哪些 哪几种 哪几个 哪个 哪里 在哪儿 在哪 多少 多久 多大 多长 几个
是否 能否 可以 能不能 是不是 有没有 会不会 需要 应该 如果 一下 介绍 解释 说明 以及 或者 还是
"""
_STOP_CHARS = "的了吗呢吧啊呀么我你您他她它们这那谁由"
# These are stop words by themselves and parts of words beside some characters.
_STOP_PARTS = (
    r"(?<!所)有(?![效限序关])|是(?!非)|(?<![存现内])在(?!线)|(?<![总饱缓])和(?!平)|(?<!参)与|及(?!时)|或|把|被|会(?![话议员])"
    r"|(?<![功性智技效可只])能(?![力量耗])|(?<![需重主必摘概])要(?![求点素])|就(?!绪)|都|也|很|(?<!申)请(?!求)"
    r"|(?<![行作成认改])为(?!止)|做"
)
STOP_CJK = re.compile(
    "|".join([*sorted(_STOP_PHRASES.split(), key=len, reverse=True), f"[{_STOP_CHARS}]", _STOP_PARTS])
)
_STOP_LATIN = re.compile(r"\bhow (?:long|many|much|often|soon|come)\b", re.I)
"""What asks, and is not asked about."""


def is_cjk(char: str) -> bool:
    """Whether ``char`` is written without spaces between words."""
    return (
        "\u3040" <= char <= "\u30ff"
        or "\u3400" <= char <= "\u9fff"
        or "\uac00" <= char <= "\ud7af"
        or "\uf900" <= char <= "\ufaff"
    ) and not "\u4dc0" <= char <= "\u4dff"


def cjk_share(text: str) -> float:
    """Part of the letters of ``text`` that are CJK, a Latin word counting as two; 0 where there are none."""
    cjk = len(_CJK_CHAR.findall(text))
    return cjk / (cjk + 2 * len(_LATIN.findall(text))) if cjk else 0.0


def is_chinese(text: str) -> bool:
    """Whether ``text`` is to be answered in Chinese."""
    return cjk_share(text) > 0.3


def words(text: str) -> frozenset[str]:
    """Latin words and numbers as they are written, in small letters."""
    return frozenset(_LATIN.findall(text.lower()))


def terms(text: str, *, question: bool = False) -> list[str]:
    """Terms in order of appearance, repeats included. ``question``: without stop words and question words."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    if question:
        text = _STOP_LATIN.sub(" ", STOP_CJK.sub(" ", text))
    found: list[str] = []
    for run in _RUN.findall(text):
        if is_cjk(run[0]):
            found.extend(_pairs(run))
        else:
            found.extend(_word(run, question))
    return found


def _pairs(run: str) -> list[str]:
    return [run[i : i + 2] for i in range(len(run) - 1)] if len(run) > 1 else [run]


def _word(run: str, question: bool) -> list[str]:
    lowered = run.lower()
    if run.isalpha() and (lowered == run or lowered[1:] == run[1:]):
        # The common case: nothing to take apart.
        return [] if question and lowered in STOP else [stem(lowered)]
    parts = [part for piece in _SPLIT.split(run) for part in _CAMEL.findall(piece)]
    found = [] if question and lowered in STOP else [stem(lowered)]
    if len(parts) > 1:
        found.extend(stem(part.lower()) for part in parts if len(part) > 1 and part.lower() not in STOP)
    return found


@lru_cache(maxsize=16_384)
def stem(word: str) -> str:
    """English endings off, so that "restarts", "restarted" and "restarting" meet. Deliberately crude: both sides of
    every comparison go through it.
    """
    if len(word) <= 3 or not word.isascii() or not word.isalpha():
        return word
    for ending, keep in (("ies", "y"), ("sses", "ss"), ("ing", ""), ("edly", ""), ("ed", ""), ("es", ""), ("s", "")):
        if word.endswith(ending) and not word.endswith("ss"):
            base = word[: -len(ending)] + keep
            if len(base) >= 3 and any(vowel in base for vowel in "aeiouy"):
                word = base
                break
    if len(word) > 4 and word[-1] == word[-2] and word[-1] not in "lsz":
        return word[:-1]
    return word[:-1] if len(word) > 3 and word.endswith("e") else word


STOP_STEMS = frozenset(stem(word) for word in STOP)
"""Stop words as :func:`terms` gives them."""
