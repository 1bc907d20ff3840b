"""Drained nodes and owners out of reach, by hand: where shards go, and where messages wait."""

from __future__ import annotations

from placement_by_hand import FREE_AFTER, ByHand, run_of

from casty.protocol.sharding.placement_events import HostsSeen, NodesDrained, RegionEnded, RegionStarted

SHARDS = 6


def drain(world: ByHand, names: str) -> None:
    """Let all nodes know that these are drained, and no others."""
    for name, node in world.nodes.items():
        if node.alive:
            world.tell(name, NodesDrained(frozenset(map(run_of, names))))


def remove(world: ByHand, name: str) -> None:
    """Let a node die, and all others know that it is gone."""
    world.crash(name)
    for other in world.nodes:
        if other != name:
            world.show(other, removed=name)
    world.pass_time(FREE_AFTER + 0.1)


def open_at(world: ByHand) -> dict[str, int]:
    """Return how many shards each node has open."""
    return {name: len(node.open) for name, node in world.nodes.items() if node.alive}


def test_the_shards_of_a_drained_node_go_elsewhere_and_come_back_when_it_is_drained_no_more() -> None:
    world = ByHand(num_shards=SHARDS)
    world.form("abc")
    drain(world, "b")
    for shard in range(SHARDS):
        world.senders.send("b", shard)
    world.pass_time(3.0)
    assert open_at(world) == {"a": 3, "b": 0, "c": 3}
    assert world.senders.is_done, "planned moves lose nothing"
    drain(world, "")
    world.pass_time(10.0)
    assert open_at(world) == {"a": 2, "b": 2, "c": 2}
    world.rules.settled({world.key: SHARDS})


def test_a_drained_coordinator_goes_on_to_place_the_shards_of_others() -> None:
    world = ByHand(num_shards=SHARDS)
    world.form("abc")
    drain(world, "a")
    world.pass_time(3.0)
    remove(world, "b")
    world.pass_time(1.0)
    assert world.nodes["a"].leads
    assert open_at(world) == {"a": 0, "c": SHARDS}


def test_a_drained_node_takes_what_nobody_else_can_and_gives_it_up_to_the_next_one() -> None:
    world = ByHand(num_shards=SHARDS)
    world.form("abc", hosts="ab")
    drain(world, "a")
    world.pass_time(3.0)
    assert open_at(world) == {"a": 0, "b": SHARDS, "c": 0}
    remove(world, "b")
    world.pass_time(1.0)
    assert open_at(world) == {"a": SHARDS, "c": 0}, "no entity waits for an operator"
    world.host_here("c")
    for name in "ac":
        world.tell(name, HostsSeen(world.key, SHARDS, frozenset(map(run_of, "ac"))))
    world.pass_time(3.0)
    assert open_at(world) == {"a": 0, "c": SHARDS}


def test_the_only_host_has_its_shards_again_after_its_region_has_failed_though_it_is_drained() -> None:
    world = ByHand(num_shards=SHARDS)
    world.form("ab", hosts="a")
    drain(world, "a")
    world.tell("a", RegionEnded(world.key))
    world.pass_time(1.0)
    world.tell("a", RegionStarted(world.key))
    world.pass_time(12.0)
    assert open_at(world) == {"a": SHARDS, "b": 0}


def test_messages_for_an_owner_out_of_reach_wait_until_it_is_back() -> None:
    world = ByHand()
    world.form("abc", hosts="b")
    world.show("c", unreachable="b")
    for _ in range(3):
        world.senders.send("c", 0)
        world.senders.send("a", 0)
    world.pass_time(1.0)
    world.senders.look()
    assert (world.senders.held("a", 0), world.senders.held("c", 0)) == (0, 3), "only c does not reach it"
    world.show("c")
    world.pass_time(0.1)
    world.senders.look()
    assert world.senders.is_done


def test_messages_for_an_owner_out_of_reach_go_to_the_next_one_if_it_does_not_come_back() -> None:
    world = ByHand()
    world.form("abc", hosts="bc")
    assert world.owner() == "b"
    world.senders.send("a", 0)
    world.pass_time(0.1)
    for name in "ac":
        world.show(name, unreachable="b")
    for _ in range(3):
        world.senders.send("a", 0)
    remove(world, "b")
    world.pass_time(1.0)
    world.senders.look()
    assert world.owner() == "c"
    assert world.senders.is_done, "none was sent to the dead one"
