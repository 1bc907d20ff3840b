"""Placement of shards at one node: its own shards, and its part as the coordinator.

Owns the order in which an event reaches the two, the clock of repetitions, and the exchange of tables between nodes. It
knows no rule of either.

How it works: each second everything without an answer is said again, and the writer of the tables known here hears
which they are, or that there are none, if anybody hosts entities. Word of a run is dropped unless it is a member, and
not down: a down run counts once it is removed and can serve no more. A term is promised to its own run alone, once all
older members have retired or are down, and a table is taken from the run of its term: so the word of any other member
places nothing. Messages of the node to itself take the same way, within the step.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import assert_never, cast

from casty.address import UniqueAddress
from casty.protocol.effects import Rng, Send, StartTimer, TimerFired
from casty.protocol.messages.shard_bounds import check_numbers, highest_number
from casty.protocol.messages.sharding import (
    Enlist,
    Enlisted,
    EvenOut,
    Marker,
    Opened,
    PlacementMessage,
    Retired,
    TableDigest,
    TablePlaces,
    TableSlice,
    TermRefused,
    Yielded,
)
from casty.protocol.sharding.members import PlacementView
from casty.protocol.sharding.placement_events import (
    HostsSeen,
    MembersSeen,
    NodesDrained,
    PlacementCame,
    PlacementEffect,
    PlacementEvent,
    RegionEnded,
    RegionStarted,
    ServesUntil,
    ShardClosed,
    WorkIsFree,
)
from casty.protocol.sharding.shard_coordinator import ShardCoordinator
from casty.protocol.sharding.shard_region import ShardRegion
from casty.protocol.sharding.shard_rows_writer import ShardRowsWriter
from casty.protocol.state.member import Member, by_age

REMIND, DUE = "placement-remind", "placement-due"
REMIND_EVERY = 1.0


def _everybody(member: Member) -> bool:
    return True


@dataclass(slots=True)
class ShardPlacement:
    """The machine of one node; feed it `PlacementEvent` values."""

    self_node: UniqueAddress
    rng: Rng
    places: Callable[[Member], bool] = _everybody
    view: PlacementView = field(init=False)
    region: ShardRegion = field(init=False)
    coordinator: ShardCoordinator = field(init=False)
    _hosted: set[str] = field(init=False, default_factory=set[str])
    """Keys with a host, as far as it is known here."""
    _due_at: float = field(init=False, default=math.inf)
    _runs: bool = field(init=False, default=False)
    _turn: int = field(init=False, default=0)
    """Number of digests told as the writer."""

    def __post_init__(self) -> None:
        self.view = PlacementView(self.self_node, self.places)
        self.region = ShardRegion(self.view)
        self.coordinator = ShardCoordinator(self.view, self.region, ShardRowsWriter(self.view))

    def handle(self, event: PlacementEvent, now: float) -> Sequence[PlacementEffect]:
        """Return the effects of one event."""
        if isinstance(event, MembersSeen) and self.view.is_as_in(event.state):
            return ()  # only others have seen it
        done: list[PlacementEffect] = []
        waiting = deque[PlacementEffect](self._step(event, now))
        while waiting:
            effect = waiting.popleft()
            if isinstance(effect, Send) and effect.to == self.self_node:
                own = PlacementCame(self.self_node, cast(PlacementMessage, effect.message))
                waiting.extend(self._step(own, now))
            else:
                done.append(effect)
        return [*done, *self._timers(now)]

    def _step(self, event: PlacementEvent, now: float) -> list[PlacementEffect]:
        effects = [*self._take(event, now)]
        repeats = isinstance(event, TimerFired) and event.key == REMIND
        effects.extend(self.region.settle(now, looks=not isinstance(event, PlacementCame), repeats=repeats))
        effects.extend(self.coordinator.settle(now))
        return effects

    def _take(self, event: PlacementEvent, now: float) -> Sequence[PlacementEffect]:
        match event:
            case MembersSeen(state):
                self.coordinator.writer.look_again()
                self.region.heard(state.terms_given)
                newcomers = self.view.see(state)
                self.coordinator.forget(now)
                self.region.forget()
                return [*self.coordinator.answer(), *self.coordinator.welcome(newcomers)]
            case ServesUntil(until):
                self.region.serves_until = until
            case WorkIsFree(node, at):
                self.view.free(node, at)
                self.coordinator.writer.look_again()
            case PlacementCame(sender, message):
                return self._hear(sender, message, now) if self.view.is_heard(sender) else ()
            case HostsSeen(key=key):
                (self._hosted.add if event.hosts else self._hosted.discard)(key)
                self.coordinator.hosted(event, now)
            case NodesDrained(runs):
                self.view.drained = runs
                self.coordinator.writer.look_again()
            case RegionStarted(key):
                self.region.regions.add(key)
            case RegionEnded(key):
                return self.region.end(key, now)
            case ShardClosed(key, shard, epoch):
                self.region.closed(key, shard, epoch)
            case TimerFired(key):
                if key == REMIND:
                    self._runs = False
                    return self._remind(now)
                self._due_at = math.inf
                self.coordinator.writer.look_again()
            case _ as never:
                assert_never(never)
        return ()

    def _hear(self, sender: UniqueAddress, message: PlacementMessage, now: float) -> Sequence[PlacementEffect]:
        if sender != self.self_node:
            check_numbers(message, highest_number(self.view.terms_given, self.view.up_numbers_given))
        match message:
            case Enlist():
                return self.coordinator.asked(sender, message)
            case Enlisted():
                self.coordinator.enlisted(sender, message)
            case TermRefused():
                return self.coordinator.refused(message, now)
            case TableSlice():
                return self._take_slice(sender, message)
            case TableDigest():
                return self.region.answer(sender, message)
            case TablePlaces():
                return self.region.compare(sender, message)
            case Opened():
                self.coordinator.opened(sender, message, now)
            case Yielded():
                self.coordinator.yielded(sender, message, now)
            case Retired():
                return self.coordinator.retired(sender, message)
            case Marker():
                self.region.marked(sender, message)
            case EvenOut(key):
                self.coordinator.even_out(key, now)
            case _ as never:
                assert_never(never)
        return ()

    def _take_slice(self, sender: UniqueAddress, news: TableSlice) -> Sequence[PlacementEffect]:
        region = self.region
        if news.term.incarnation != sender.incarnation:
            return region.refuse(sender, f"found a table of the term {news.term}, expected one of its own")
        is_vouched = news.term <= region.promise or self.coordinator.may_lead(sender)
        return region.take(sender, news) if is_vouched else ()

    def _remind(self, now: float) -> list[PlacementEffect]:
        effects = [*self.region.remind(now), *self.coordinator.remind(now)]
        if self.view.heard and (self.region.tables or self._hosted):  # nobody has a table of what nobody hosts
            effects.append(Send(self._told_of_tables(), self.region.digest))
        return effects

    def _told_of_tables(self) -> UniqueAddress:
        """Return the writer of the tables here, the only one with news of them; the likely one before the first.

        The writer itself tells one member after the other: a newcomer to a cluster without any host asks nobody.
        """
        heard, writer = self.view.heard, self.view.run_of(self.region.promise)
        if writer == self.self_node:
            self._turn += 1
            return heard[self._turn % len(heard)]
        return writer or min(heard, key=lambda run: by_age(self.view.members[run]))

    def _timers(self, now: float) -> list[PlacementEffect]:
        timers: list[PlacementEffect] = []
        if self.view.own is None:
            return timers
        if not self._runs:
            self._runs = True
            timers.append(StartTimer(REMIND, REMIND_EVERY))
        due = min(self.region.due(now), self.coordinator.due(now))
        if due != self._due_at and due < math.inf:
            self._due_at = due
            timers.append(StartTimer(DUE, max(0.0, due - now)))
        return timers
