"""Who is the buyer and who the seller in a contract, and which of them a review is made for. Pure."""

import enum
import re
from collections.abc import Mapping

import msgspec


class Side(enum.StrEnum):
    """A side of the contract."""

    BUYER = "buyer"
    SELLER = "seller"


NAMES: Mapping[Side, tuple[str, ...]] = {
    Side.BUYER: (
        *("买方", "买受人", "需方", "购方", "购买方", "采购方", "采购人", "订购方", "定作方", "委托方", "发包方"),
        *("客户", "用户", "buyer", "purchaser", "customer", "client"),
    ),
    Side.SELLER: (
        *("卖方", "出卖人", "供方", "供应方", "供应商", "供货方", "供货商", "销售方", "承揽方", "受托方", "承包方"),
        *("服务方", "服务商", "seller", "supplier", "vendor", "provider", "contractor"),
    ),
}
"""What contracts of sale call their sides."""
USUAL = {"甲方": Side.BUYER, "乙方": Side.SELLER, "party a": Side.BUYER, "party b": Side.SELLER}
"""Unless the contract says otherwise."""

_WORDS = {
    Side.BUYER: ("买", "需", "购", "委托", "发包", "客户", "定作"),
    Side.SELLER: ("卖", "供", "销", "承", "受托", "服务"),
}
_HEAD = 4_000
"""Code points of a contract in which it names its parties."""
_CALLED_SO = r"(?:the\s+)?(?:以下简称|以下称|下称|简称)?\s*[“\"「]?"
_NAMED = re.compile(rf"(甲方|乙方|Party [AB])\s*[（(]\s*{_CALLED_SO}([^）)”\"」]{{1,16}})", re.IGNORECASE)
_CALLED = re.compile(
    r"([\u4e00-\u9fff]{2,5}|[A-Za-z]{4,12})\s*[：:]?\s*[^（(\n]{0,40}[（(]\s*"
    + _CALLED_SO
    + r"(甲方|乙方|Party [AB])[”\"」]?\s*[）)]",
    re.IGNORECASE,
)


class Facts(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the contract says of its parties: 甲方, 乙方, Party A, Party B by side."""

    parties: dict[str, Side] = {}


_facts = msgspec.json.Decoder(Facts)


def read_facts(text: str) -> Facts:
    """From the beginning of a contract."""
    head = text[:_HEAD]
    found = dict(USUAL)
    pairs = [(match[1], match[2]) for match in _NAMED.finditer(head)]
    pairs += [(match[2], match[1]) for match in _CALLED.finditer(head)]
    for name, said in reversed(pairs):  # the first one counts
        side = _side_of_words(said)
        if side is not None:
            _assign(found, name.lower(), side)
    return Facts(found)


def _assign(found: dict[str, Side], name: str, side: Side) -> None:
    other = {"甲方": "乙方", "乙方": "甲方", "party a": "party b", "party b": "party a"}[name]
    found[name] = side
    found[other] = Side.SELLER if side is Side.BUYER else Side.BUYER


def pack_facts(facts: Facts) -> str:
    """As the store keeps them."""
    return msgspec.json.encode(facts).decode()


def unpack_facts(text: str) -> Facts:
    """Facts from the store; those of a usual contract where there are none."""
    return _facts.decode(text) if text else Facts(dict(USUAL))


def names_of(side: Side, facts: Facts) -> tuple[str, ...]:
    """Everything that this contract may call ``side``, the longest first."""
    called = [name for name, of in facts.parties.items() if of is side]
    return tuple(sorted((*NAMES[side], *called), key=len, reverse=True))


def side_of(role: str, facts: Facts) -> Side | None:
    """The side that a role means ("buyer", 采购方, 乙方); None where that cannot be told."""
    folded = role.strip().lower().removeprefix("the ")
    if folded in facts.parties:
        return facts.parties[folded]
    return _side_of_words(folded)


def _side_of_words(said: str) -> Side | None:
    folded = said.lower()
    for side, names in NAMES.items():
        if any(name in folded for name in names):
            return side
    hits = {side for side, words in _WORDS.items() if any(word in folded for word in words)}
    return hits.pop() if len(hits) == 1 else None
