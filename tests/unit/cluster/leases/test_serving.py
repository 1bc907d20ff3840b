"""The serving lease of real nodes, and the lease that decides between the sides of a partition."""

from __future__ import annotations

import math

import pytest
import trio

from casty import (
    ClusterSettings,
    JoinRefused,
    LeaseClaim,
    LeaseError,
    Member,
    MemberLeft,
    MemberStatus,
    NodeAddress,
    NodeDowned,
    ServingLease,
)
from casty.address import UniqueAddress
from casty.cluster.leases import serving
from casty.cluster.membership.membership_status import MembershipStatus


class Store:
    """A lease in the memory of the test."""

    def __init__(self, name: str = "store") -> None:
        self.name = name
        self.lost: set[str] = set()
        self.claims: list[LeaseClaim] = []

    async def identify(self) -> str:
        await trio.lowlevel.checkpoint()
        return self.name

    async def acquire(self, claim: LeaseClaim) -> bool:
        await trio.lowlevel.checkpoint()
        self.claims.append(claim)
        if self.lost & claim.side:
            return False
        self.lost |= claim.others
        return True


class Broken(Store):
    async def identify(self) -> str:
        raise LeaseError("the lease cannot be used")


def lease_of(nodes, name: str) -> ServingLease:
    return nodes.handles[name].system.cluster.serving_lease()


async def test_a_node_serves_while_it_reaches_a_majority_and_stops_when_it_does_not(autojump_clock, nodes) -> None:
    await nodes.join(*"abc")
    leases = {name: lease_of(nodes, name) for name in "abc"}
    assert repr(leases["c"]) == "<ServingLease not serving>"
    for lease in leases.values():
        await lease.wait_serving()
    nodes.network.cut("c", "a")
    nodes.network.cut("c", "b")
    cut_at = trio.current_time()
    await leases["c"].wait_lapsed()
    assert 2.5 < trio.current_time() - cut_at <= 4.0
    assert [leases[name].is_serving for name in "abc"] == [True, True, False]
    await nodes.handles["c"].ended.wait()
    assert not leases["c"].is_serving
    assert leases["a"].is_serving


async def test_the_work_of_a_lost_node_is_free_when_its_lease_has_lapsed(autojump_clock, nodes) -> None:
    await nodes.join(*"abc")
    mine, lost = lease_of(nodes, "a"), lease_of(nodes, "c")
    await lost.wait_serving()
    state = await nodes.handles["a"].system.get_cluster_state()
    member = next(one for one in state.members if one.id == "c")
    assert not mine.may_take_over(member)
    nodes.network.cut("c", "a")
    nodes.network.cut("c", "b")
    await nodes.handles["a"].system.cluster.down(NodeAddress("c", 2551))  # before it is even accused
    downed_at = trio.current_time()
    await nodes.sees("a", {"a": "up", "b": "up"})
    assert lost.is_serving
    assert not mine.may_take_over(member)
    await mine.wait_free(member)
    assert not lost.is_serving
    assert 4.4 <= trio.current_time() - downed_at < 6.0
    assert mine.may_take_over(member)


async def test_a_removal_is_published_after_it_is_known_when_the_work_is_free(autojump_clock, nodes) -> None:
    await nodes.join(*"abc")
    lease = lease_of(nodes, "a")
    seen: list[bool] = []

    async def listen(*, task_status=trio.TASK_STATUS_IGNORED) -> None:
        async with nodes.handles["a"].system.events(MemberLeft) as events:
            task_status.started()
            async for event in events:
                seen.append(lease.may_take_over(event.member))
                return

    async with trio.open_nursery() as nursery:
        await nursery.start(listen)
        await nodes.handles["b"].system.cluster.down(NodeAddress("c", 2551))
    assert seen == [False]


async def test_a_node_that_leaves_serves_no_more(autojump_clock, nodes) -> None:
    await nodes.join(*"abc")
    lease = lease_of(nodes, "c")
    await lease.wait_serving()
    await nodes.stop("c")
    await lease.wait_lapsed()
    assert not lease.is_serving


async def test_what_was_granted_before_the_host_slept_counts_no_more(autojump_clock, monkeypatch) -> None:
    asleep = 0.0
    monkeypatch.setattr(serving, "time_asleep", lambda: asleep)
    lease = ServingLease(MembershipStatus())
    lease.extend(trio.current_time() + 4.0)
    await trio.sleep(1.0)
    assert lease.is_serving
    asleep = 60.0
    assert not lease.is_serving
    await trio.sleep(0.5)
    lease.extend(trio.current_time() + 3.0)  # of a request before the sleep was noticed
    assert not lease.is_serving
    lease.extend(trio.current_time() + 4.0)
    assert lease.is_serving


async def test_of_many_removed_runs_those_are_remembered_whose_work_is_not_free(autojump_clock) -> None:
    lease = ServingLease(MembershipStatus())
    for number in range(1, 100):
        lease.free(UniqueAddress(NodeAddress("a", 1), number), trio.current_time() + 1.0)
        await trio.sleep(0.5)
    assert len(lease._free_at) <= 3
    member = Member(NodeAddress("a", 1), MemberStatus.removed, frozenset(), "a", incarnation=99)
    assert not lease.may_take_over(member)
    await lease.wait_free(member)
    assert lease.may_take_over(member)


def test_the_time_asleep_is_known_or_none() -> None:
    assert 0.0 <= serving.time_asleep() < math.inf


async def test_the_larger_side_gets_the_lease_and_the_other_goes_down(autojump_clock, nodes) -> None:
    store = Store()
    settings = ClusterSettings(downing="lease_majority", lease=store)
    await nodes.join(*"abc", settings=settings)
    nodes.network.cut("c", "a")
    nodes.network.cut("c", "b")
    with trio.fail_after(60):
        await nodes.handles["c"].ended.wait()
    error = nodes.handles["c"].error
    assert isinstance(error, NodeDowned)
    assert "c:2551 gave itself up: it did not get the lease: another side has it" in str(error)
    await nodes.sees("a", {"a": "up", "b": "up"})
    assert [len(claim.side) for claim in store.claims] == [2, 1]


async def test_the_smaller_side_goes_on_when_the_larger_one_is_gone(autojump_clock, nodes) -> None:
    await nodes.join(*"abc", settings=ClusterSettings(downing="lease_majority", lease=Store()))
    nodes.crash("a")
    nodes.crash("b")
    await nodes.sees("c", {"c": "up"})


async def test_nodes_with_different_leases_refuse_each_other(autojump_clock, nodes) -> None:
    await nodes.start("a", settings=ClusterSettings(downing="lease_majority", lease=Store("one")))
    with pytest.raises(
        JoinRefused,
        match="expected downing 'lease_majority of one', .* found 'lease_majority of two'",
    ):
        await nodes.start("b", "a", settings=ClusterSettings(downing="lease_majority", lease=Store("two")))


async def test_a_lease_that_cannot_be_used_keeps_the_node_from_starting(autojump_clock, nodes) -> None:
    with pytest.raises(LeaseError, match="cannot be used"):
        await nodes.start("a", settings=ClusterSettings(downing="lease_majority", lease=Broken()))
