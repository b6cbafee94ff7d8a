"""Carries out what the floor decides: holds the spoken answer up, lets it go on, and ends the turns it belongs to."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from parley_gateway.core.entry import Phase
from parley_gateway.core.session import Session
from parley_gateway.voice.ear import Ear
from parley_gateway.voice.floor import Act, Floor, Scene
from parley_gateway.voice.talk import Room
from parley_runtime.telemetry import names
from parley_runtime.telemetry.logging import get_logger
from parley_runtime.telemetry.metrics import counter

if TYPE_CHECKING:
    from parley_gateway.hub import Hub
    from parley_gateway.voice.mouth import Mouth

log = get_logger("parley.floor")


class FloorKeeper:
    """Of one stream of speech, against the answers of its session. What is decided happens before a call returns."""

    def __init__(self, hub: Hub, session: Session, room: Room, ear: Ear) -> None:
        self._hub = hub
        self._session = session
        self.room: Room | None = room
        """None: the socket is gone, and its mouth with it."""
        self._ear = ear
        self._floor = Floor(hub.floor.terms, hub.floor.backchannels)
        self._timer: asyncio.TimerHandle | None = None

    @property
    def taken(self) -> bool:
        """See :class:`Floor`, as what follows."""
        return self._floor.taken

    def started(self, now: float) -> None:
        self._act(self._floor.started(self._scene(), now, self._ear.heard_s))

    def said(self, text: str, now: float) -> None:
        self._act(self._floor.said(text, self._scene(), now))

    def stopped(self, now: float) -> None:
        self._act(self._floor.stopped(now))

    def heard(self, text: str, now: float) -> Act:
        """TAKE or IGNORE."""
        acts = self._floor.heard(text, self._scene(), now)
        self._act(acts)
        return acts[-1]

    def lost(self) -> None:
        self._act(self._floor.lost())

    def promise(self, now: float) -> None:
        """Look again when something is due."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due = self._floor.due()
        if due is not None:
            self._timer = asyncio.get_running_loop().call_later(max(0.0, due - now), self._tick)

    def end(self) -> None:
        """The stream is over."""
        self.lost()
        self.promise(self._hub.now())

    def interrupt(self) -> None:
        """Nothing of an answer is heard, or written, from here on."""
        mouth = self._mouth
        said = mouth.interrupt() if mouth is not None else None
        now = self._hub.now()
        for entry in tuple(self._session.open):
            if entry.phase is not Phase.HEARING and entry.forced is None:
                self._hub.dispatch.apply(self._session.cancel(entry.turn.key.turn, now))
                self._hub.dispatch.promise(entry)
        log.info("interrupted", session=self._session.id[:8], heard_ms=said.ms if said is not None else 0)

    @property
    def _mouth(self) -> Mouth | None:
        return self.room.mouth if self.room is not None else None

    def _scene(self) -> Scene:
        mouth = self._mouth
        return Scene(
            answering=any(entry.phase is not Phase.HEARING and not entry.forced for entry in self._session.open),
            speaking=mouth is not None and mouth.speaking is not None,
        )

    def _act(self, acts: list[Act]) -> None:
        mouth = self._mouth
        for act in acts:
            counter(names.FLOOR).labels(act.value).inc()
            if act is Act.PAUSE and mouth is not None:
                mouth.pause()
            elif act is Act.RESUME and mouth is not None:
                mouth.resume()
            elif act is Act.INTERRUPT:
                self.interrupt()

    def _tick(self) -> None:
        self._timer = None
        now = self._hub.now()
        self._act(self._floor.tick(self._scene(), now, self._ear.heard_s))
        self.promise(now)
