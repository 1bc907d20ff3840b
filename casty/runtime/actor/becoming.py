"""How an actor takes on a behaviour: set-ups run, wrappers leave what they are for with the cell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Never

from casty.protocol.actor.supervision import SupervisionStrategy
from casty.runtime.behavior import behavior as forms
from casty.runtime.behavior.behavior import SAME, STOPPED, Behavior
from casty.runtime.behavior.interception import intercept_handler, intercept_main
from casty.runtime.behavior.signatures import advice
from casty.runtime.events import ActorStarted

if TYPE_CHECKING:
    from casty.runtime.actor.cell import Cell

BEHAVIOR_DEPTH_MAX: Final = 64
"""Wrappers and set-ups around one behaviour; beyond it, they are taken for an endless chain."""


async def become(cell: Cell, behavior: Behavior[Never]) -> bool:
    """Take on a behaviour, unwrapping it; False when it says to stop."""
    hooks: list[forms.Lifecycle] | None = None
    strategies: list[SupervisionStrategy] | None = None
    interceptors: list[forms.Interceptor] | None = None
    for _ in range(BEHAVIOR_DEPTH_MAX):
        match behavior:
            case forms.Receive(handler):
                cell.handler = intercept_handler(handler, cell.interceptors or (), cell.context)
                return _announce(cell)
            case forms.Task(main):
                cell.main = intercept_main(main, cell.interceptors, cell.path) if cell.interceptors else main
                return _announce(cell)
            case forms.Setup(factory, _):
                behavior = await factory(cell.context)
            case forms.Supervised(inner, strategy):
                if strategies is None:
                    cell.strategies = strategies = []
                strategies.append(strategy)
                behavior = inner
            case forms.Composed():
                behavior = behavior.compose()
            case forms.Intercepted(inner, interceptor):
                if interceptors is None:
                    cell.interceptors = interceptors = []
                interceptors.append(interceptor)
                behavior = inner
            case forms.Lifecycle(inner, pre_start):
                if pre_start is not None:
                    await pre_start(cell.context)
                if hooks is None:
                    cell.hooks = hooks = []
                hooks.append(behavior)
                behavior = inner
            case forms.Discoverable(inner, key):
                cell.services = [*(cell.services or ()), key]
                behavior = inner
            case _:
                return _become_signal(cell, behavior)
    raise RuntimeError(f"the behaviour of {cell.path} has more than {BEHAVIOR_DEPTH_MAX} wrappers or set-ups")


def _announce(cell: Cell) -> bool:
    if not cell.started:
        cell.started = True
        if cell.kernel.event_stream.wants(ActorStarted):
            cell.kernel.event_stream.publish(ActorStarted(cell.ref))
    if cell.services is not None:
        for key in cell.services:
            if cell.kernel.discovery is not None:
                cell.kernel.discovery(key, cell.ref)
        cell.services = None
    return True


def _become_signal(cell: Cell, behavior: object) -> bool:
    if behavior is STOPPED:
        return False
    if behavior is SAME and cell.handler is not None:
        return True
    raise TypeError(
        f"{cell.path} needs a Behavior here, such as Behaviors.receive(...) or, from a handler, "
        f"Behaviors.same(); got {behavior!r}{advice(behavior)}"
    )
