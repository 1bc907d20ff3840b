"""Death watch between actors of one system; other nodes are reached through a hook."""

from __future__ import annotations

from typing import TYPE_CHECKING, Never

from casty.refs import ActorRef
from casty.runtime.events import Terminated
from casty.runtime.ref import InlineRef, OwnRef

if TYPE_CHECKING:
    from casty.runtime.cell import Cell


def watch(watcher: Cell, ref: ActorRef[Never]) -> None:
    """Have ``watcher`` see Terminated once the actor behind ``ref`` has ended, at once if it has.

    ValueError for a ref without an actor to watch, and for another node where nothing watches those.
    """
    if watcher.watching is None:
        watcher.watching = {}
    if not isinstance(ref, OwnRef):
        if watcher.kernel.watch_remote is None:
            raise ValueError(f"cannot watch {ref.address}: death watch covers the actors of this system here")
        watcher.watching[ref] = None
        watcher.kernel.watch_remote(watcher.ref, ref)
        return
    if isinstance(ref, InlineRef):
        raise ValueError(f"cannot watch {ref.path}: it is no actor, and ends with the system")
    actor = ref.owner()
    if actor is watcher:
        raise ValueError(f"{watcher.path} cannot watch itself: when it ends, nobody is there to be told")
    known: ActorRef[Never] = ref if actor is None else actor.ref
    watcher.watching[known] = None
    if actor is None:
        watcher.signal(Terminated(known))
    else:
        if actor.watchers is None:
            actor.watchers = {}
        actor.watchers[watcher.uid] = watcher


def unwatch(watcher: Cell, ref: ActorRef[Never]) -> None:
    """Forget a watch; a Terminated that is on its way does not arrive."""
    actor = ref.owner() if isinstance(ref, OwnRef) else None
    known: ActorRef[Never] = ref if actor is None else actor.ref
    if watcher.watching is None or known not in watcher.watching:
        return
    del watcher.watching[known]
    if actor is not None and actor.watchers is not None:
        actor.watchers.pop(watcher.uid, None)
    elif not isinstance(ref, OwnRef) and watcher.kernel.unwatch_remote is not None:
        watcher.kernel.unwatch_remote(watcher.ref, ref)


def unwatch_all(watcher: Cell) -> None:
    """Forget every watch of an actor that has ended."""
    for ref in list(watcher.watching or ()):
        unwatch(watcher, ref)
