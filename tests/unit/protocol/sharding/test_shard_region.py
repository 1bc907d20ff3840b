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

A, B, C = map(run_of, "abc")
TERM = Term(300, A.incarnation)


def region(run: UniqueAddress, *tables: ShardTable) -> ShardRegion:
    view = PlacementView(run, lambda _: True)
    view.see(gossip_of(member("a", up_number=1), member("b", up_number=2), member("c", up_number=3)))
    made = ShardRegion(view)
    for table in tables:
        for part in table.slices_after(None):
            made.take(A, part)
    return made


def table(key: str, version: int) -> ShardTable:
    return ShardTable(key, 4).begun(TERM, version, {0: Owned(A, version)})


def exchange(
    one: ShardRegion,
    other: ShardRegion,
    *,
    runs: tuple[UniqueAddress, UniqueAddress] = (A, B),
    begins: UniqueAddress = A,
) -> list[str]:
    """Let one of two tell the other its digest, and both answer until nothing is left; return what was said."""
    regions, said = dict(zip(runs, (one, other), strict=True)), list[str]()
    sender, to = runs if begins == A else runs[::-1]
    letters = deque([(sender, to, regions[sender].digest)])
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
        effects = [effect for effect in effects if isinstance(effect, Send) and effect.to in regions]
        letters.extend((to, effect.to, effect.message) for effect in effects if isinstance(effect, Send))  # type: ignore[misc]  # of these three
    return said


def test_nodes_that_know_the_same_say_no_more_than_a_digest() -> None:
    one, other = region(A, table("carts", 3)), region(B, table("carts", 3))
    assert exchange(one, other) == ["TableDigest"]
    assert len(one.digest.digest) == 16


def test_each_node_gets_what_it_lacks_in_one_exchange_whoever_begins() -> None:
    for writer_begins in (True, False):
        writer = region(A, *(table(f"k{number:03}", 3) for number in range(70)))
        other = region(B, table("k005", 2), table("k066", 3))
        exchange(writer, other, begins=A if writer_begins else B)
        assert other.known == writer.known
        assert len(other.known) == 70
        assert other.tables["k005"].version == 3
        assert exchange(writer, other) == ["TableDigest"]


def test_nobody_but_the_writer_hands_a_table_on() -> None:
    many, few = region(B, table("carts", 3)), region(C, table("carts", 2))
    assert "TableSlice" not in exchange(many, few, runs=(B, C))
    asked = few.compare(B, TablePlaces(many.known))
    assert asked == [Send(A, TablePlaces((few.tables["carts"].known,), asks=False))]


def test_a_digest_tells_the_highest_number_of_a_term() -> None:
    one, other = region(A), region(B)
    one.heard(777)
    exchange(one, other)
    assert other.highest == 777


def test_tables_of_one_node_are_bounded() -> None:
    made = region(A, *(table(f"k{number:05}", 1) for number in range(KEYS_MAX + 5)))
    assert len(made.tables) == KEYS_MAX
