"""Failures of other systems that place shards, each as a schedule; the names in the comments are theirs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import pytest
from placement_by_hand import ByHand, Letter, run_of
from test_placement_schedules import DOWN, JOINING, KEY, LEAVING, UP, finish, host, join, remove, show_all

from casty.address import UniqueAddress
from casty.protocol.messages.shard_rows import Moving, Opening, Owned, Row, Term
from casty.protocol.messages.sharding import Enlisted, HeldShard, Opened, TableSlice, Yielded
from casty.protocol.sharding.allocation import Loads
from casty.protocol.sharding.entities.entity_limits import EntityLimits
from casty.protocol.sharding.placement_events import HostsSeen, PlacementCame, RegionEnded, SendMarker, ServesUntil
from casty.protocol.sharding.shard_routes import RouteLimits

STEPS: dict[str, Callable[[Letter], bool]] = {
    "the order to close": lambda letter: has_row(letter, Moving),
    "the word that it is closed": lambda letter: isinstance(letter.message, Yielded),
    "the order to open": lambda letter: has_row(letter, Opening),
    "the word that it is open": lambda letter: isinstance(letter.message, Opened),
    "the news of the owner": lambda letter: has_row(letter, Owned),
}


def has_row(letter: Letter, kind: type) -> bool:
    return isinstance(letter.message, TableSlice) and any(isinstance(row, kind) for _, row in letter.message.rows)


def held(world: ByHand, names: str) -> dict[str, dict[int, int]]:
    """Return the epoch of each shard held by these nodes."""
    regions = {name: world.nodes[name].machine.region for name in names}
    return {name: {shard: one.epoch for (_, shard), one in region.held.items()} for name, region in regions.items()}


def version(world: ByHand, at: str) -> tuple[Term, int]:
    return world.nodes[at].machine.region.tables[KEY].order


def moving_to(newcomer: str, shards: int = 4) -> ByHand:
    """Return a world of a and b in which one shard is about to move to a newcomer."""
    world = ByHand(num_shards=shards)
    world.form("ab")
    join(world, newcomer, 3, "ab")
    host(world, "ab" + newcomer, "ab" + newcomer)
    return world


def watch(world: ByHand, seen: Callable[[Letter], object]) -> None:
    """Let every letter be seen as it is sent; what ``seen`` says true of gets lost."""
    world.lose = lambda letter: bool(seen(letter))


def tell_all(world: ByHand, names: str) -> None:
    for name in names:
        for shard in range(world.num_shards):
            world.senders.send(name, shard)


@pytest.mark.parametrize("leaves", [False, True])
def test_a_coordinator_after_a_dead_or_leaving_one_gives_away_no_shard_that_somebody_has_open(leaves: bool) -> None:
    # 1: akka 17200, 18722, 18293
    world = ByHand(num_shards=9)
    world.form("abcd")
    before = held(world, "bcd")
    if leaves:
        show_all(world, "abcd", {"a": LEAVING})
        world.pass_time(1.0)
    world.crash("a")
    remove(world, "a", "bcd")
    world.pass_time(6.0)
    assert world.nodes["b"].leads
    now = held(world, "bcd")
    assert all(epochs.items() <= now[name].items() for name, epochs in before.items())
    finish(world)


def test_with_fewer_than_min_members_left_every_shard_of_the_dead_is_open_again_in_10_s() -> None:
    # 2: akka 21892, 22064, 25119
    world = ByHand(num_shards=10)
    world.form("abcde")
    crashed_at = world.now
    for name in "abc":
        world.crash(name)
    remove(world, "abc", "de", is_free=True)
    world.pass_time(crashed_at + 10.0 - world.now)
    world.rules.settled({KEY: 10})


@pytest.mark.parametrize("after", [0.0, 0.05, 0.52, 2.1, 2.11, 30.0])
def test_after_the_end_of_all_nodes_at_any_moment_all_shards_are_placed(after: float) -> None:
    # 3: akka 17955, 30154, akka.net 5604
    world = moving_to("c", shards=9)
    world.pass_time(after)
    for name in "abc":
        world.crash(name)
    world.cluster_id = 2
    world.form(["a2", "b2", "c2"])
    finish(world)


def test_a_node_that_restarts_on_its_address_within_100_ms_holds_nothing_and_its_old_run_serves_nothing() -> None:
    # 5: akka.net 6973, akka 20942
    world = ByHand(num_shards=6)
    world.form(["a", "b", "x1"])
    mine = world.nodes["x1"].open
    assert mine
    world.crash("x1")
    world.pass_time(0.1)
    world.start("x2")
    members = {"a": UP, "b": UP, "x1": UP, "x2": JOINING}
    numbers = {"a": 1, "b": 2, "x1": 3}
    for name in ("x2", "a", "b"):
        world.show(name, members, numbers, unreachable=["x1"])
        world.tell(name, host_of("a", "b", "x1", "x2"))
    world.pass_time(7.0)
    assert not world.nodes["x2"].open
    assert not mine & (world.nodes["a"].open | world.nodes["b"].open)  # it is not known yet that the run has ended
    for name in ("x2", "a", "b"):
        world.show(name, {"x1": DOWN})
        world.show(name, removed=["x1"])
    world.pass_time(4.3)
    assert not world.nodes["x2"].open
    for name in ("x2", "a", "b"):
        world.show(name, {"x2": UP}, {"x2": 4})
    finish(world)
    assert world.nodes["x2"].open


def host_of(*names: str) -> Any:
    """Return the news that these nodes host the key, of six shards."""
    from_names = frozenset(map(run_of, names))
    return HostsSeen(KEY, 6, from_names)


@pytest.mark.parametrize("how", ["leaving", "down", "unreachable", "removed"])
def test_no_row_is_given_to_who_is_leaving_down_unreachable_or_removed(how: str) -> None:
    # 6: akka 29131
    world = ByHand(num_shards=8)
    world.form("abcd")
    given: list[UniqueAddress] = []

    def note(letter: Letter) -> None:
        if isinstance(letter.message, TableSlice):
            given.extend(target_of(row) for _, row in letter.message.rows if target_of(row) is not None)

    watch(world, note)
    match how:
        case "leaving":
            show_all(world, "abcd", {"c": LEAVING})
        case "down":
            world.crash("c")
            show_all(world, "abd", {"c": DOWN})
        case "unreachable":
            show_all(world, "abd", unreachable="c")
        case _:
            world.crash("c")
            show_all(world, "abd", {"c": DOWN})
            show_all(world, "abd", removed="c", is_free=True)
    world.tell("b", RegionEnded(KEY))  # its shards are to be given to somebody
    host(world, "acd", "abd")
    world.pass_time(5.0)
    assert run_of("d") in given and run_of("c") not in given


def target_of(row: Row | None) -> UniqueAddress | None:
    """Return who is to have a shard, by its row."""
    return row.owner if isinstance(row, Opening) else row.to if isinstance(row, Moving) else None


def test_a_report_outside_of_its_term_or_of_a_removed_run_changes_no_row() -> None:
    # 7: actor-ts 948
    world = ByHand(num_shards=3)
    world.form("abx")
    [(shard, epoch)] = held(world, "b")["b"].items()
    [(lost, its_epoch)] = held(world, "x")["x"].items()
    term = world.nodes["a"].machine.region.promise
    world.tell("x", ServesUntil(world.now + 30.0))
    show_all(world, "ab", {"x": DOWN})
    show_all(world, "ab", removed="x")
    order, rows = version(world, "a"), dict(world.nodes["a"].machine.region.tables[KEY].rows)
    b, x = run_of("b"), run_of("x")
    lies: list[tuple[UniqueAddress, Any]] = [
        (b, Yielded(KEY, ((shard, epoch - 1),))),
        (b, Opened(KEY, ((shard, epoch + 1), (lost, its_epoch)))),
        (b, Yielded(KEY, ((lost, its_epoch),))),  # another's
        (b, Enlisted(Term(term.number - 1, term.incarnation), (HeldShard(KEY, lost, 1, None),), (), (b,))),
        (b, Enlisted(term, (HeldShard(KEY, lost, 1, None),), (), (b,))),  # it has answered before
        (x, Yielded(KEY, ((lost, its_epoch),))),
        (x, Opened(KEY, ((shard, epoch),))),
    ]
    for sender, word in lies:
        world.tell("a", PlacementCame(sender, word))
    assert version(world, "a") == order
    assert world.nodes["a"].machine.region.tables[KEY].rows == rows
    world.crash("x")
    finish(world)


def test_a_message_at_any_moment_of_a_move_is_handled() -> None:
    # 8: akka.net 8501
    world = moving_to("c")
    world.senders.handles_for = lambda: 0.01
    before = held(world, "ab")
    for _ in range(600):
        tell_all(world, "abc")
        world.pass_time(0.005)
    assert world.nodes["c"].open and held(world, "ab") != before
    finish(world)
    assert world.senders.is_done


@pytest.mark.parametrize("step", STEPS)
def test_each_letter_of_a_move_may_be_lost_once_and_the_shard_is_open_again_after_5_s(step: str) -> None:
    # 9: akka.net 7500, akka 27259
    world = moving_to("c")
    lost: set[tuple[str, UniqueAddress]] = set()

    def lose_once(letter: Letter) -> bool:
        way = letter.sender, letter.to
        if way in lost or not STEPS[step](letter):
            return False
        lost.add(way)
        return True

    world.lose = lose_once
    world.pass_time(4.0, until=lambda: bool(lost))
    assert lost
    world.pass_time(5.0)
    assert world.nodes["c"].open
    assert len({version(world, name) for name in "abc"}) == 1
    world.rules.settled({KEY: 4})
    world.rules.rows_are_true()
    tell_all(world, "abc")
    finish(world)
    assert world.senders.is_done


@pytest.mark.parametrize("dies", ["old", "new"])
@pytest.mark.parametrize("step", STEPS)
def test_an_owner_dead_at_any_step_of_a_move_leaves_its_shard_open_elsewhere_after_10_s(step: str, dies: str) -> None:
    # 9
    world = ByHand(num_shards=6)
    world.form("abc", hosts="bc")  # a coordinates, and holds nothing
    join(world, "d", 4, "abc")
    host(world, "bcd", "abcd")
    came: list[Letter] = []

    def note(letter: Letter) -> None:
        if STEPS[step](letter):
            came.append(letter)

    watch(world, note)
    world.pass_time(4.0, until=lambda: bool(came))
    assert came
    moving = [row for row in world.nodes["a"].machine.coordinator.writer.tables[KEY].rows.values() if is_moving(row)]
    owner = moving[0].owner if moving else run_of("b")
    gone = "d" if dies == "new" else owner.address.host
    world.crash(gone)
    left = "abcd".replace(gone, "")
    crashed_at = world.now
    remove(world, gone, left, is_free=True)
    host(world, "bcd".replace(gone, ""), left)
    world.pass_time(crashed_at + 10.0 - world.now)
    world.rules.settled({KEY: 6})
    finish(world)


def is_moving(row: Row) -> bool:
    return isinstance(row, Moving)


def test_held_messages_leave_within_50_ms_of_the_word_that_their_shard_is_open() -> None:
    # 10: akka 24191
    world = moving_to("c")
    world.closes_after = 1.0
    opened: list[float] = []

    def note(letter: Letter) -> None:
        if isinstance(letter.message, Opened) and letter.sender == "c":
            opened.append(world.now)

    watch(world, note)
    world.pass_time(4.0, until=lambda: bool(world.nodes["a"].machine.region.tables[KEY].moving))
    [shard] = world.nodes["a"].machine.region.tables[KEY].moving
    world.pass_time(0.1)
    for _ in range(100):
        world.senders.send("b", shard)
    assert world.senders.held("b", shard) == 100
    world.pass_time(4.0, until=lambda: bool(opened))
    assert world.senders.held("b", shard) == 100
    world.pass_time(0.05)
    assert world.senders.counts == {"handled": 100}
    finish(world)


class Rotation:
    """Strategy of placement that moves every shard to the next node, again and again."""

    def __init__(self) -> None:
        self.moved = 0

    def place(self, shards: Collection[int], loads: Loads) -> dict[int, UniqueAddress]:
        nodes = sorted(loads)
        return {shard: nodes[shard % len(nodes)] for shard in shards}

    def moves(
        self, holdings: Mapping[UniqueAddress, Collection[int]], loads: Loads, moving: Loads
    ) -> dict[int, UniqueAddress]:
        nodes = sorted(loads)
        following = dict(zip(nodes, nodes[1:] + nodes[:1], strict=True))
        moves = {shard: following[run] for run, shards in holdings.items() for shard in shards}
        self.moved += len(moves)
        return moves


def test_in_1_000_moves_under_10_numbered_senders_nothing_is_lost_or_overtakes() -> None:
    # 11: akka 30957
    names = "abcdefghij"
    world = ByHand(num_shards=50)
    world.form(names)
    world.senders.handles_for = lambda: 0.02
    rotation, hosts = Rotation(), frozenset(map(run_of, names))
    world.tell("a", HostsSeen(KEY, 50, hosts, rotation))
    while rotation.moved < 1_000:
        for at, name in enumerate(names):
            for shard in range(at, 50, 10):
                world.senders.send(name, shard)
                world.senders.send(name, (shard * 7) % 50)
        world.pass_time(0.1)
    world.tell("a", HostsSeen(KEY, 50, hosts))
    world.pass_time(20.0)
    assert world.senders.is_done and world.senders.counts["handled"] > 20_000
    assert all(told.number <= world.senders.handled[told.sender, told.entity] for told in world.senders.fates)


def test_who_never_sends_a_marker_delays_one_move_by_2_s_and_no_other_shard() -> None:
    # 14: dapr 1914, 3023
    world = moving_to("c")
    mark = world.senders.mark

    def no_marker_of_c(sender: str, effect: SendMarker) -> None:
        if sender != "c":
            mark(sender, effect)

    world.senders.mark = no_marker_of_c  # type: ignore[method-assign]  # a link that stalls
    world.pass_time(4.0, until=lambda: bool(world.nodes["a"].machine.region.tables[KEY].moving))
    began = world.now
    [moving] = world.nodes["a"].machine.region.tables[KEY].moving
    while not world.nodes["c"].open:
        for shard in range(4):
            if shard != moving:
                world.senders.send("c", shard)
        world.pass_time(0.05)
        assert world.now < began + 2.2
        assert world.senders.is_done  # those of other shards within 50 ms
    assert world.now > began + 1.9
    finish(world)


def test_nodes_that_only_call_cause_no_move() -> None:
    # 15: dapr 9591
    world = ByHand(num_shards=8)
    world.form("abc")
    before, order = held(world, "abc"), version(world, "a")
    world.start("d", hosts=False)
    show_all(world, "dabc", {"a": UP, "b": UP, "c": UP, "d": JOINING}, numbers={"a": 1, "b": 2, "c": 3})
    show_all(world, "dabc", {"d": UP}, numbers={"d": 4})
    world.pass_time(5.0)
    tell_all(world, "d")
    world.pass_time(5.0)
    show_all(world, "dabc", {"d": LEAVING})
    world.pass_time(5.0)
    assert (held(world, "abc"), version(world, "a")) == (before, order)
    assert world.senders.is_done and world.nodes["d"].handed_over


def test_rebalancing_ends_only_the_surplus_moves_and_nothing_moves_back() -> None:
    # 19: akka 26012, 29543
    world = ByHand(num_shards=30)
    world.form("abc")
    before = {shard: name for name, shards in held(world, "abc").items() for shard in shards}
    moves: dict[int, set[int]] = {}

    def note(letter: Letter) -> None:
        if isinstance(letter.message, TableSlice):
            for shard, row in letter.message.rows:
                if isinstance(row, Moving):
                    moves.setdefault(shard, set()).add(row.move)

    watch(world, note)
    join(world, "d", 4, "abc")
    host(world, "abcd", "abcd")
    world.pass_time(40.0)
    loads = sorted(len(shards) for shards in held(world, "abcd").values())
    assert sum(loads) == 30 and loads[-1] - loads[0] <= 1
    assert all(len(ids) == 1 for ids in moves.values())
    assert len(moves) == len(world.nodes["d"].open) and moves.keys() == world.nodes["d"].open
    now = {shard: name for name, shards in held(world, "abcd").items() for shard in shards}
    assert all(now[shard] == name for shard, name in before.items() if shard not in moves)
    order = version(world, "a")
    world.pass_time(60.0)
    assert version(world, "a") == order


def test_three_oldest_that_leave_within_100_ms_before_10_000_messages_overlap_in_no_life_of_the_shard() -> None:
    # 21: akka 27487, actor-ts 949
    world = ByHand(num_shards=1)
    world.senders.route_limits = RouteLimits(shard_held_max=10_000)
    world.senders.entity_limits = EntityLimits(entity_waiting_max=10_000)
    world.form("abcde")
    world.closes_after = 0.5
    for name in "abc":
        show_all(world, "abcde", {name: LEAVING})
        world.pass_time(0.03)
    world.pass_time(0.2)
    for number in range(10_000):
        world.senders.send("de"[number % 2], 0)
    waits = world.senders.held("d", 0) + world.senders.held("e", 0)
    assert waits == 10_000
    world.pass_time(14.0, until=lambda: all(world.nodes[name].handed_over for name in "abc"))
    for name in "abc":
        assert world.nodes[name].handed_over
        world.crash(name)
        show_all(world, "abcde".replace(name, ""), removed=name)
    finish(world)
    assert world.senders.counts == {"handled": 10_000}
    epochs = [epoch for _, epoch, _ in world.rules.activations]
    assert epochs == sorted(set(epochs))
