"""Questions that lean on one about data: ``那昨天呢？`` after ``今天水温最高是多少``. Pure."""

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from parley_rag.data.lexicon import Lexicon
from parley_rag.data.signs import Aggregate
from parley_rag.data.understanding import DataQuestion, Given, Held, understand

LOOK_BACK = 3
"""Earlier questions looked through for one about data."""
MAX_FOLLOW_UP = 40
"""Code points: a longer question names its own subject."""

_LEANS = re.compile(
    r"呢[?？。\s]*$|^(?:那|再|还有|换成|改成|只看|and\b|what about\b|how about\b|then\b|same\b|only\b)"
    r"|^\W*(?:昨天|前天|今天|上周|上个?月|最高|最低"
    r"|平均|趋势|yesterday|today|last week|(?:the )?(?:max|min|mean|average|highest|lowest|trend))\W*$",
    re.IGNORECASE,
)

_LEAD = re.compile(
    r"^\W*(?:(?:and|what about|how about|then|same|only)\b|那|再|还有|换成|改成|只看)|呢[?？。\s]*$", re.IGNORECASE
)
"""What only says that the question leans on another."""


def candidates(question: str, earlier: Sequence[str]) -> list[str]:
    """The questions that ``question`` may lean on, the last one first; none where it stands on its own."""
    if len(question) > MAX_FOLLOW_UP or not _LEANS.search(question.strip()):
        return []
    return list(reversed(earlier[-LOOK_BACK:]))


def understand_after(
    question: str, earlier: Sequence[str], lexicon: Lexicon, now: datetime, held: Held, beside: Given
) -> DataQuestion | None:
    """``question`` with what it leaves unsaid taken from the nearest earlier one that asks for data; None where none
    does, or where the two together ask for none.
    """
    for former in earlier:
        base = understand(former, lexicon, now, held)
        if base is not None:
            return _together(question, base, lexicon, now, held, beside)
    return None


def _together(
    question: str, base: DataQuestion, lexicon: Lexicon, now: datetime, held: Held, beside: Given
) -> DataQuestion | None:
    named = bool(lexicon.mentions(question))
    names = "" if named else " ".join(lexicon.called(metric, chinese=base.chinese) for metric in base.metrics)
    spoken = _LEAD.sub(" ", question)
    for more in (names, f"{names} {base.when}"):
        found = understand(f"{spoken} {more}".strip(), lexicon, now, held, beside)
        if found is None:
            continue
        if not found.when and base.when:
            found = replace(found, span=base.span, when=base.when, newest=base.newest, recent=base.recent)
        if set(found.aggregates) <= {Aggregate.LATEST, Aggregate.SUMMARY}:
            found = replace(found, aggregates=base.aggregates, listing=base.listing)
        if not found.sensors and not found.unknown:
            found = replace(found, sensors=base.sensors)
        return replace(found, chinese=base.chinese)
    return None
