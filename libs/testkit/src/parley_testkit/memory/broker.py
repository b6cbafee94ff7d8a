"""MemoryBroker: one shared state, a view for each "process", and the faults a test can cause."""

from parley_protocol.routes import Topology
from parley_testkit.memory.processes import Processes


class MemoryBroker(Processes):
    """The broker itself. ``reconnect_s`` is how long links need to come back after :meth:`start`.

    Everything runs on the test's loop and its clock, so a virtual clock drives time to live, expiry and deadlines.
    """

    def __init__(self, topology: Topology, *, reconnect_s: float = 0.05) -> None:
        super().__init__(topology, reconnect_s=reconnect_s)

    def stop(self) -> None:
        """The broker goes away; transient messages in classic queues are lost."""
        self.running.clear()
        for link in self._links():
            link.cut()
        self.server.restart()

    def start(self) -> None:
        """The broker is back; links return after ``reconnect_s``."""
        self.running.set()
        self._reconnect_soon()

    def restart(self) -> None:
        """Stop and start."""
        self.stop()
        self.start()

    def block(self) -> None:
        """A memory alarm: publishes are not read. A link hears of it at its next publish, as with RabbitMQ."""
        self.intake.block()

    def unblock(self) -> None:
        """The alarm is over; publishes written meanwhile are read now."""
        self.intake.unblock()
        for link in self._links():
            link.unblock()

    def refuse_logins(self, reason: str = "RabbitMQ refused the login") -> None:
        """``open`` raises ConfigError from now on; "" allows logins again."""
        self.refusal = reason

    def delete_queue(self, name: str) -> None:
        """An operator deletes a queue: consumers get a broker-side cancel."""
        self.server.delete_queue(name)

    def lose_confirms(self, count: int) -> None:
        """The next ``count`` publishes are taken, and their confirms never arrive."""
        self.intake.lost_confirms = count

    def messages(self, queue: str) -> tuple[bytes, ...]:
        """Bodies of the ready messages, in order; none if the queue does not exist."""
        found = self.server.queues.get(queue)
        return tuple(stored.body for stored in found.ready) if found else ()

    async def close(self) -> None:
        """End everything."""
        await super().close()
        self.intake.close()
        self.server.close()
