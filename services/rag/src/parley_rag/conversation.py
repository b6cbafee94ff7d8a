"""Follow-up questions: what a question leaves unsaid is taken from the turn before it. Pure.

From the first follow-up on. A question that stands on its own is left alone: adding earlier words to it moves the
search away from what is asked. What is added counts less than the question's own words.
"""

import re
from collections import Counter
from collections.abc import Sequence

from parley_rag.retrieval.ports import Query
from parley_rag.tokens import content_terms, is_wide
from parley_runtime.store.ports import Exchange

_OPENERS = re.compile(
    r"^\W*(?:(?:and|but|so|or|then|also|ok|okay|well)\b[\s,]*)*"
    r"(?:what about|how about|what else|why(?: not| so| is that)?\W*$|how so|how come\W*$|tell me more"
    r"|more (?:details?|about)|go on|continue|elaborate|explain (?:more|further|that|this|it)|for example\W*$"
    r"|such as\W*$|which one|what then|really\W*$|are you sure"
    r"|the (?:first|second|third|last|other|former|latter|same)(?: one)?\b)"
    r"|^\W*and\b"
    r"|^(?:那么?|还有|另外|然后|接着|继续|再|除此之外|除了这|此外|详细|具体|举(?:个)?例|比如)"
    r"|呢[?？。\s]*$|^为(?:什么|何|啥)[呢啊]?[?？。\s]*$|^(?:怎么|如何)(?:做|办|弄|用|说)?[呢啊]?[?？。\s]*$",
    re.IGNORECASE,
)
_PRONOUNS = re.compile(
    r"\b(?:it|its|it's|they|them|their|theirs|he|him|his|she|hers?|these|those|there|ones?)\b"
    r"|\b(?:this|that)\b(?=\s*(?:[?.!,]|$|(?:is|was|does|do|work|mean|one|way|also|too|instead|still|happen)\b))"
    r"|\b(?:is|was|does|did|can|will|of|with|about|like)\s+(?:this|that)\b"
    r"|[它他她](?:们)?|[这那](?:个|些|样|里|种|点|儿)?|其(?![他它中实次余])|上述|前者|后者|上面|刚才|此(?!外)",
    re.IGNORECASE,
)
_EXPLETIVE = re.compile(
    r"\b(?:is|was|would|will|does|isn't|can) it (?:be )?"
    r"(?:possible|necessary|safe|ok|okay|true|required|recommended|better|worth|make sense)\b(?= (?:to|that|if|for)\b)"
    r"|\b(?:is|are|was|were) there\b|\bthere (?:is|are|was|were)\b|\bit (?:is|was) (?:possible|necessary)\b",
    re.IGNORECASE,
)

MANY_WORDS = 4
"""A question with more content words than this names its own subject, whatever pronouns it holds."""
MANY_WIDE = 8
"""The same in Chinese characters."""
LONG = 300
"""A longer question, in code points, names its own subject."""
LOOK_BACK = 3
"""Turns looked through for one that names its subject."""
SALIENT = 6
"""Words taken from the answer."""
_READ = 4_000
"""Code points of an answer that are read."""


def _weight(text: str) -> int:
    """Content words of a Latin question, content characters of a Chinese one (as twice as many words)."""
    return sum(1 for term in content_terms(text) if term.unit)


def leans(question: str) -> bool:
    """Whether the question depends on something said before. Judged on the question alone."""
    if len(question) > LONG:
        return False
    wide = is_wide(question)
    weight = _weight(question)
    if weight == 0:
        return True
    many = MANY_WIDE if wide else MANY_WORDS
    if weight > many:
        return False
    if _OPENERS.search(question.strip()):
        return True
    return bool(_PRONOUNS.search(_EXPLETIVE.sub(" ", question)))


def rewrite(question: str, history: Sequence[Exchange]) -> tuple[Query, bool]:
    """The query for retrieval, and whether the conversation was used. ``history``: oldest first."""
    if not history or not leans(question):
        return Query(question), False
    subject = ""
    for exchange in reversed(history[-LOOK_BACK:]):
        subject = f"{exchange.question}\n{subject}"
        if not leans(exchange.question):
            break
    return Query(question, context=f"{subject}{' '.join(salient(history[-1].answer, subject))}"), True


def salient(answer: str, subject: str) -> list[str]:
    """Words that an answer dwells on: said at least twice and not in ``subject``. Most frequent first."""
    known = {term.text for term in content_terms(subject)}
    counts = Counter(term.text for term in content_terms(answer[:_READ]) if len(term.text) > 1)
    return [word for word, count in counts.most_common(4 * SALIENT) if count > 1 and word not in known][:SALIENT]
