"""Ways of messages from one node to the shards of a key."""

from __future__ import annotations

from collections.abc import Sequence

from casty.address import NodeAddress, UniqueAddress
from casty.protocol.effects import TimerFired
from casty.protocol.messages.shard_rows import Moving, Opening, Owned, Row, Term
from casty.protocol.sharding.entities.entity_events import RefusalReason
from casty.protocol.sharding.placement_events import ShardTableChanged
from casty.protocol.sharding.shard_routes import (
    DropMessage,
    MessageGivenBack,
    MessageWithdrawn,
    OwnersInReach,
    RoutedMessage,
    RouteEffect,
    RouteLimits,
    SendToOwner,
    ShardRoutes,
)
from casty.protocol.sharding.shard_table import ShardTable

X = UniqueAddress(NodeAddress("x", 1), 1)
Y = UniqueAddress(NodeAddress("y", 1), 2)
DUE = TimerFired("routes-due.carts")


def rows(version: int, row: Row | None) -> ShardTableChanged:
    return ShardTableChanged(ShardTable("carts", 1).begun(Term(1, 1), version, {0: row}))


def test_messages_wait_until_their_shard_is_owned_and_leave_in_order() -> None:
    routes = ShardRoutes("carts")
    one, two, three = RoutedMessage(0, 1), RoutedMessage(0, 2), RoutedMessage(0, 3)
    routes.handle(one, 0.0)
    assert routes.handle(rows(1, Opening(X, 5)), 0.0) == []
    routes.handle(two, 0.0)
    assert routes.handle(rows(2, Owned(X, 5)), 0.0) == [SendToOwner(X, 5, one), SendToOwner(X, 5, two)]
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
    assert routes.handle(rows(5, Owned(Y, 7)), 0.0) == [SendToOwner(Y, 7, one)]


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
    assert routes.handle(rows(1, Owned(X, 5)), 5.0) == [DropMessage(ask, RefusalReason.expired)]


def test_buffers_are_bounded_by_shard_by_key_and_by_bytes() -> None:
    routes = ShardRoutes("carts", RouteLimits(shard_held_max=2, held_max=3, held_bytes_max=100))
    full = RefusalReason.full
    for message in (RoutedMessage(0, 1), RoutedMessage(0, 2)):
        assert not [e for e in routes.handle(message, 0.0) if isinstance(e, DropMessage)]
    assert routes.handle(RoutedMessage(0, 3), 0.0) == [DropMessage(RoutedMessage(0, 3), full)]
    assert routes.handle(RoutedMessage(1, 4, size=101), 0.0) == [DropMessage(RoutedMessage(1, 4, size=101), full)]
    assert routes.has_room(1, 100)
    routes.handle(RoutedMessage(1, 5, size=100), 0.0)
    assert not routes.has_room(2, 0)
    routes.handle(rows(1, Owned(X, 5)), 0.0)
    assert (routes.held_count, routes.held_bytes) == (1, 100)
    assert routes.has_room(2, 0)


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
        routes.handle(rows(2 * version, Owned(X, 5)), 0.0)
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
    assert routes.handle(OwnersInReach(frozenset({X, Y})), 1.0) == [
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
    assert routes.handle(rows(3, Owned(Y, 7)), 1.0) == [SendToOwner(Y, 7, RoutedMessage(0, 1))]


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
    assert sent(routes.handle(rows(2, Owned(Y, 7)), 3.0)) == [1, 2, 3, 4]
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
    assert sent(routes.handle(rows(1, Owned(Y, 7)), 7.0)) == [2, 3, 4]


def test_a_withdrawn_message_is_forgotten() -> None:
    routes = ShardRoutes("carts")
    one, two = RoutedMessage(0, 1), RoutedMessage(0, 2)
    routes.handle(one, 0.0)
    routes.handle(two, 0.0)
    routes.handle(MessageWithdrawn(one), 0.0)
    routes.handle(MessageWithdrawn(one), 0.0)
    assert routes.held_count == 1
    assert sent(routes.handle(rows(1, Owned(X, 5)), 1.0)) == [2]


def test_a_closed_node_sends_nothing_it_holds() -> None:
    routes = ShardRoutes("carts")
    one, two = RoutedMessage(0, 1), RoutedMessage(3, 2)
    routes.handle(one, 0.0)
    routes.handle(two, 0.0)
    assert routes.close() == [DropMessage(one, RefusalReason.expired), DropMessage(two, RefusalReason.expired)]
    assert routes.held_count == 0
    assert sent(routes.handle(rows(1, Owned(X, 5)), 1.0)) == []
