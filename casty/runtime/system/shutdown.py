"""The end of a system, in phases: users' hooks first, then the phase's own work, each with a bound.

Before the actors of users stop, the work of this node alone is handed over, under bounds of those that do it.

It runs once, in the system's guardian, whatever asked for it. A step over its bound is named in the log and cancelled,
and the next phase has its full time again: a node with a stuck actor still leaves its cluster gracefully. The bound
holds for the whole tree: once it is over, no clean-up gets time any more.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from enum import Enum
from functools import partial
from typing import Protocol, assert_never

import trio

from casty.errors import ActorStoppedError
from casty.runtime.actor.actor_ports import ActorKernel
from casty.runtime.actor.children import Children
from casty.runtime.behavior.signatures import expect_awaitable
from casty.runtime.ports import Recipient
from casty.schema.names import message

NAMED_MAX = 20
"""Actors named by one line of the log."""

HOOKS_MAX = 1_024
"""Hooks of one system: more come from code registering one for each message."""

logger = logging.getLogger("casty.runtime")


@message("casty.ShutdownPhase")
class ShutdownPhase(Enum):
    """Phases of the end of a system, in this order; the hooks of a phase run before its own work."""

    stop_actors = "stop_actors"
    """A node of a cluster hands its shards over, and the users' actors are stopped. Its hooks find everything running:
    refuse new work here."""
    leave_cluster = "leave_cluster"
    """The node leaves its cluster. Its hooks find no actors of users any more, but still a member."""
    stop_system = "stop_system"
    """casty's own actors are stopped. Its hooks find a node without cluster and connections."""


Hook = Callable[[], Awaitable[object]]


class EndingKernel(ActorKernel, Protocol):
    """The kernel, for its end."""

    @property
    def roots(self) -> Children:
        """The actors without a parent."""
        ...

    @property
    def handing_over(self) -> list[Hook]:
        """Steps before the end of the users' actors, each with a bound of its own."""
        ...

    @property
    def closing(self) -> list[Hook]:
        """Steps between the end of the users' actors and that of casty's own."""
        ...


class Shutdown:
    """The hooks of one system, and the run through the phases."""

    def __init__(self, kernel: EndingKernel) -> None:
        self._kernel = kernel
        self._hooks: dict[ShutdownPhase, list[tuple[str, Hook]]] = {phase: [] for phase in ShutdownPhase}
        self._phase: ShutdownPhase | None = None
        self._scope: trio.CancelScope | None = None
        self._running: dict[int, str] = {}
        self._hurries = False
        self._cut_off: ShutdownPhase | None = None

    def __repr__(self) -> str:
        return f"<Shutdown {'not begun' if self._phase is None else self._phase.value}>"

    def add(self, phase: ShutdownPhase, hook: Hook, name: str) -> None:
        """Add ``hook`` to a phase. ActorStoppedError when the shutdown has begun."""
        if self._phase is not None:
            raise ActorStoppedError(f"cannot add the hook {name}: the shutdown is in phase {self._phase.value}")
        if sum(map(len, self._hooks.values())) >= HOOKS_MAX:
            raise ValueError(f"a system has at most {HOOKS_MAX} shutdown hooks, {name} would be one more")
        self._hooks[ShutdownPhase(phase)].append((name, hook))

    async def run(self) -> None:
        """Go through all phases. Only the guardian calls it, once."""
        kernel = self._kernel
        for phase in ShutdownPhase:
            self._phase = phase
            await self._run_hooks(phase)
            if phase is ShutdownPhase.stop_actors:
                await self._hand_over()
            with trio.CancelScope() as self._scope:
                bound = kernel.timer_queue.call_later(kernel.config.shutdown_timeout, self._scope.cancel)
                await self._work(phase)
                kernel.timer_queue.finish(bound)
            if self._scope.cancelled_caught:
                self._kill(phase)
                await self._wait_killed(phase)

    def is_cut_off(self, cell: Recipient) -> bool:
        """Whether the time of an actor is over, so its clean-up gets none."""
        phase = self._cut_off
        return phase is not None and (phase is ShutdownPhase.stop_system or not cell.is_internal)

    def hurry(self) -> None:
        """End all patience: cancel the running steps, kill every actor, and run no hook any more."""
        self._hurries = True
        self._cut_off = ShutdownPhase.stop_system
        for cell in self._cells(ShutdownPhase.stop_system):
            cell.kill()
        if self._scope is not None:
            self._scope.cancel()

    async def _work(self, phase: ShutdownPhase) -> None:
        kernel = self._kernel
        match phase:
            case ShutdownPhase.stop_actors:
                await kernel.roots.stop_users()
            case ShutdownPhase.leave_cluster:
                for close in kernel.closing:
                    await close()
            case ShutdownPhase.stop_system:
                await kernel.roots.stop()
            case _ as never:
                assert_never(never)

    async def _hand_over(self) -> None:
        """Let others take over while everything runs, unless patience is over."""
        with trio.CancelScope() as self._scope:
            if not self._hurries:
                for step in self._kernel.handing_over:
                    await step()

    async def _run_hooks(self, phase: ShutdownPhase) -> None:
        """Run the hooks of a phase at the same time, for at most ``stop_timeout`` seconds."""
        hooks, self._hooks[phase] = self._hooks[phase], []
        if not hooks or self._hurries:
            return
        kernel = self._kernel
        seconds = kernel.config.stop_timeout
        async with trio.open_nursery() as nursery:
            self._scope = nursery.cancel_scope
            bound = kernel.timer_queue.call_later(seconds, partial(self._cut, phase, nursery.cancel_scope))
            for number, (name, hook) in enumerate(hooks):
                self._running[number] = name
                kernel.start(nursery, self._run_hook, (number, hook), f"{kernel.name} ({phase.value}: {name})")
        kernel.timer_queue.finish(bound)

    def _cut(self, phase: ShutdownPhase, scope: trio.CancelScope) -> None:
        names, seconds = ", ".join(self._running.values()), self._kernel.config.stop_timeout
        logger.error("shutdown hooks of %s did not end within %s s and are cancelled: %s", phase.value, seconds, names)
        scope.cancel()

    @trio.lowlevel.enable_ki_protection
    async def _run_hook(self, number: int, hook: Hook) -> None:
        try:
            await expect_awaitable(hook(), self._running[number], "on_shutdown")
        except Exception:  # one hook's failure keeps nobody from stopping
            logger.exception("shutdown hook %s failed", self._running[number])
        finally:
            del self._running[number]

    def _kill(self, phase: ShutdownPhase) -> None:
        seconds = self._kernel.config.shutdown_timeout
        why = "before a second Ctrl-C" if self._hurries else f"within {seconds} s"
        if phase is ShutdownPhase.leave_cluster:
            logger.error("leaving the cluster did not end %s and is given up", why)
            return
        self._cut_off = phase
        cells = self._cells(phase)
        hanging = [cell.path for cell in cells if not cell.waits_for_children]
        if hanging:
            more = f" and {len(hanging) - NAMED_MAX} more" if len(hanging) > NAMED_MAX else ""
            paths = ", ".join(hanging[:NAMED_MAX])
            logger.error("did not stop %s and are cancelled: %s%s", why, paths, more)
        for cell in cells:
            cell.kill()

    async def _wait_killed(self, phase: ShutdownPhase) -> None:
        if phase is not ShutdownPhase.leave_cluster:
            await self._work(phase)

    def _cells(self, phase: ShutdownPhase) -> list[Recipient]:
        """Return the actors to end in a phase."""
        found: dict[str, Recipient] = {}
        for ref in list(self._kernel.targets.values()):
            cell = ref.owner()
            if cell is not None and (phase is ShutdownPhase.stop_system or not cell.is_internal):
                found[cell.path] = cell
        return list(found.values())
