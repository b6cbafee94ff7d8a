"""The items of one conversation, in their order. Pure."""

import msgspec

from parley_gateway.dialects.realtime import items
from parley_gateway.dialects.realtime.aloud import Aloud, cut
from parley_gateway.dialects.realtime.faults import Unfit
from parley_gateway.dialects.realtime.items import FunctionCall, FunctionOutput, Item, Reference
from parley_gateway.dialects.realtime.server import Frame, ItemAdded, ItemDeleted, ItemDone, ItemTruncated, new_id

ROOT = "root"
"""``previous_item_id`` of an item that is to be the first."""


class Conversation:
    """``limit`` items and ``limit_text`` code points: the oldest give way, which the client is told."""

    __slots__ = ("_items", "_limit", "_limit_text", "_order", "_text", "id")

    def __init__(self, limit: int, limit_text: int) -> None:
        self.id = new_id("conv")
        self._limit = limit
        self._limit_text = limit_text
        self._order: list[str] = []
        self._items: dict[str, Item] = {}
        self._text = 0

    @property
    def items(self) -> list[Item]:
        """All of them, in order."""
        return [self._items[each] for each in self._order]

    @property
    def last(self) -> str | None:
        """The id of the last one."""
        return self._order[-1] if self._order else None

    def get(self, id: str, param: str = "item_id") -> Item:
        """The item of this id. Raises Unfit."""
        found = self._items.get(id)
        if found is None:
            raise Unfit(f"no item of the conversation has the id {id[:80]!r}", word="item_not_found", param=param)
        return found

    def holds(self, id: str) -> bool:
        """Whether there is such an item."""
        return id in self._items

    def previous(self, id: str) -> str | None:
        """The id of the item before this one."""
        index = self._order.index(id)
        return self._order[index - 1] if index else None

    def add(self, item: Item, after: str | None = None) -> list[Frame]:
        """Put an item in, at the end or after another one. Raises Unfit: the id is taken, or there is no such item."""
        if item.id in self._items or item.id == ROOT:
            raise Unfit(f"the id {item.id[:80]!r} is taken", word="item_id_taken", param="item.id")
        if after is None:
            index = len(self._order)
        elif after == ROOT:
            index = 0
        else:
            self.get(after, "previous_item_id")
            index = self._order.index(after) + 1
        self._order.insert(index, item.id)
        self._items[item.id] = item
        self._text += items.size(item)
        return [ItemAdded(previous_item_id=self.previous(item.id), item=item), *self._bounded(item.id)]

    def read(self, raw: object, max_text: int) -> Item:
        """A client's item, with an id, and its audio. Raises Unfit."""
        item = items.read(raw, "item", max_text, audio=True)
        if isinstance(item, Reference):
            raise Unfit("a reference is no item: name it in response.input", param="item.type")
        return _named(item)

    def create(self, given: Item, after: str | None) -> list[Frame]:
        """Put a client's item in. Raises Unfit."""
        item = items.kept(given)
        if isinstance(item, FunctionOutput) and not self.called(item.call_id):
            raise Unfit(
                f"no function call of the conversation has the call_id {item.call_id[:80]!r}",
                word="invalid_tool_call_id",
                param="item.call_id",
            )
        return [*self.add(item, after), *self.done(item)]

    def called(self, call_id: str) -> bool:
        """Whether a function call has this id."""
        return any(isinstance(each, FunctionCall) and each.call_id == call_id for each in self._items.values())

    def replace(self, item: Item) -> None:
        """The item of the same id, which there is, is this from now on."""
        self._text += items.size(item) - items.size(self._items[item.id])
        self._items[item.id] = item

    def done(self, item: Item) -> list[Frame]:
        """The item is whole. Nothing is said of one that has been deleted meanwhile."""
        if item.id not in self._items:
            return []
        self.replace(item)
        return [ItemDone(previous_item_id=self.previous(item.id), item=item)]

    def delete(self, id: str) -> list[Frame]:
        """Take an item out. Raises Unfit."""
        self._text -= items.size(self.get(id))
        self._order.remove(id)
        del self._items[id]
        return [ItemDeleted(item_id=id)]

    def truncate(self, id: str, index: int, heard_ms: int, aloud: Aloud) -> list[Frame]:
        """Of a part's audio only this much was heard: the rest of its text is forgotten. Raises Unfit."""
        self.replace(cut(self.get(id), index, heard_ms, aloud))
        return [ItemTruncated(item_id=id, content_index=index, audio_end_ms=heard_ms)]

    def _bounded(self, newest: str) -> list[Frame]:
        frames: list[Frame] = []
        while len(self._order) > self._limit or (self._text > self._limit_text and len(self._order) > 1):
            oldest = next(each for each in self._order if each != newest)
            frames += self.delete(oldest)
        return frames


def _named(item: Item) -> Item:
    changes = {} if item.id else {"id": new_id("item")}
    if isinstance(item, FunctionCall) and not item.call_id:
        changes["call_id"] = new_id("call")
    return msgspec.structs.replace(item, **changes) if changes else item
