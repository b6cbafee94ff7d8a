"""Questions to other processes: what has been delivered (``begin``), and who still runs a turn (``running``).

Answers may never come; every wait here is short and bounded, and silence is an answer.
"""

import asyncio
from collections.abc import Callable

from parley_protocol.control import Alive, Audience, Begin, Prefix, Running
from parley_protocol.ids import TurnKey
from parley_runtime.control import ControlPlane
from parley_runtime.work.options import AskOptions


class _Answers:
    def __init__(self) -> None:
        self.first = asyncio.Event()
        self.text: str | None = None


class Asks:
    """One per process; registers for ``Prefix`` and ``Alive``. ``on_follower`` hears of every gateway that answers a
    ``begin``, in time or late: a worker's runs have to know who follows them.
    """

    def __init__(
        self,
        control: ControlPlane,
        options: AskOptions,
        on_follower: Callable[[TurnKey, int, str, bool], None] | None = None,
    ) -> None:
        self._control = control
        self._options = options
        self._on_follower = on_follower
        self._begins: dict[tuple[TurnKey, int], list[_Answers]] = {}
        self._running: dict[tuple[TurnKey, int], list[asyncio.Event]] = {}
        control.on(Prefix, self._prefix)
        control.on(Alive, self._alive)

    async def begin(self, key: TurnKey, fence: int) -> str | None:
        """Tell gateways and workers that nothing below ``fence`` may speak any more. Returns the longest text that a
        gateway says it delivered, None where none that knows it has answered in time. Takes ``begin_wait_s`` at most.
        """
        answers = _Answers()
        asking = self._begins.setdefault((key, fence), [])
        asking.append(answers)
        try:
            self.announce(key, fence)
            async with asyncio.timeout(self._options.begin_wait_s):
                await answers.first.wait()
                await asyncio.sleep(self._options.begin_more_s)
        except TimeoutError:
            pass
        finally:
            asking.remove(answers)
            if not asking:
                del self._begins[key, fence]
        return answers.text

    def announce(self, key: TurnKey, fence: int) -> None:
        """The same without waiting for answers."""
        message = Begin(key, fence, self._control.process_id)
        self._control.post(Audience.GATEWAYS.value, message)
        self._control.post(Audience.WORKERS.value, message)

    async def running(self, key: TurnKey, base: int, wait_s: float) -> bool:
        """Whether some worker says within ``wait_s`` that it runs ``base`` of ``key``; all that ask it hear it."""
        heard = asyncio.Event()
        asking = self._running.setdefault((key, base), [])
        asking.append(heard)
        try:
            self._control.post(Audience.WORKERS.value, Running(key, base, self._control.process_id))
            async with asyncio.timeout(wait_s):
                await heard.wait()
        except TimeoutError:
            return False
        finally:
            asking.remove(heard)
            if not asking:
                del self._running[key, base]
        return True

    def _prefix(self, answer: Prefix) -> None:
        asking = self._begins.get((answer.key, answer.fence), ())
        if self._on_follower is not None:
            self._on_follower(answer.key, answer.fence, answer.gateway, not asking)
        for answers in asking:
            if answer.text is not None and len(answer.text) >= len(answers.text or ""):
                answers.text = answer.text
            answers.first.set()

    def _alive(self, answer: Alive) -> None:
        for heard in self._running.get((answer.key, answer.base), ()):
            heard.set()
