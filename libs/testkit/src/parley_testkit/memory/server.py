"""The broker's state: exchanges, bindings, queues, routing and dead-lettering."""

import asyncio
from collections.abc import Iterable

from parley_protocol.routes import ExchangeSpec, QueueSpec
from parley_runtime.errors import ConfigError, Refused, Unroutable
from parley_runtime.ports import Message
from parley_testkit.memory.queue import MemoryQueue, Stored

RETRY_DEAD_LETTER_S = 1.0
"""How soon an at-least-once dead letter that found no place is tried again."""


class Server:
    """What survives a restart of the broker, and what routes messages."""

    def __init__(self) -> None:
        self.queues: dict[str, MemoryQueue] = {}
        self._exchanges: dict[str, ExchangeSpec] = {}
        self._bindings: list[tuple[str, str, str]] = []
        self._retries: set[asyncio.TimerHandle] = set()

    def declare_exchange(self, spec: ExchangeSpec) -> None:
        """Raises ConfigError if it exists with another kind."""
        if self._exchanges.setdefault(spec.name, spec) != spec:
            raise ConfigError(f"exchange {spec.name!r} exists with other arguments")

    def declare_queue(self, spec: QueueSpec) -> MemoryQueue:
        """Raises ConfigError if it exists with other arguments."""
        queue = self.queues.get(spec.name)
        if queue is None:
            queue = self.queues[spec.name] = MemoryQueue(spec, self._dead_letter, self._remove)
        elif dict(queue.spec.arguments) != dict(spec.arguments):
            raise ConfigError(f"queue {spec.name!r} exists with other arguments; delete it and start again")
        else:
            queue.touch()
        for exchange, key in spec.bindings:
            if (exchange, key, spec.name) not in self._bindings:
                self._bindings.append((exchange, key, spec.name))
        return queue

    def delete_queue(self, name: str) -> None:
        """Consumers are cancelled; messages are gone, not dead-lettered."""
        queue = self.queues.pop(name, None)
        if queue is not None:
            self._bindings = [binding for binding in self._bindings if binding[2] != name]
            queue.end()

    def publish(self, exchange: str, key: str, message: Message, *, mandatory: bool) -> None:
        """Put the message into every queue that the exchange routes it to.

        Raises:
            Unroutable: no such exchange, or no queue and ``mandatory``.
            Refused: a queue is full; the others have taken it.
        """
        if exchange not in self._exchanges:
            raise Unroutable(f"exchange {exchange!r} does not exist")
        targets = self._route(exchange, key)
        if not targets and mandatory:
            raise Unroutable(f"no queue takes {key!r} from exchange {exchange!r}")
        full = [queue for queue in targets if queue.full]
        for queue in targets:
            if not queue.full:
                stored = Stored(message.body, dict(message.headers), key, message.durable)
                queue.put(stored, message.expires_s)
        if full:
            raise Refused(f"queue {full[0].spec.name!r} is full")

    def restart(self) -> None:
        """Transient messages in classic queues are gone."""
        for queue in self.queues.values():
            queue.forget_transient()

    def close(self) -> None:
        """End every timer."""
        for handle in self._retries:
            handle.cancel()
        for name in list(self.queues):
            self.delete_queue(name)

    def _route(self, exchange: str, key: str) -> list[MemoryQueue]:
        fanout = self._exchanges[exchange].kind == "fanout"
        names: Iterable[str] = dict.fromkeys(
            queue for source, bound, queue in self._bindings if source == exchange and (fanout or bound == key)
        )
        return [self.queues[name] for name in names]

    def _remove(self, queue: MemoryQueue) -> None:
        self.delete_queue(queue.spec.name)

    def _dead_letter(self, source: MemoryQueue, stored: Stored, reason: str) -> None:
        """The time to live ends with its queue; its death and the routing key stay with the message."""
        exchange = source.spec.arguments.get("x-dead-letter-exchange")
        if exchange is None:
            return
        key = source.spec.arguments.get("x-dead-letter-routing-key", stored.key)
        death = (reason, source.spec.name)
        targets = self._route(exchange, key) if exchange in self._exchanges else []
        sure = source.spec.arguments.get("x-dead-letter-strategy") == "at-least-once"
        if sure and (not targets or any(queue.full for queue in targets)):
            self._try_again(source, stored, reason)
            return
        for queue in targets:
            if not queue.full:
                queue.put(Stored(stored.body, stored.headers, key, stored.durable, death), None)

    def _try_again(self, source: MemoryQueue, stored: Stored, reason: str) -> None:
        def again() -> None:
            self._retries.discard(handle)
            self._dead_letter(source, stored, reason)

        handle = asyncio.get_running_loop().call_later(RETRY_DEAD_LETTER_S, again)
        self._retries.add(handle)
