"""What a gateway hears over control: runs that begin, runs that nobody follows, turns that went to another gateway."""

from parley_gateway.core import flow
from parley_gateway.dispatch import Dispatch
from parley_gateway.registry import Registry
from parley_protocol.control import Attach, Begin, Detached
from parley_runtime.control import ControlPlane


class Hearing:
    """Registers itself with ``control``. Each message is acted on before the next one is read."""

    def __init__(self, dispatch: Dispatch, registry: Registry, control: ControlPlane) -> None:
        self._dispatch = dispatch
        self._registry = registry
        control.on(Begin, self._on_begin)
        control.on(Detached, self._on_detached)
        control.on(Attach, self._on_attach)

    def _on_begin(self, begin: Begin) -> None:
        entry = self._registry.turns.get(begin.key)
        if entry is not None:
            self._dispatch.apply(flow.on_begin(entry, begin, self._dispatch.gateway))

    def _on_detached(self, detached: Detached) -> None:
        entry = self._registry.turns.get(detached.key)
        if entry is not None:
            self._dispatch.apply(flow.on_detached(entry, detached.fence))
            self._dispatch.promise(entry)

    def _on_attach(self, attach: Attach) -> None:
        """Another gateway has taken over turns: their ends are not for nobody."""
        if attach.gateway == self._dispatch.gateway:
            return
        for key in attach.keys:
            entry = self._registry.turns.get(key)
            if entry is not None:
                entry.elsewhere = True
