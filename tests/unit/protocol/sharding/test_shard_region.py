"""Exchange of tables between two nodes: one knows everything, the other one nothing, or something else."""

from __future__ import annotations

from collections import deque

from casty.address import UniqueAddress
from casty.protocol.effects import Send
from casty.protocol.messages.shard_bounds import KEYS_MAX
from casty.protocol.messages.shard_rows import Owned, Term
from casty.protocol.messages.sharding import TableDigest, TablePlaces, TableSlice
from casty.protocol.sharding.members import PlacementView
from casty.protocol.sharding.shard_region import ShardRegion
from casty.protocol.sharding.shard_table import ShardTable
from casty.testing.samples import gossip_of, member, run_of

A, B = map(run_of, "ab")
TERM = Term(300, 1)


def region(run: UniqueAddress, *tables: ShardTable) -> ShardRegion:
    view = PlacementView(run, lambda _: True)
    view.see(gossip_of(member("a", up_number=1), member("b", up_number=2)))
    made = ShardRegion(view)
    for table in tables:
        for part in table.slices_after(None):
            made.take(A, part)
    return made


def table(key: str, version: int) -> ShardTable:
    return ShardTable(key, 4).begun(TERM, version, {0: Owned(A, version)})


def exchange(one: ShardRegion, other: ShardRegion) -> list[str]:
    """Let ``one`` tell the other its digest, and both answer until nothing is left; return what was said."""
    regions, said = {A: one, B: other}, list[str]()
    letters = deque([(A, B, one.digest)])
    while letters:
        sender, to, message = letters.popleft()
        said.append(type(message).__name__)
        match message:
            case TableDigest():
                effects = regions[to].answer(sender, message)
            case TablePlaces():
                effects = regions[to].compare(sender, message)
            case TableSlice():
                effects = regions[to].take(sender, message)
        letters.extend((to, effect.to, effect.message) for effect in effects if isinstance(effect, Send))  # type: ignore[misc]  # of these three
    return said


def test_nodes_that_know_the_same_say_no_more_than_a_digest() -> None:
    one, other = region(A, table("carts", 3)), region(B, table("carts", 3))
    assert exchange(one, other) == ["TableDigest"]
    assert len(one.digest.digest) == 16


def test_each_node_gets_what_it_lacks_in_one_exchange_whoever_begins() -> None:
    for begins_with_more in (True, False):
        many = region(A, *(table(f"k{number:03}", 3) for number in range(70)))
        few = region(B, table("k005", 2), table("k066", 9), table("z", 1))
        one, other = (many, few) if begins_with_more else (few, many)
        exchange(one, other)
        assert one.known == other.known
        assert len(one.known) == 71
        assert one.tables["k005"].version == 3
        assert one.tables["k066"].version == 9
        assert exchange(one, other) == ["TableDigest"]


def test_a_digest_tells_the_highest_number_of_a_term() -> None:
    one, other = region(A), region(B)
    one.heard(777)
    exchange(one, other)
    assert other.highest == 777


def test_tables_of_one_node_are_bounded() -> None:
    made = region(A, *(table(f"k{number:05}", 1) for number in range(KEYS_MAX + 5)))
    assert len(made.tables) == KEYS_MAX
