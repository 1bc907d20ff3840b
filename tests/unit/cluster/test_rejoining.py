"""A run that is handed the end of the one before joins those whom that one knew, and begins nothing beside them."""

from __future__ import annotations

import pytest
import trio

from casty import ClusteredActorSystem, ConfigError, NodeDowned


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


def test_only_the_error_of_a_downed_node_says_what_it_knew() -> None:
    with pytest.raises(ConfigError, match="rejoin_after must be a NodeDowned, such as the error that the block raised"):
        ClusteredActorSystem(name="shop", host="a", port=1, node_id="a", rejoin_after=ValueError("no"))
