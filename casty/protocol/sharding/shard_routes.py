"""Ways of messages to the shards of one key, from one node: to the owner of each, or into a buffer until it has one.

Owns the buffers and their bounds. It does not know entities, links, or the reason of a row: it obeys the newest table.

How it works: a shard with an owned row has a way while its owner is in reach, and messages take it at once, under the
epoch of the row; every other shard holds them back. An owner gets what is held in order, as there is room for it: until
the last one has gone, later messages wait behind. A message given back unsent, by a link to an owner that has died,
waits before those that came after it. A marker is sent when its row is moving already, so it stands behind everything
sent to the old owner. A message waits until its own deadline at most.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import assert_never

from casty.address import UniqueAddress
from casty.protocol.effects import StartTimer, TimerFired
from casty.protocol.messages.shard_rows import Owned, Row
from casty.protocol.sharding.entities.entity_events import RefusalReason
from casty.protocol.sharding.placement_events import ShardTableChanged

ROUTES_DUE = "routes-due"
"""Name of the timer of a `ShardRoutes`, its key behind a dot."""
CHECK_EVERY = 0.1
"""Seconds between two looks at the deadlines of held messages."""
ROOM_DUE = "routes-room"
"""Name of the timer of those that may go, its key behind a dot."""
LOOK_EVERY = 0.01
"""Seconds between two looks for room, while their owners have too little of it."""
STALE_ENTRIES_MAX = 1_024
"""Deadlines kept of messages that have left, beyond as many as are held."""


@dataclass(frozen=True, slots=True)
class RouteLimits:
    """Bounds of what one node holds back for one key."""

    shard_held_max: int = 1_000
    """Messages for one shard."""
    held_max: int = 10_000
    """Messages for all shards."""
    held_time_max: float = 30.0
    """Seconds for a message without a deadline of its own."""


@dataclass(frozen=True, slots=True)
class RoutedMessage:
    """Event: a message for an entity of a shard is to be sent; ``message`` is opaque."""

    shard: int
    message: object
    deadline: float = math.inf


@dataclass(frozen=True, slots=True)
class OwnersInReach:
    """Event: messages get to these runs, and to no others, until the next such event; before the first one to all."""

    runs: frozenset[UniqueAddress]


@dataclass(frozen=True, slots=True)
class MessageGivenBack:
    """Event: a message was sent, and is certainly not on its way; those given back come in the order of their sending.

    It waits where nothing has gone the present way of its shard. Else it is dropped: later ones may have overtaken it.
    """

    message: RoutedMessage


@dataclass(frozen=True, slots=True)
class MessageWithdrawn:
    """Event: nobody wants a message any more; it is forgotten if it is still held."""

    message: RoutedMessage


@dataclass(frozen=True, slots=True)
class ShardHasRoom:
    """Event: the owner of a shard in ``releasing`` has room for another message."""

    shard: int


@dataclass(frozen=True, slots=True)
class MessageTaken:
    """Event: what `ShardHasRoom` has let go was sent. Without this event it is still held, the first of its shard."""

    message: RoutedMessage


@dataclass(frozen=True, slots=True)
class LookForRoom:
    """Effect: look for room for the messages of the shards in ``releasing``."""


@dataclass(frozen=True, slots=True)
class RouteOpened:
    """Effect: the last message held for a shard has gone, and it has a route from now on."""

    shard: int


@dataclass(frozen=True, slots=True)
class SendToOwner:
    """Effect: send a message to the owner of its shard, behind all before, under this epoch."""

    to: UniqueAddress
    epoch: int
    message: RoutedMessage


@dataclass(frozen=True, slots=True)
class DropMessage:
    """Effect: a message was certainly not sent."""

    message: RoutedMessage
    reason: RefusalReason


@dataclass(slots=True, eq=False)
class HeldBack:
    """A message in a buffer."""

    message: RoutedMessage
    deadline: float
    has_left: bool = False


@dataclass(slots=True, eq=False)
class Release:
    """The way of a shard whose held messages go as there is room for them."""

    to: UniqueAddress
    epoch: int
    has_begun: bool = False
    """Whether one has gone."""


RouteEvent = (
    ShardTableChanged
    | OwnersInReach
    | RoutedMessage
    | MessageGivenBack
    | MessageWithdrawn
    | ShardHasRoom
    | MessageTaken
    | TimerFired
)
RouteEffect = SendToOwner | DropMessage | LookForRoom | RouteOpened | StartTimer


@dataclass(slots=True)
class ShardRoutes:
    """The machine of one key; feed it `RouteEvent` values."""

    key: str
    limits: RouteLimits = RouteLimits()
    routes: dict[int, tuple[UniqueAddress, int]] = field(
        init=False, default_factory=dict[int, tuple[UniqueAddress, int]]
    )
    """Owner and epoch of each shard that has one in reach, and nothing held."""
    releasing: dict[int, Release] = field(init=False, default_factory=dict[int, Release])
    """Shards with an owner in reach and messages held, the one whose turn was the longest time ago first."""
    held: dict[int, deque[HeldBack]] = field(init=False, default_factory=dict[int, deque[HeldBack]])
    held_count: int = field(init=False, default=0)
    deadlines: list[tuple[float, int, HeldBack]] = field(init=False, default_factory=list[tuple[float, int, HeldBack]])
    _owned: dict[int, tuple[UniqueAddress, int]] = field(
        init=False, default_factory=dict[int, tuple[UniqueAddress, int]]
    )
    """Owner and epoch of each shard that has one."""
    _in_reach: frozenset[UniqueAddress] | None = field(init=False, default=None)
    _given_back: dict[int, int] = field(init=False, default_factory=dict[int, int])
    """Messages given back, at the beginning of those held for each shard."""
    _count: int = field(init=False, default=0)
    _is_due: bool = field(init=False, default=False)
    _is_room_due: bool = field(init=False, default=False)

    def handle(self, event: RouteEvent, now: float) -> Sequence[RouteEffect]:
        """Return the effects of one event."""
        effects = [*self._take(event, now)]
        if self.held_count and not self._is_due:
            self._is_due = True
            effects.append(StartTimer(f"{ROUTES_DUE}.{self.key}", CHECK_EVERY))
        if self.releasing and not self._is_room_due:
            self._is_room_due = True
            effects.append(StartTimer(f"{ROOM_DUE}.{self.key}", LOOK_EVERY))
        return effects

    def close(self) -> Sequence[DropMessage]:
        """Drop everything held: nothing is sent any more."""
        held, self.held = self.held, {}
        self.held_count = 0
        self.deadlines.clear()
        self.releasing.clear()
        self._given_back.clear()
        return [DropMessage(one.message, RefusalReason.expired) for shard in held.values() for one in shard]

    def take_out(self, shard: int) -> list[HeldBack]:
        """Give up the messages held for a shard, in their order: they were held in the name of others."""
        taken = list(self.held.pop(shard, ()))
        for one in taken:
            self._leaves(one)
        return taken

    def has_room(self, shard: int) -> bool:
        """Whether a message would be sent or held, and not dropped."""
        if shard in self.routes:
            return True
        limits, held = self.limits, self.held.get(shard, ())
        return len(held) < limits.shard_held_max and self.held_count < limits.held_max

    def owner_in_reach(self, shard: int) -> UniqueAddress | None:
        """Return the owner of a shard that gets its messages, at once or as there is room for them."""
        release, route = self.releasing.get(shard), self.routes.get(shard)
        if release is not None:
            return release.to
        return None if route is None else route[0]

    def takes_back(self, shard: int) -> bool:
        """Whether a message given back would be before all later ones."""
        release = self.releasing.get(shard)
        return shard not in self.routes and (release is None or not release.has_begun)

    def _take(self, event: RouteEvent, now: float) -> Iterator[RouteEffect]:
        match event:
            case RoutedMessage(shard):
                way = self.routes.get(shard)
                if way is not None:
                    yield SendToOwner(*way, event)
                elif not self.has_room(shard):
                    yield DropMessage(event, RefusalReason.full)
                else:
                    self.held.setdefault(shard, deque()).append(self._hold(event, now))
            case ShardTableChanged(table, changed):
                same: dict[Row, tuple[UniqueAddress, int]] = {}
                rows = dict.fromkeys(self._owned) | table.rows if changed is None else changed
                for shard, row in rows.items():
                    if isinstance(row, Owned):
                        self._owned[shard] = same.setdefault(row, (row.owner, row.epoch))
                    else:
                        self._owned.pop(shard, None)
                    self._reroute(shard)
                if self.releasing:
                    yield LookForRoom()
            case OwnersInReach(runs):
                self._in_reach = runs
                for shard in self._owned:
                    self._reroute(shard)
                if self.releasing:
                    yield LookForRoom()
            case ShardHasRoom(shard):
                yield from self._let_go(shard, now)
            case MessageTaken(message):
                shard = message.shard
                self._given_back.pop(shard, None)
                if shard in self.releasing:
                    self.releasing[shard].has_begun = True
                yield from self._forget(message)
            case MessageGivenBack(message):
                yield from self._hold_before(message, now)
            case MessageWithdrawn(message):
                yield from self._forget(message)
            case TimerFired(key):
                if key.startswith(ROOM_DUE):
                    self._is_room_due = False
                    if self.releasing:
                        yield LookForRoom()
                else:
                    self._is_due = False
                    yield from self._expire(now)
            case _ as never:
                assert_never(never)

    def _reroute(self, shard: int) -> None:
        way, release = self._owned.get(shard), self.releasing.get(shard)
        if way is None or (self._in_reach is not None and way[0] not in self._in_reach):
            self.routes.pop(shard, None)
            self.releasing.pop(shard, None)
        elif shard not in self.held:
            self.routes[shard] = way
        elif release is None or way != (release.to, release.epoch):
            self.releasing[shard] = Release(*way)

    def _hold(self, message: RoutedMessage, now: float) -> HeldBack:
        deadline = message.deadline if message.deadline < math.inf else now + self.limits.held_time_max
        one = HeldBack(message, deadline)
        self.held_count += 1
        self._count += 1
        heapq.heappush(self.deadlines, (deadline, self._count, one))
        return one

    def _hold_before(self, message: RoutedMessage, now: float) -> Iterator[RouteEffect]:
        shard = message.shard
        if not self.takes_back(shard):
            yield DropMessage(message, RefusalReason.expired)
        elif not self.has_room(shard):
            yield DropMessage(message, RefusalReason.full)
        else:
            place = self._given_back.get(shard, 0)
            self._given_back[shard] = place + 1
            self.held.setdefault(shard, deque()).insert(place, self._hold(message, now))

    def _forget(self, message: RoutedMessage) -> Iterator[RouteEffect]:
        for one in self.held.get(message.shard, ()):
            if one.message is message:
                yield from self._remove(one)
                break

    def _remove(self, one: HeldBack) -> Iterator[RouteEffect]:
        shard = one.message.shard
        held, place = self.held[shard], self._given_back.get(shard, 0)
        at = held.index(one)
        del held[at]
        if at < place:
            self._given_back[shard] = place - 1
        self._leaves(one)
        if not held:
            del self.held[shard]
            self._given_back.pop(shard, None)
            release = self.releasing.pop(shard, None)
            if release is not None:
                self.routes[shard] = release.to, release.epoch
                yield RouteOpened(shard)

    def _let_go(self, shard: int, now: float) -> Iterator[RouteEffect]:
        while (release := self.releasing.pop(shard, None)) is not None:
            self.releasing[shard] = release  # behind the others, whose turn is next
            one = self.held[shard][0]
            if one.deadline > now:
                yield SendToOwner(release.to, release.epoch, one.message)
                return
            yield DropMessage(one.message, RefusalReason.expired)
            yield from self._remove(one)

    def _expire(self, now: float) -> Iterator[RouteEffect]:
        while self.deadlines and (self.deadlines[0][0] <= now or self.deadlines[0][2].has_left):
            _, _, one = heapq.heappop(self.deadlines)
            if one.has_left:
                continue
            yield DropMessage(one.message, RefusalReason.expired)
            yield from self._remove(one)

    def _leaves(self, one: HeldBack) -> None:
        one.has_left = True
        self.held_count -= 1
        if len(self.deadlines) > 2 * self.held_count + STALE_ENTRIES_MAX:
            self.deadlines = [entry for entry in self.deadlines if not entry[2].has_left]
            heapq.heapify(self.deadlines)
