"""Death watch between actors of one system; other nodes are reached through a hook."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Never, Protocol

import trio

from casty.refs import ActorRef, check_ref
from casty.runtime.events import Terminated
from casty.runtime.messaging.mailbox import NOTHING
from casty.runtime.messaging.named_refs import InlineRef
from casty.runtime.messaging.queueing.notices import TerminatedNotice
from casty.runtime.messaging.ref import OwnRef

if TYPE_CHECKING:
    from casty.runtime.actor.cell import Cell
    from casty.runtime.system.kernel import Kernel


class Watcher(Protocol):
    """Who is told that an actor has ended."""

    def signal(self, signal: object, /) -> None: ...


class Watching:
    """Block of ``ctx.watching(ref)``, which says whether, and why, the actor has ended.

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
async def watching(kernel: Kernel, ref: ActorRef[Never]) -> AsyncGenerator[Watching]:
    """Cancel the block when the actor behind ``ref`` ends, or when it has ended."""
    uid = kernel.next_uid()
    with trio.CancelScope() as scope:
        block = Watching(scope)
        if isinstance(ref, OwnRef):
            actor = _actor(ref)
            if actor is None:
                block.signal(Terminated(ref))
            else:
                add_watcher(actor, uid, block)
            try:
                yield block
            finally:
                if actor is not None and actor.watchers is not None:
                    actor.watchers.pop(uid, None)
        else:
            watcher: InlineRef[Terminated] = InlineRef(kernel, f"/_watching/{kernel.next_serial()}", uid, block.signal)
            _watch_remote(kernel, watcher, ref)
            try:
                yield block
            finally:
                if block.terminated is None:
                    _unwatch_remote(kernel, watcher, ref)


def watch(watcher: Cell, ref: ActorRef[Never]) -> None:
    """Have ``watcher`` see Terminated once the actor behind ``ref`` has ended, at once if it has.

    ValueError for a ref without an actor to watch, and for another node where nothing watches those.
    """
    watcher.kernel.check_thread(f"watch {ref!r}")
    if watcher.watching is None:
        watcher.watching = {}
    if not isinstance(ref, OwnRef):
        _watch_remote(watcher.kernel, watcher.ref, ref)
        watcher.watching[ref] = ref
        return
    actor = _actor(ref)
    if actor is watcher:
        raise ValueError(f"{watcher.path} cannot watch itself: when it ends, nobody is there to be told")
    known: ActorRef[Never] = ref if actor is None else actor.ref
    watcher.watching[known] = ref
    if actor is None:
        watcher.signal(Terminated(known))
    else:
        add_watcher(actor, watcher.uid, watcher)


def unwatch(watcher: Cell, ref: ActorRef[Never]) -> None:
    """Forget a watch; a Terminated that is on its way does not arrive."""
    known = _watched_as(watcher, ref)
    if watcher.watching is None or known is None:
        return
    del watcher.watching[known]
    if not isinstance(known, OwnRef):
        _unwatch_remote(watcher.kernel, watcher.ref, known)
    elif (actor := known.owner()) is not None and actor.watchers is not None:
        actor.watchers.pop(watcher.uid, None)


def _watched_as(watcher: Cell, ref: ActorRef[Never]) -> ActorRef[Never] | None:
    """Return what the end of a watched actor names; a name or an adapter may lead to nobody, or another, by now."""
    watching = watcher.watching or {}
    if ref in watching:
        return ref
    return next((known for known, given in watching.items() if given == ref), None)


def awaited(watcher: Cell, terminated: Terminated) -> Terminated | None:
    """Return what a watcher is told of an end, by the ref that it watched; None if it does not watch any more."""
    if watcher.watching is None or terminated.ref not in watcher.watching:
        return None
    given = watcher.watching.pop(terminated.ref)
    return terminated if given == terminated.ref else Terminated(given, terminated.cause)


def opened_end(watcher: Cell, notice: TerminatedNotice) -> object:
    """Return the Terminated to be handled now; NOTHING when the watch was given up meanwhile."""
    watcher.mailbox.notice_taken()
    if notice.terminated is None:
        watcher.mailbox.take_turns()
        return NOTHING
    told = awaited(watcher, notice.terminated)
    if told is None:
        return NOTHING
    watcher.kernel.counters.signals += 1
    return told


def unwatch_all(watcher: Cell) -> None:
    """Forget every watch of an actor that has ended."""
    for ref in list(watcher.watching or ()):
        unwatch(watcher, ref)


def _actor(ref: OwnRef[Never]) -> Cell | None:
    if isinstance(ref, InlineRef):
        raise ValueError(f"cannot watch {ref.path}: it is no actor, and ends with the system")
    return ref.owner()


def add_watcher(actor: Cell, uid: int, watcher: Watcher) -> None:
    """Have ``watcher`` told, under a number of its own, when a living actor has ended."""
    if actor.watchers is None:
        actor.watchers = {}
    actor.watchers[uid] = watcher


def _watch_remote(kernel: Kernel, watcher: ActorRef[Never], ref: ActorRef[Never]) -> None:
    check_ref(ref, "watch")
    if kernel.watch_remote is None:
        raise ValueError(f"cannot watch {ref.address}: death watch covers the actors of this system here")
    kernel.watch_remote(watcher, ref)


def _unwatch_remote(kernel: Kernel, watcher: ActorRef[Never], ref: ActorRef[Never]) -> None:
    if kernel.unwatch_remote is not None:
        kernel.unwatch_remote(watcher, ref)
