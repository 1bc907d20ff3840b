"""What one node says of the placement, each second."""

from __future__ import annotations

import random
from collections.abc import Sequence

from casty.protocol.effects import Send, TimerFired
from casty.protocol.messages.shard_rows import Owned, Term
from casty.protocol.messages.sharding import TableDigest
from casty.protocol.sharding.machine import REMIND, ShardPlacement
from casty.protocol.sharding.placement_events import HostsSeen, MembersSeen, PlacementCame
from casty.protocol.sharding.shard_table import ShardTable
from casty.testing.samples import gossip_of, member, run_of

A, B, C = map(run_of, "abc")
THREE = gossip_of(*(member(name, up_number=number) for number, name in enumerate("abc", 1)))


def digests(effects: Sequence[object]) -> list[Send]:
    return [effect for effect in effects if isinstance(effect, Send) and isinstance(effect.message, TableDigest)]


def test_a_node_without_tables_tells_nobody_of_them() -> None:
    placement = ShardPlacement(C, random.Random(1))
    placement.handle(MembersSeen(THREE), 0.0)
    assert not digests(placement.handle(TimerFired(REMIND), 1.0))
    table = ShardTable("carts", 4).begun(Term(300, A.incarnation), 1, {0: Owned(A, 1)})
    for part in table.slices_after(None):
        placement.handle(PlacementCame(A, part), 1.5)
    assert len(digests(placement.handle(TimerFired(REMIND), 2.0))) == 1


def test_a_node_without_tables_asks_for_them_as_long_as_somebody_hosts_entities() -> None:
    placement = ShardPlacement(C, random.Random(1))
    placement.handle(MembersSeen(THREE), 0.0)
    placement.handle(HostsSeen("carts", 4, frozenset({A})), 0.5)
    (digest,) = digests(placement.handle(TimerFired(REMIND), 1.0))
    assert digest.to == A  # who writes the tables, as it seems
    placement.handle(HostsSeen("carts", 4, frozenset()), 1.5)
    assert not digests(placement.handle(TimerFired(REMIND), 2.0))
