"""Watches over nodes: watchers here of actors elsewhere, and watched actors here of other nodes.

Owns the watches between nodes, in both directions, until they are over. It must not know what an actor is: watchers are
opaque values, and the driver says whether an actor is there.

Each watch has a number of the watching run; all its local watchers share it. The watching side repeats WatchActor until
it hears ActorWatched or ActorTerminated, and UnwatchActor until it hears ActorUnwatched; the watched side repeats
ActorTerminated until it hears TerminatedNoted. So each message may be lost or come twice. Watches are taken from
members only, and all watches of a run end when it is removed: its actors are gone then. An answer counts only from the
run asked.

A watcher is told once, at the first of these: the actor's end, the removal of its run, or `UNKNOWN_AFTER` seconds in
which no such run became a member.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar, assert_never

from casty.address import UniqueAddress
from casty.protocol.effects import Send, SendIfUp, StartTimer
from casty.protocol.messages.watching import (
    ActorTerminated,
    ActorUnwatched,
    ActorWatched,
    TerminatedNoted,
    UnwatchActor,
    WatchActor,
    WatchMessage,
)

RESEND_INTERVAL = 1.0
"""Seconds between two sendings of an unanswered message."""
UNKNOWN_AFTER = 10.0
"""Seconds for an unknown run to become known as a member, by gossip."""
WATCHES_PER_PEER_MAX = 65_536
"""Watches of one peer here; further ones wait until one of them is over."""
RESENDS_MAX = 1_024
"""Messages sent again at one time; the others have their turn a second later."""
RESEND = "resend"

REMOVED = "its node was removed from the cluster"
UNKNOWN = "its node is no member of the cluster"

W = TypeVar("W", bound=Hashable)
K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Target:
    """The watched actor; incarnation 0 is any run at the address."""

    node: UniqueAddress
    path: str
    uid: int


@dataclass(frozen=True, slots=True)
class Attach:
    """Effect: have `DeathWatch.ended` called when this local actor ends."""

    peer: UniqueAddress
    serial: int
    path: str
    uid: int


@dataclass(frozen=True, slots=True)
class Detach:
    """Effect: an `Attach` is over."""

    peer: UniqueAddress
    serial: int


@dataclass(frozen=True, slots=True)
class TellEnd(Generic[W]):
    """Effect: tell a watcher that the actor has ended; ``reason`` names the cause, None for an ordinary end."""

    watcher: W
    reason: str | None


WatchEffect = Send | SendIfUp | StartTimer | Attach | Detach | TellEnd[W]


@dataclass(slots=True)
class Outgoing(Generic[W]):
    """A watch of this run; ``run`` is known once the actor's node has answered."""

    target: Target
    run: UniqueAddress
    since: float
    watchers: dict[W, None]


@dataclass(slots=True)
class DeathWatch(Generic[W]):
    """Machine of one node's watches; each method returns the effects to perform."""

    _members: frozenset[UniqueAddress] = frozenset()
    _serial: int = 0
    _outgoing: dict[int, Outgoing[W]] = field(default_factory=lambda: dict[int, Outgoing[W]]())
    _by_target: dict[Target, int] = field(default_factory=lambda: dict[Target, int]())
    _by_watcher: dict[W, int] = field(default_factory=lambda: dict[W, int]())
    _unanswered: dict[int, None] = field(default_factory=lambda: dict[int, None]())
    _closing: dict[int, UniqueAddress] = field(default_factory=lambda: dict[int, UniqueAddress]())
    _attached: dict[UniqueAddress, set[int]] = field(default_factory=lambda: dict[UniqueAddress, set[int]]())
    _ended: dict[tuple[UniqueAddress, int], str | None] = field(
        default_factory=lambda: dict[tuple[UniqueAddress, int], "str | None"]()
    )
    _timer_runs: bool = False

    @property
    def pending(self) -> int:
        """Number of messages not answered yet."""
        return len(self._unanswered) + len(self._closing) + len(self._ended)

    @property
    def watches(self) -> tuple[int, int]:
        """Number of actors of other nodes watched here, and of this node elsewhere."""
        return len(self._outgoing), sum(len(serials) for serials in self._attached.values())

    def watch(self, watcher: W, target: Target, now: float) -> Sequence[WatchEffect[W]]:
        """Tell ``watcher`` when the actor ends. One watcher is one watch: twice is once."""
        if watcher in self._by_watcher:
            return ()
        serial = self._by_target.get(target)
        if serial is not None:
            self._outgoing[serial].watchers[watcher] = None
            self._by_watcher[watcher] = serial
            return ()
        self._serial = serial = self._serial + 1
        self._outgoing[serial] = Outgoing(target, target.node, now, {watcher: None})
        self._by_target[target] = self._by_watcher[watcher] = serial
        self._unanswered[serial] = None
        return self._timed([Send(target.node, WatchActor(serial, target.path, target.uid))])

    def unwatch(self, watcher: W) -> Sequence[WatchEffect[W]]:
        """Forget a watcher; with the last one, the other node is told."""
        serial = self._by_watcher.pop(watcher, None)
        if serial is None:
            return ()
        outgoing = self._outgoing[serial]
        del outgoing.watchers[watcher]
        if outgoing.watchers:
            return ()
        self._drop(serial)
        self._closing[serial] = outgoing.run
        return self._timed([Send(outgoing.run, UnwatchActor(serial))])

    def hear(self, peer: UniqueAddress, message: WatchMessage, *, exists: bool) -> Sequence[WatchEffect[W]]:
        """Take a peer's message; ``exists`` is whether there is the actor of a WatchActor."""
        match message:
            case WatchActor(serial, path, uid):
                return self._watched(peer, Attach(peer, serial, path, uid), exists=exists)
            case UnwatchActor(serial):
                was_attached = self._release(peer, serial)
                self._ended.pop((peer, serial), None)
                answer = SendIfUp(peer, ActorUnwatched(serial))
                return [Detach(peer, serial), answer] if was_attached else [answer]
            case ActorWatched(serial):
                if self._is_from(peer, serial) and peer in self._members:
                    self._outgoing[serial].run = peer
                    self._unanswered.pop(serial, None)
                return ()
            case ActorTerminated(serial, reason):
                told = self._tell_all(serial, reason) if self._is_from(peer, serial) else []
                return [SendIfUp(peer, TerminatedNoted(serial)), *told]
            case ActorUnwatched(serial):
                if serial in self._closing and peer.is_named(self._closing[serial]):
                    del self._closing[serial]
                return ()
            case TerminatedNoted(serial):
                self._ended.pop((peer, serial), None)
                return ()
            case _ as never:
                assert_never(never)

    def ended(self, peer: UniqueAddress, serial: int, reason: str | None) -> Sequence[WatchEffect[W]]:
        """Tell a peer the end of an actor attached for it."""
        if not self._release(peer, serial):
            return ()
        self._ended[peer, serial] = reason
        return self._timed([Send(peer, ActorTerminated(serial, reason))])

    def members_changed(self, members: frozenset[UniqueAddress]) -> Sequence[WatchEffect[W]]:
        """Take note of the present members; the watches of removed runs are over."""
        gone = self._members - members
        self._members = members
        if not gone:
            return ()
        effects: list[WatchEffect[W]] = []
        for serial in [serial for serial, outgoing in self._outgoing.items() if outgoing.run in gone]:
            effects.extend(self._tell_all(serial, REMOVED))
        for run in sorted(gone):
            effects.extend(Detach(run, serial) for serial in sorted(self._attached.pop(run, set())))
        self._closing = {serial: run for serial, run in self._closing.items() if run not in gone}
        self._ended = {key: reason for key, reason in self._ended.items() if key[0] not in gone}
        return effects

    def resend(self, now: float) -> Sequence[WatchEffect[W]]:
        """Repeat unanswered messages, and give up on runs that never became members."""
        self._timer_runs = False
        effects: list[WatchEffect[W]] = []
        for serial in _turn(self._unanswered):
            outgoing = self._outgoing[serial]
            target = outgoing.target
            if self._is_member(target.node) or now - outgoing.since < UNKNOWN_AFTER:
                effects.append(SendIfUp(target.node, WatchActor(serial, target.path, target.uid)))
            else:
                effects.extend(self._tell_all(serial, UNKNOWN))
        for serial in _turn(self._closing):
            if self._is_member(self._closing[serial]):
                effects.append(SendIfUp(self._closing[serial], UnwatchActor(serial)))
            else:
                del self._closing[serial]
        for peer, serial in _turn(self._ended):
            effects.append(SendIfUp(peer, ActorTerminated(serial, self._ended[peer, serial])))
        return self._timed(effects)

    def _watched(self, peer: UniqueAddress, attach: Attach, *, exists: bool) -> Sequence[WatchEffect[W]]:
        serial = attach.serial
        serials = self._attached.get(peer, set())
        if peer not in self._members:
            return ()
        if serial in serials:
            return [SendIfUp(peer, ActorWatched(serial))]
        if (peer, serial) in self._ended or not exists:
            return [SendIfUp(peer, ActorTerminated(serial, self._ended.get((peer, serial))))]
        if len(serials) >= WATCHES_PER_PEER_MAX:
            return ()
        self._attached.setdefault(peer, serials).add(serial)
        return [attach, SendIfUp(peer, ActorWatched(serial))]

    def _release(self, peer: UniqueAddress, serial: int) -> bool:
        serials = self._attached.get(peer, set())
        if serial not in serials:
            return False
        serials.discard(serial)
        if not serials:
            del self._attached[peer]
        return True

    def _tell_all(self, serial: int, reason: str | None) -> list[WatchEffect[W]]:
        watchers = list(self._outgoing[serial].watchers)
        self._drop(serial)
        for watcher in watchers:
            del self._by_watcher[watcher]
        return [TellEnd(watcher, reason) for watcher in watchers]

    def _drop(self, serial: int) -> None:
        del self._by_target[self._outgoing.pop(serial).target]
        self._unanswered.pop(serial, None)

    def _is_from(self, peer: UniqueAddress, serial: int) -> bool:
        return serial in self._outgoing and peer.is_named(self._outgoing[serial].run)

    def _is_member(self, run: UniqueAddress) -> bool:
        return run in self._members or any(member.is_named(run) for member in self._members)

    def _timed(self, effects: list[WatchEffect[W]]) -> list[WatchEffect[W]]:
        if self.pending and not self._timer_runs:
            self._timer_runs = True
            effects.append(StartTimer(RESEND, RESEND_INTERVAL))
        return effects


def _turn(waiting: dict[K, V]) -> list[K]:
    """Return those whose turn it is, and put them behind the others."""
    turn = list(waiting)[:RESENDS_MAX]
    for key in turn:
        waiting[key] = waiting.pop(key)
    return turn
