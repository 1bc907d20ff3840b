"""A run that is handed the end of the one before joins those whom that one knew, and begins nothing beside them."""

from __future__ import annotations

import pytest
import trio

from casty import ClusteredActorSystem, ClusterTimeoutError, ConfigError, NodeAddress, NodeDowned
from casty.address import LastMembership, UniqueAddress
from casty.cluster.membership.seed_status import SeedStatus
from casty.protocol.messages.membership import JoinAnswer, JoinState

SEED = NodeAddress("b", 1)


async def downed(nodes, *names: str) -> list[NodeDowned]:
    """Wait until these nodes are down, and return how their blocks ended."""
    errors = []
    with trio.fail_after(60):
        for name in names:
            await nodes.handles[name].ended.wait()
            errors.append(nodes.handles[name].error)
    assert all(isinstance(error, NodeDowned) for error in errors)
    return errors


async def test_a_sole_seed_that_was_downed_waits_for_those_it_knew(autojump_clock, nodes) -> None:
    for name in "abc":
        await nodes.start(name, ["a"])
    await nodes.all_up(*"abc")
    nodes.network.cut("a", "b")
    nodes.network.cut("a", "c")
    (error,) = await downed(nodes, "a")
    assert error.last is not None
    assert {node.host for node in error.last.addresses} == {"b", "c"}
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: nodes.start("a", ["a"], rejoin_after=error))
        await trio.sleep(40)
        await nodes.sees("b", {"b": "up", "c": "up"})
        nodes.network.heal_all()
    await nodes.all_up(*"abc")


async def test_nodes_that_were_all_downed_begin_together_again(autojump_clock, nodes) -> None:
    await nodes.start_all(*"abc")
    await nodes.all_up(*"abc")
    for one, other in ("ab", "ac", "bc"):
        nodes.network.cut(one, other)
    errors = await downed(nodes, *"abc")
    nodes.network.heal_all()
    async with trio.open_nursery() as nursery:
        for name, error in zip("abc", errors, strict=True):
            nursery.start_soon(lambda name=name, error=error: nodes.start(name, "abc", rejoin_after=error))
    await nodes.all_up(*"abc")


async def test_a_seed_started_anew_says_that_one_that_waits_does_not_count_and_what_to_do(
    autojump_clock, nodes
) -> None:
    await nodes.start_all(*"abc")
    await nodes.all_up(*"abc")
    nodes.crash("a")
    nodes.crash("b")
    (error,) = await downed(nodes, "c")
    with trio.CancelScope() as remembering:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: nodes.start("c", "abc", rejoin_after=error, join_timeout=600))
            with pytest.raises(ClusterTimeoutError, match="it does not count here"):
                await nodes.start("a", "abc")
            remembering.cancel()
    async with trio.open_nursery() as nursery:  # as the text says: a process that remembers nothing
        nursery.start_soon(nodes.start, "a", "abc")
        nursery.start_soon(nodes.start, "c", "abc")
    await nodes.all_up("a", "c")


def test_words_for_a_node_that_remembers_itself_leave_out_what_does_not_count() -> None:
    run = UniqueAddress(NodeAddress("a", 1), 7)
    contacts = SeedStatus()
    contacts.expect([SEED, run.address], run.address, LastMembership(1, run, frozenset({run}), frozenset({run})))
    contacts.answered(SEED, JoinAnswer(7, JoinState.waiting))
    assert str(contacts).startswith("b:1 was downed, and waits for those whom it knew; this node was downed")


def test_only_the_error_of_a_downed_node_says_what_it_knew() -> None:
    with pytest.raises(ConfigError, match="rejoin_after must be a NodeDowned, such as the error that the block raised"):
        ClusteredActorSystem(name="shop", host="a", port=1, node_id="a", rejoin_after=ValueError("no"))
