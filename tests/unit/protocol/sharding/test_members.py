"""What a node remembers of the members that have come and gone."""

from __future__ import annotations

import gc
import random
from dataclasses import replace

from casty.address import UniqueAddress
from casty.protocol.messages.shard_rows import Owned, Term
from casty.protocol.messages.sharding import Enlist, Retired
from casty.protocol.sharding.machine import ShardPlacement
from casty.protocol.sharding.members import PlacementView
from casty.protocol.sharding.placement_events import MembersSeen, PlacementCame, WorkIsFree
from casty.protocol.sharding.shard_table import ShardTable
from casty.protocol.state.member import Member
from casty.protocol.state.membership_state import Gossip
from casty.testing.samples import gossip_of, member, run_of

REMEMBERED = 5
"""Tombstones kept by the membership here."""
A, B, Z = map(run_of, "abz")


def removed(*names: str, also: tuple[Member, ...] = ()) -> Gossip:
    """Return the state of ``z`` alone, with tombstones of these."""
    state = gossip_of(member("z", up_number=9), *also)
    return replace(state, tombstones={run_of(name): 0.0 for name in names})


def runs_in(root: object) -> set[UniqueAddress]:
    """Return every run to be found in an object."""
    found, seen, waiting = set[UniqueAddress](), set[int](), [root]
    while waiting:
        one = waiting.pop()
        if id(one) in seen or isinstance(one, type) or callable(one):
            continue
        seen.add(id(one))
        if isinstance(one, UniqueAddress):
            found.add(one)
        waiting.extend(gc.get_referents(one))
    return found


def test_of_two_hundred_runs_that_came_and_went_no_more_are_remembered_than_by_the_membership() -> None:
    placement = ShardPlacement(Z, random.Random(1))
    for number in range(200):
        name, past = f"n{number:04}", [f"n{one:04}" for one in range(max(0, number - REMEMBERED), number)]
        run, now = run_of(name), float(number)
        placement.handle(MembersSeen(removed(*past, also=(member(name, up_number=1),))), now)
        placement.handle(PlacementCame(run, Enlist(Term(300 + number, run.incarnation))), now)
        placement.handle(PlacementCame(run, Retired(Term(300 + number, run.incarnation))), now)
        placement.handle(WorkIsFree(run, now + 0.5), now)
        placement.handle(MembersSeen(removed(*past, name)), now + 0.1)
    assert len(runs_in(placement)) <= REMEMBERED + 3


def test_a_removed_run_is_remembered_as_long_as_its_work_is_not_free() -> None:
    view = PlacementView(Z, lambda _: True)
    view.see(removed(also=(member("a", up_number=1),)))
    view.free(A, 20.0)
    view.see(removed("a"))
    view.see(removed())
    view.forget((), 19.0)
    assert view.older_serve_still(19.0)
    assert not view.is_gone(A, 19.0)
    assert view.is_gone(A, 20.0)
    view.forget((), 20.0)
    assert not view.remembers_more


def test_a_removed_run_is_remembered_as_long_as_a_row_names_it() -> None:
    placement = ShardPlacement(Z, random.Random(1))
    placement.handle(MembersSeen(removed(also=(member("a", up_number=1), member("b", up_number=2)))), 0.0)
    table = ShardTable("carts", 4).begun(Term(300, A.incarnation), 1, {0: Owned(A, 1)})
    for part in table.slices_after(None):
        placement.handle(PlacementCame(A, part), 0.5)
    placement.handle(MembersSeen(removed("a", also=(member("b", up_number=2),))), 1.0)
    placement.handle(MembersSeen(removed(also=(member("b", up_number=2),))), 2.0)
    assert placement.view.is_gone(A, 2.0)
    assert not placement.view.is_gone(run_of("never"), 3.0)
