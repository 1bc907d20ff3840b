"""Death watch between actors of one system; other nodes are reached through a hook."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Never

import trio

from casty.refs import ActorRef, EntityRef, check_ref
from casty.runtime.actor.actor_ports import ActorKernel, ActorPort
from casty.runtime.behavior.arguments import refuse_entity_watch, refuse_no_actor, refuse_own_watch
from casty.runtime.events import Terminated
from casty.runtime.messaging.named_refs import InlineRef
from casty.runtime.messaging.ref import OwnRef
from casty.runtime.ports import Recipient


class Watching:
    """Block of ``ctx.watching(ref)``; it says whether, and why, the actor has ended.

    Parameters:
        scope: Scope to cancel; ``ctx.watching`` makes the block.
    """

    __slots__ = ("_scope", "terminated")

    def __init__(self, scope: trio.CancelScope) -> None:
        self._scope = scope
        self.terminated: Terminated | None = None
        """The Terminated of the watched actor; None while it lives."""

    def __repr__(self) -> str:
        return f"<Watching {'until now' if self.terminated is None else self.terminated!r}>"

    def signal(self, signal: object) -> None:
        """Take the end of the watched actor, and cancel the block. For the library.

        Parameters:
            signal: The Terminated.
        """
        if isinstance(signal, Terminated) and self.terminated is None:
            self.terminated = signal
            self._scope.cancel()


@asynccontextmanager
async def watching(kernel: ActorKernel, ref: ActorRef[Never]) -> AsyncGenerator[Watching]:
    """Cancel the block when the actor behind ``ref`` ends, or when it has ended."""
    uid = kernel.next_uid()
    with trio.CancelScope() as scope:
        block = Watching(scope)
        if isinstance(ref, OwnRef):
            actor = _actor(ref)
            if actor is None:
                block.signal(Terminated(ref))
            else:
                actor.add_watcher(uid, block)
            try:
                yield block
            finally:
                if actor is not None:
                    actor.remove_watcher(uid)
        else:
            watcher: InlineRef[Terminated] = InlineRef(kernel, f"/_watching/{kernel.next_serial()}", uid, block.signal)
            _watch_remote(kernel, watcher, ref)
            try:
                yield block
            finally:
                if block.terminated is None:
                    _unwatch_remote(kernel, watcher, ref)


class Watches:
    """Watches of one actor."""

    __slots__ = ("_refs", "_watcher")

    def __init__(self, watcher: ActorPort) -> None:
        self._watcher = watcher
        self._refs: dict[ActorRef[Never], ActorRef[Never]] = {}
        """Refs named by Terminated, and those they were watched by."""

    def watch(self, ref: ActorRef[Never]) -> None:
        """Send the watcher Terminated once the actor behind ``ref`` has ended, at once if it has.

        ValueError for a ref without an actor to watch, and for another node where nothing watches those.
        """
        watcher = self._watcher
        if not isinstance(ref, OwnRef):
            _watch_remote(watcher.kernel, watcher.ref, ref)
            self._refs[ref] = ref
            return
        actor = _actor(ref)
        if actor is watcher:
            refuse_own_watch(watcher.path)
        known: ActorRef[Never] = ref if actor is None else actor.ref
        self._refs[known] = ref
        if actor is None:
            watcher.signal(Terminated(known))
        else:
            actor.add_watcher(watcher.uid, watcher)

    def unwatch(self, ref: ActorRef[Never]) -> None:
        """Forget a watch; a Terminated on its way does not arrive."""
        known = self._watched_as(ref)
        if known is None:
            return
        del self._refs[known]
        if not isinstance(known, OwnRef):
            _unwatch_remote(self._watcher.kernel, self._watcher.ref, known)
        elif (actor := known.owner()) is not None:
            actor.remove_watcher(self._watcher.uid)

    def awaited(self, terminated: Terminated) -> Terminated | None:
        """Return the news of an end for the watcher, by the ref it watched; None if it does not watch any more."""
        given = self._refs.pop(terminated.ref, None)
        if given is None:
            return None
        return terminated if given == terminated.ref else Terminated(given, terminated.cause)

    def clear(self) -> None:
        """Forget every watch, at the end of a life."""
        for ref in list(self._refs):
            self.unwatch(ref)

    def _watched_as(self, ref: ActorRef[Never]) -> ActorRef[Never] | None:
        """Return the ref named by a watched end; a name or an adapter may lead to nobody, or another, by now."""
        if ref in self._refs:
            return ref
        return next((known for known, given in self._refs.items() if given == ref), None)

    def __repr__(self) -> str:
        return f"<Watches of {self._watcher.path} {len(self._refs)}>"


def _actor(ref: OwnRef[Never]) -> Recipient | None:
    if isinstance(ref, InlineRef):
        refuse_no_actor(ref.path)
    return ref.owner()


def _watch_remote(kernel: ActorKernel, watcher: ActorRef[Never], ref: ActorRef[Never]) -> None:
    check_ref(ref, "watch")
    if isinstance(ref, EntityRef):
        refuse_entity_watch(ref)
    if kernel.hooks.watch_remote is None:
        raise ValueError(f"cannot watch {ref.address}: death watch covers the actors of this system here")
    kernel.hooks.watch_remote(watcher, ref)


def _unwatch_remote(kernel: ActorKernel, watcher: ActorRef[Never], ref: ActorRef[Never]) -> None:
    if kernel.hooks.unwatch_remote is not None:
        kernel.hooks.unwatch_remote(watcher, ref)
