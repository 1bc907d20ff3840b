"""What the log says of how a node came to be a member: a node that forgot its seeds is told apart."""

from __future__ import annotations

import logging

import pytest
import trio

from casty import JoinRefused, NodeAddress


async def test_forming_a_cluster_and_joining_one_are_told_apart(autojump_clock, nodes, caplog):
    caplog.set_level(logging.INFO, logger="casty")
    await nodes.start("a")
    await nodes.start("b", "a")
    async with trio.open_nursery() as nursery:
        for name in "cd":
            nursery.start_soon(nodes.start, name, "cd")
    await nodes.start("forgetful")
    said = [one.getMessage() for one in caplog.records]
    lines = {name: [line for line in said if f"{name}:2551 has" in line] for name in ("a", "b", "c", "forgetful")}
    assert [len(found) for found in lines.values()] == [1, 1, 1, 1], said
    assert lines["b"][0].endswith("b:2551 has joined the cluster of a:2551")
    for name in ("a", "forgetful"):
        assert "has formed a new cluster, for it has no seed_nodes of others: if there is one to join" in lines[name][0]
    assert "has formed a new cluster, for none of its seeds (d:2551) was in one" in lines["c"][0]


async def test_what_the_cluster_says_has_its_logger(autojump_clock, nodes, caplog):
    caplog.set_level(logging.INFO, logger="casty")
    await nodes.join("a", "b")
    with pytest.raises(JoinRefused):
        await nodes.start("c", "a", node_id="a")
    await nodes.handles["a"].system.cluster.down(NodeAddress("b", 2551))
    await nodes.sees("a", {"a": "up"})
    said = {record.name for record in caplog.records if record.levelno >= logging.INFO}
    for words in ("MemberUp", "MemberLeft", "has joined the cluster", "refused to let", "has formed"):
        (name,) = {record.name for record in caplog.records if words in record.getMessage()}
        assert name == "casty.cluster", words
    assert "casty.actor" not in said
