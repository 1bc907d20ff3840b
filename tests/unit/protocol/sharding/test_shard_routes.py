"""Ways of messages from one node to the shards of a key."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casty.address import NodeAddress, UniqueAddress
from casty.protocol.effects import TimerFired
from casty.protocol.messages.shard_rows import Moving, Opening, Owned, Row, Term
from casty.protocol.sharding.entities.entity_events import RefusalReason
from casty.protocol.sharding.placement_events import ShardTableChanged
from casty.protocol.sharding.shard_routes import (
    DropMessage,
    LookForRoom,
    MessageGivenBack,
    MessageTaken,
    MessageWithdrawn,
    OwnersInReach,
    RoutedMessage,
    RouteEffect,
    RouteEvent,
    RouteLimits,
    RouteOpened,
    SendToOwner,
    ShardHasRoom,
    ShardRoutes,
)
from casty.protocol.sharding.shard_table import ShardTable

X = UniqueAddress(NodeAddress("x", 1), 1)
Y = UniqueAddress(NodeAddress("y", 1), 2)
DUE = TimerFired("routes-due.carts")


ROOM_DUE = TimerFired("routes-room.carts")


def rows(version: int, row: Row | None, *more: Row | None) -> ShardTableChanged:
    given = dict(enumerate((row, *more)))
    return ShardTableChanged(ShardTable("carts", len(given)).begun(Term(1, 1), version, given))


def handled(routes: ShardRoutes, event: RouteEvent, now: float, room: float = math.inf) -> list[RouteEffect]:
    """Return what comes of an event, by a driver that has room for so many of the held messages."""
    effects = [*routes.handle(event, now)]
    if LookForRoom() in effects:
        effects += let_go(routes, now, room)
    return [effect for effect in effects if isinstance(effect, SendToOwner | DropMessage)]


def let_go(routes: ShardRoutes, now: float, room: float = math.inf) -> list[RouteEffect]:
    """Give room for so many messages, shard by shard in turn, and return what comes of it."""
    effects = list[RouteEffect]()
    while room > 0 and routes.releasing:
        room -= 1
        sent = [*routes.handle(ShardHasRoom(next(iter(routes.releasing))), now)]
        for effect in sent:
            if isinstance(effect, SendToOwner):
                sent += routes.handle(MessageTaken(effect.message), now)
        effects += sent
    return effects


def test_messages_wait_until_their_shard_is_owned_and_leave_in_order() -> None:
    routes = ShardRoutes("carts")
    one, two, three = RoutedMessage(0, 1), RoutedMessage(0, 2), RoutedMessage(0, 3)
    routes.handle(one, 0.0)
    assert routes.handle(rows(1, Opening(X, 5)), 0.0) == []
    routes.handle(two, 0.0)
    assert handled(routes, rows(2, Owned(X, 5)), 0.0) == [SendToOwner(X, 5, one), SendToOwner(X, 5, two)]
    assert routes.handle(three, 0.0) == [SendToOwner(X, 5, three)]
    assert routes.held_count == 0


def test_messages_during_a_move_go_to_the_next_owner() -> None:
    routes = ShardRoutes("carts")
    routes.handle(rows(1, Owned(X, 5)), 0.0)
    routes.handle(rows(2, Moving(X, 5, 6, Y)), 0.0)
    one = RoutedMessage(0, 1)
    assert not [effect for effect in routes.handle(one, 0.0) if isinstance(effect, SendToOwner)]
    routes.handle(rows(3, None), 0.0)
    routes.handle(rows(4, Opening(Y, 7)), 0.0)
    assert handled(routes, rows(5, Owned(Y, 7)), 0.0) == [SendToOwner(Y, 7, one)]


def test_a_message_waits_until_its_own_deadline_or_that_of_a_tell() -> None:
    routes = ShardRoutes("carts", RouteLimits(held_time_max=30.0))
    tell, ask, long_ask = RoutedMessage(0, 1), RoutedMessage(0, 2, deadline=5.0), RoutedMessage(0, 3, deadline=60.0)
    for message in (tell, ask, long_ask):
        routes.handle(message, 0.0)
    drops = {at: [e for e in routes.handle(DUE, at) if isinstance(e, DropMessage)] for at in (4.9, 5.0, 30.0, 60.0)}
    expired = RefusalReason.expired
    assert drops == {
        4.9: [],
        5.0: [DropMessage(ask, expired)],
        30.0: [DropMessage(tell, expired)],
        60.0: [DropMessage(long_ask, expired)],
    }
    assert routes.held_count == 0 and not routes.held


def test_a_message_beyond_its_deadline_is_not_sent_though_its_shard_is_owned_now() -> None:
    routes = ShardRoutes("carts")
    ask = RoutedMessage(0, 1, deadline=5.0)
    routes.handle(ask, 0.0)
    assert handled(routes, rows(1, Owned(X, 5)), 5.0) == [DropMessage(ask, RefusalReason.expired)]


def test_buffers_are_bounded_by_shard_and_by_key() -> None:
    routes = ShardRoutes("carts", RouteLimits(shard_held_max=2, held_max=3))
    full = RefusalReason.full
    for message in (RoutedMessage(0, 1), RoutedMessage(0, 2)):
        assert not [e for e in routes.handle(message, 0.0) if isinstance(e, DropMessage)]
    assert routes.handle(RoutedMessage(0, 3), 0.0) == [DropMessage(RoutedMessage(0, 3), full)]
    assert routes.has_room(1)
    routes.handle(RoutedMessage(1, 4), 0.0)
    assert not routes.has_room(2)
    assert routes.handle(RoutedMessage(1, 5), 0.0) == [DropMessage(RoutedMessage(1, 5), full)]
    handled(routes, rows(1, Owned(X, 5)), 0.0)
    assert routes.held_count == 1
    assert routes.has_room(2)


def test_two_equal_messages_are_two() -> None:
    routes = ShardRoutes("carts")
    routes.handle(RoutedMessage(0, 1, deadline=9.0), 0.0)
    routes.handle(RoutedMessage(0, 1, deadline=5.0), 0.0)
    assert routes.handle(DUE, 6.0)[:1] == [DropMessage(RoutedMessage(0, 1, deadline=5.0), RefusalReason.expired)]
    [left] = routes.held[0]
    assert left.deadline == 9.0


def test_deadlines_of_what_has_left_are_forgotten() -> None:
    routes = ShardRoutes("carts")
    for version in range(1, 3_000):
        routes.handle(RoutedMessage(0, version), 0.0)
        handled(routes, rows(2 * version, Owned(X, 5)), 0.0)
        routes.handle(rows(2 * version + 1, None), 0.0)
    assert len(routes.deadlines) <= 1_025


def sent(effects: Sequence[RouteEffect]) -> list[object]:
    return [effect.message.message for effect in effects if isinstance(effect, SendToOwner)]


def test_messages_for_an_owner_out_of_reach_wait_until_it_is_back() -> None:
    routes = ShardRoutes("carts")
    routes.handle(rows(1, Owned(X, 5)), 0.0)
    routes.handle(OwnersInReach(frozenset({Y})), 0.0)
    assert routes.routes == {}
    assert sent(routes.handle(RoutedMessage(0, 1), 0.0)) == []
    assert sent(routes.handle(RoutedMessage(0, 2), 0.0)) == []
    assert handled(routes, OwnersInReach(frozenset({X, Y})), 1.0) == [
        SendToOwner(X, 5, RoutedMessage(0, 1)),
        SendToOwner(X, 5, RoutedMessage(0, 2)),
    ]
    assert sent(routes.handle(RoutedMessage(0, 3), 1.0)) == [3]


def test_messages_for_an_owner_out_of_reach_go_to_the_next_one() -> None:
    routes = ShardRoutes("carts")
    routes.handle(rows(1, Owned(X, 5)), 0.0)
    routes.handle(OwnersInReach(frozenset({Y})), 0.0)
    routes.handle(RoutedMessage(0, 1), 0.0)
    assert sent(routes.handle(rows(2, Opening(Y, 7)), 1.0)) == []
    assert handled(routes, rows(3, Owned(Y, 7)), 1.0) == [SendToOwner(Y, 7, RoutedMessage(0, 1))]


def test_an_owner_never_seen_as_a_member_gets_nothing_yet() -> None:
    routes = ShardRoutes("carts")
    routes.handle(OwnersInReach(frozenset({Y})), 0.0)
    routes.handle(rows(1, Owned(X, 5)), 0.0)
    assert sent(routes.handle(RoutedMessage(0, 1), 0.0)) == []


def test_messages_given_back_go_before_those_that_came_later() -> None:
    routes = ShardRoutes("carts")
    routes.handle(rows(1, Owned(X, 5)), 0.0)
    early = [RoutedMessage(0, number) for number in (1, 2)]
    for message in early:
        routes.handle(message, 0.0)
    routes.handle(OwnersInReach(frozenset({Y})), 1.0)
    routes.handle(RoutedMessage(0, 3), 1.0)
    for message in early:
        routes.handle(MessageGivenBack(message), 2.0)
    routes.handle(RoutedMessage(0, 4), 2.0)
    assert sent(handled(routes, rows(2, Owned(Y, 7)), 3.0)) == [1, 2, 3, 4]
    assert routes.held_count == 0 and not routes.held


def test_a_message_given_back_is_dropped_where_its_shard_has_a_way_or_no_room() -> None:
    routes = ShardRoutes("carts", RouteLimits(shard_held_max=1))
    routes.handle(rows(1, Owned(X, 5)), 0.0)
    one = RoutedMessage(0, 1)
    assert routes.handle(MessageGivenBack(one), 0.0) == [DropMessage(one, RefusalReason.expired)]
    routes.handle(OwnersInReach(frozenset()), 0.0)
    routes.handle(RoutedMessage(0, 2), 0.0)
    assert routes.handle(MessageGivenBack(one), 0.0) == [DropMessage(one, RefusalReason.full)]


def test_given_back_ones_that_expire_leave_the_order_as_it_is() -> None:
    routes = ShardRoutes("carts")
    first, second = RoutedMessage(0, 1, deadline=5.0), RoutedMessage(0, 2)
    routes.handle(RoutedMessage(0, 4), 0.0)
    for message in (first, second):
        routes.handle(MessageGivenBack(message), 0.0)
    assert routes.handle(DUE, 5.0)[:1] == [DropMessage(first, RefusalReason.expired)]
    routes.handle(MessageGivenBack(RoutedMessage(0, 3)), 6.0)
    assert sent(handled(routes, rows(1, Owned(Y, 7)), 7.0)) == [2, 3, 4]


def test_a_withdrawn_message_is_forgotten() -> None:
    routes = ShardRoutes("carts")
    one, two = RoutedMessage(0, 1), RoutedMessage(0, 2)
    routes.handle(one, 0.0)
    routes.handle(two, 0.0)
    routes.handle(MessageWithdrawn(one), 0.0)
    routes.handle(MessageWithdrawn(one), 0.0)
    assert routes.held_count == 1
    assert sent(handled(routes, rows(1, Owned(X, 5)), 1.0)) == [2]


def test_a_closed_node_sends_nothing_it_holds() -> None:
    routes = ShardRoutes("carts")
    one, two = RoutedMessage(0, 1), RoutedMessage(3, 2)
    routes.handle(one, 0.0)
    routes.handle(two, 0.0)
    assert routes.close() == [DropMessage(one, RefusalReason.expired), DropMessage(two, RefusalReason.expired)]
    assert routes.held_count == 0
    assert sent(routes.handle(rows(1, Owned(X, 5)), 1.0)) == []


def held_for(shards: int, count: int, **limits: int) -> ShardRoutes:
    """Return routes with so many messages held for each shard; each is named by its shard and number."""
    routes = ShardRoutes("carts", RouteLimits(**limits))
    for number in range(count):
        for shard in range(shards):
            routes.handle(RoutedMessage(shard, (shard, number)), 0.0)
    return routes


def test_held_messages_leave_as_there_is_room_and_later_ones_go_behind_them() -> None:
    routes = held_for(1, 3)
    assert sent(handled(routes, rows(1, Owned(X, 5)), 0.0, room=2)) == [(0, 0), (0, 1)]
    assert handled(routes, RoutedMessage(0, "later"), 0.0) == []
    assert (routes.routes, routes.held_count) == ({}, 2)
    effects = let_go(routes, 0.0)
    assert sent(effects) == [(0, 2), "later"]
    assert effects[-1] == RouteOpened(0)
    assert (routes.routes, routes.held, routes.releasing, routes.held_count) == ({0: (X, 5)}, {}, {}, 0)
    assert routes.handle(RoutedMessage(0, "now"), 0.0) == [SendToOwner(X, 5, RoutedMessage(0, "now"))]


def test_what_was_not_taken_is_offered_again_as_the_first() -> None:
    routes = held_for(1, 2)
    routes.handle(rows(1, Owned(X, 5)), 0.0)
    for _ in range(2):
        assert sent(routes.handle(ShardHasRoom(0), 0.0)) == [(0, 0)]
    assert sent(let_go(routes, 0.0)) == [(0, 0), (0, 1)]


def test_room_is_looked_for_again_and_again_until_nothing_is_held() -> None:
    routes = held_for(1, 2)
    looks = [e for e in routes.handle(rows(1, Owned(X, 5)), 0.0) if not isinstance(e, SendToOwner | DropMessage)]
    assert [type(effect).__name__ for effect in looks] == ["LookForRoom", "StartTimer"]
    assert routes.handle(RoutedMessage(0, 3), 0.0) == []  # one timer is enough
    assert [type(effect).__name__ for effect in routes.handle(ROOM_DUE, 0.01)] == ["LookForRoom", "StartTimer"]
    let_go(routes, 0.01)
    assert routes.handle(ROOM_DUE, 0.02) == []


def test_shards_let_their_messages_go_by_turns() -> None:
    routes = held_for(3, 2)
    routes.handle(rows(1, Owned(X, 5), Owned(Y, 5), Owned(X, 5)), 0.0)
    assert sent(let_go(routes, 0.0, room=4)) == [(0, 0), (1, 0), (2, 0), (0, 1)]
    assert sent(let_go(routes, 0.0)) == [(1, 1), (2, 1)]


@pytest.mark.parametrize(
    "change", [rows(2, Owned(Y, 7)), rows(2, Owned(X, 7)), rows(2, None), OwnersInReach(frozenset({Y}))]
)
def test_what_is_held_in_the_middle_of_a_release_goes_to_the_next_owner(change: RouteEvent) -> None:
    routes = held_for(1, 4)
    handled(routes, rows(1, Owned(X, 5)), 0.0, room=2)
    handled(routes, change, 1.0, room=0)
    assert [one.message.message for one in routes.held[0]] == [(0, 2), (0, 3)]
    assert handled(routes, rows(3, Owned(Y, 9)), 2.0) == [
        SendToOwner(Y, 9, RoutedMessage(0, (0, 2))),
        SendToOwner(Y, 9, RoutedMessage(0, (0, 3))),
    ]


def test_what_was_let_go_and_is_given_back_goes_before_the_rest() -> None:
    routes = held_for(1, 4)
    gone = handled(routes, rows(1, Owned(X, 5)), 0.0, room=2)
    assert not routes.takes_back(0)
    routes.handle(OwnersInReach(frozenset({Y})), 1.0)
    assert routes.takes_back(0)
    for effect in gone:
        routes.handle(MessageGivenBack(effect.message), 1.0)  # type: ignore[union-attr]  # messages alone
    assert sent(handled(routes, rows(2, Owned(Y, 7)), 2.0, room=1)) == [(0, 0)]
    routes.handle(OwnersInReach(frozenset({X})), 3.0)
    routes.handle(MessageGivenBack(RoutedMessage(0, (0, 0))), 3.0)
    assert sent(handled(routes, rows(3, Owned(X, 9)), 4.0)) == [(0, 0), (0, 1), (0, 2), (0, 3)]


def test_a_message_given_back_waits_while_nothing_has_gone_to_the_next_owner_and_is_dropped_then() -> None:
    routes = held_for(1, 2)
    handled(routes, rows(1, Owned(X, 5)), 0.0, room=0)
    early, late = RoutedMessage(0, "early"), RoutedMessage(0, "late")
    assert routes.handle(MessageGivenBack(early), 0.0) == []
    assert sent(let_go(routes, 0.0, room=1)) == ["early"]
    assert routes.handle(MessageGivenBack(late), 0.0) == [DropMessage(late, RefusalReason.expired)]


def test_deadlines_and_withdrawals_hold_during_a_release_and_the_last_one_opens_the_route() -> None:
    routes = ShardRoutes("carts")
    first, second, third = RoutedMessage(0, 1), RoutedMessage(0, 2, deadline=5.0), RoutedMessage(0, 3, deadline=6.0)
    for message in (first, second, third):
        routes.handle(message, 0.0)
    handled(routes, rows(1, Owned(X, 5)), 0.0, room=0)
    assert routes.handle(MessageWithdrawn(first), 1.0) == []
    assert routes.handle(ShardHasRoom(0), 5.0) == [
        DropMessage(second, RefusalReason.expired),
        SendToOwner(X, 5, third),
    ]
    assert routes.handle(DUE, 6.0) == [DropMessage(third, RefusalReason.expired), RouteOpened(0)]
    assert routes.handle(ShardHasRoom(0), 6.0) == []
    assert routes.routes == {0: (X, 5)}


def test_the_room_of_a_buffer_counts_while_it_is_let_go() -> None:
    routes = held_for(1, 2, shard_held_max=2)
    handled(routes, rows(1, Owned(X, 5)), 0.0, room=0)
    assert not routes.has_room(0)
    let_go(routes, 0.0, room=1)
    assert routes.has_room(0)
    let_go(routes, 0.0)
    assert routes.has_room(0)


def test_a_closed_node_lets_nothing_go_any_more() -> None:
    routes = held_for(2, 2)
    handled(routes, rows(1, Owned(X, 5), Owned(Y, 6)), 0.0, room=1)
    assert len(routes.close()) == 3
    assert (routes.releasing, routes.held_count) == ({}, 0)
    assert routes.handle(ROOM_DUE, 1.0) == []


@dataclass
class Link:
    """Driver of one sender with links to two owners, which lose what is queued only to give it back."""

    routes: ShardRoutes = field(default_factory=lambda: ShardRoutes("carts"))
    queues: dict[UniqueAddress, list[RoutedMessage]] = field(default_factory=lambda: {X: [], Y: []})
    arrived: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    dropped: int = 0

    def handle(self, event: RouteEvent) -> None:
        for effect in self.routes.handle(event, 0.0):
            match effect:
                case SendToOwner(to, _, message):
                    self.queues[to].append(message)
                    if isinstance(event, ShardHasRoom):
                        self.handle(MessageTaken(message))
                case DropMessage():
                    self.dropped += 1
                case _:
                    pass
        assert not self.routes.routes.keys() & self.routes.held.keys(), (
            "a route is opened before all held ones have gone"
        )
        assert self.routes.releasing.keys() <= self.routes.held.keys()
        assert self.routes.held_count == sum(map(len, self.routes.held.values()))

    def write(self, to: UniqueAddress, count: int) -> None:
        for message in self.queues[to][:count]:
            self.arrived.append(message.message)  # type: ignore[arg-type]  # opaque to the machine
        del self.queues[to][:count]

    def reach(self, *runs: UniqueAddress) -> None:
        self.handle(OwnersInReach(frozenset(runs)))
        for gone in {X, Y} - {*runs}:
            taken, self.queues[gone] = self.queues[gone], []
            for message in taken:
                self.handle(MessageGivenBack(message))


@given(st.randoms(use_true_random=False))
def test_whatever_room_there_is_messages_of_a_shard_arrive_in_order_and_none_is_lost(draws: random.Random) -> None:
    link, numbers, version = Link(), [0, 0], 0
    for _ in range(draws.randrange(80)):
        match draws.randrange(7):
            case 0 | 1 | 2:
                shard = draws.randrange(2)
                link.handle(RoutedMessage(shard, (shard, numbers[shard])))
                numbers[shard] += 1
            case 3:
                link.reach(*draws.choice(((), (X,), (Y,), (X, Y), (X, Y))))
            case 4:
                for to in (X, Y):  # as markers do: a row is another's only when all sent before was handled
                    link.write(to, 1_000)
                version += 1
                link.handle(rows(version, *(Owned(draws.choice((X, Y)), version) for _ in range(2))))
            case 5 if link.routes.releasing:
                link.handle(ShardHasRoom(draws.choice([*link.routes.releasing])))
            case _:
                link.write(draws.choice((X, Y)), draws.randrange(3))
    link.handle(rows(version + 1, Owned(X, 99), Owned(X, 99)))
    link.write(X, 1_000)
    link.write(Y, 1_000)
    link.reach(X)
    while link.routes.releasing:
        link.handle(ShardHasRoom(next(iter(link.routes.releasing))))
    link.write(X, 1_000)
    assert link.dropped == 0
    for shard in range(2):
        assert [one for one in link.arrived if one[0] == shard] == [(shard, number) for number in range(numbers[shard])]
