"""Joining, leaving, crashing and refusing, with real actors over the memory network."""

from __future__ import annotations

import logging

import pytest
import trio

from casty import (
    BindError,
    Cluster,
    ClusterConfig,
    ClusteredActorSystem,
    ClusterSettings,
    ClusterTimeoutError,
    ConfigError,
    JoinRefused,
    MemberLeft,
    MemberStatus,
    MemberUp,
    MemoryNetwork,
    NodeAddress,
    NodeDowned,
    ReachableMember,
    ShutdownPhase,
    UnreachableMember,
)


async def test_three_nodes_join_without_waiting_for_gossip(autojump_clock, nodes):
    started = trio.current_time()
    await nodes.join(*"abc")
    assert trio.current_time() - started < 0.3


@pytest.mark.parametrize("order", ["abc", "cba", "bca"])
async def test_nodes_that_all_list_each_other_form_one_cluster_in_any_order(autojump_clock, nodes, order):
    async with trio.open_nursery() as nursery:
        for name in order:
            nursery.start_soon(lambda name=name: nodes.start(name, "abc"))
    await nodes.all_up("a", "b", "c")


async def test_two_nodes_that_seed_from_each_other_form_one_cluster(autojump_clock, nodes):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(nodes.start, "a", "b")
        nursery.start_soon(nodes.start, "b", "a")
    await nodes.all_up("a", "b")


async def test_membership_events_come_once_on_every_node(autojump_clock, nodes):
    await nodes.join(*"abc")
    await nodes.start("d", "a")
    await nodes.all_up("a", "b", "c", "d")
    await nodes.stop("d")
    for name in "abc":
        await nodes.sees(name, dict.fromkeys("abc", "up"))
        assert nodes.handles[name].told(MemberUp).count("d") == 1
        assert nodes.handles[name].told(MemberLeft) == ["d"]
        assert nodes.handles[name].told(UnreachableMember) == []


@pytest.mark.parametrize("leaver", ["a", "b", "c"])
async def test_a_node_that_leaves_is_removed_at_once_and_not_detected_as_failed(autojump_clock, nodes, leaver):
    await nodes.join(*"abc")
    started = trio.current_time()
    await nodes.stop(leaver)
    for name in set("abc") - {leaver}:
        await nodes.sees(name, {other: "up" for other in "abc" if other != leaver})
        assert nodes.handles[name].told(MemberLeft) == [leaver]
        assert nodes.handles[name].told(UnreachableMember) == []
    assert trio.current_time() - started < 1.0


async def test_all_nodes_can_leave_at_once(autojump_clock, nodes):
    await nodes.join(*"abc")
    started = trio.current_time()
    async with trio.open_nursery() as nursery:
        for name in "abc":
            nursery.start_soon(nodes.stop, name)
    assert trio.current_time() - started <= 8
    assert all(handle.error is None for handle in nodes.handles.values())


async def test_a_crash_is_seen_within_two_seconds_and_the_member_removed_after_the_stable_time(autojump_clock, nodes):
    await nodes.join(*"abc")
    crashed = trio.current_time()
    nodes.crash("a")
    for name in "bc":
        await nodes.sees(name, {"b": "up", "c": "up"})
        events = nodes.handles[name].events
        seen = [at for at, event in events if isinstance(event, UnreachableMember)]
        left = [at for at, event in events if isinstance(event, MemberLeft)]
        assert len(seen) == len(left) == 1
        assert seen[0] - crashed < 2.0
        assert 7.0 < left[0] - crashed < 12.0
        assert nodes.handles[name].told(ReachableMember) == []


async def test_a_node_that_restarts_on_its_address_is_a_new_member(autojump_clock, nodes):
    await nodes.join(*"abc")
    before = {m.id: m.incarnation for m in (await nodes.handles["a"].system.get_cluster_state()).members}
    nodes.crash("c")
    await nodes.start("c", "ab")
    await nodes.all_up("a", "b", "c")
    after = {m.id: m.incarnation for m in (await nodes.handles["a"].system.get_cluster_state()).members}
    assert before["c"] != after["c"]
    assert nodes.handles["a"].told(MemberUp).count("c") == 2 or nodes.handles["b"].told(MemberUp).count("c") == 2
    assert nodes.handles["a"].told(MemberLeft) == ["c"]


async def test_the_smaller_side_of_a_partition_is_downed_and_its_block_raises(autojump_clock, nodes):
    await nodes.join(*"abc")
    nodes.network.cut("c", "a")
    nodes.network.cut("c", "b")
    with trio.fail_after(60):
        await nodes.handles["c"].ended.wait()
    error = nodes.handles["c"].error
    assert isinstance(error, NodeDowned)
    assert str(error) == (
        "c:2551 gave itself up: for 7 s it could not reach a majority (saw 1 of 3); "
        "its actors were stopped; when it starts again, it joins as a new one"
    )
    await nodes.sees("a", {"a": "up", "b": "up"})


async def test_a_node_that_gives_itself_up_does_not_tell_of_dead_members_that_they_answer_again(autojump_clock, nodes):
    await nodes.join(*"abc")
    nodes.crash("a")
    nodes.crash("b")
    with trio.fail_after(60):
        await nodes.handles["c"].ended.wait()
    assert isinstance(nodes.handles["c"].error, NodeDowned)
    assert sorted(nodes.handles["c"].told(UnreachableMember)) == ["a", "b"]
    assert nodes.handles["c"].told(ReachableMember) == []


async def test_a_node_that_the_others_declare_down_is_told_that_they_did(autojump_clock, nodes):
    await nodes.join(*"abc")
    await nodes.handles["a"].system.cluster.down(NodeAddress("c", 2551))
    with trio.fail_after(60):
        await nodes.handles["c"].ended.wait()
    assert str(nodes.handles["c"].error) == (
        "c:2551 was declared down by its cluster: the others could not reach it for too long, or somebody downed it "
        "by hand; its actors were stopped; when it starts again, it joins as a new one"
    )


async def test_a_short_partition_leaves_everybody_a_member(autojump_clock, nodes):
    await nodes.join(*"abc")
    nodes.network.cut("c", "a")
    nodes.network.cut("c", "b")
    with trio.fail_after(10):
        while not nodes.handles["a"].told(UnreachableMember):  # noqa: ASYNC110  # virtual time: polling is free
            await trio.sleep(0.1)
    nodes.network.heal_all()
    await nodes.all_up("a", "b", "c")
    assert set(nodes.handles["a"].told(ReachableMember)) == {"b", "c"}
    assert nodes.handles["a"].told(MemberLeft) == []


async def test_an_operator_downs_a_member_that_is_gone(autojump_clock, nodes):
    settings = ClusterSettings(downing="none")
    await nodes.join(*"abc", settings=settings)
    nodes.crash("c")
    await trio.sleep(30)
    state = await nodes.handles["a"].system.get_cluster_state()
    assert state.unreachable == {NodeAddress("c", 2551)}
    await nodes.handles["b"].system.cluster.down(NodeAddress("c", 2551))
    await nodes.all_up("a", "b")


async def test_a_member_that_others_ask_to_leave_ends_its_block_without_an_error(autojump_clock, nodes):
    await nodes.join(*"ab")
    await nodes.handles["a"].system.cluster.leave(NodeAddress("b", 2551))
    with trio.fail_after(10):
        await nodes.handles["b"].ended.wait()
    assert nodes.handles["b"].error is None
    await nodes.sees("a", {"a": "up"})
    assert nodes.handles["a"].told(UnreachableMember) == []


@pytest.mark.parametrize("leaver", ["a", "c"])
async def test_a_member_that_others_ask_to_leave_finishes_its_work_as_a_member(autojump_clock, nodes, leaver):
    await nodes.join(*"abc")
    system, finished = nodes.handles[leaver].system, []

    async def work() -> None:
        await trio.sleep(3)
        state = await nodes.handles["b"].system.get_cluster_state()
        finished.append({member.id: member.status.name for member in state.members})

    system.on_shutdown(ShutdownPhase.stop_actors, work)
    await nodes.handles["b"].system.cluster.leave(NodeAddress(leaver, 2551))
    with trio.fail_after(10):
        await nodes.handles[leaver].ended.wait()
    assert finished == [{**dict.fromkeys("abc", "up"), leaver: "exiting"}]
    assert nodes.handles[leaver].error is None
    rest = dict.fromkeys(set("abc") - {leaver}, "up")
    for name in rest:
        await nodes.sees(name, rest)
        assert nodes.handles[name].told(MemberLeft) == [leaver]
        assert nodes.handles[name].told(UnreachableMember) == []


async def test_another_system_name_is_refused_with_a_reason_on_both_sides(autojump_clock, nodes, caplog):
    await nodes.start("a")
    with caplog.at_level(logging.WARNING), pytest.raises(JoinRefused, match="'shop'.*'zoo'|'zoo'.*'shop'"):
        await nodes.start("b", "a", system="zoo")
    assert any("zoo" in record.getMessage() and "refused" in record.getMessage() for record in caplog.records)
    await nodes.sees("a", {"a": "up"})


async def test_the_node_id_of_a_living_member_is_refused_with_a_reason_on_both_sides(autojump_clock, nodes, caplog):
    await nodes.start("a")
    with caplog.at_level(logging.WARNING), pytest.raises(JoinRefused, match="node_id 'a' belongs to a:2551"):
        await nodes.start("b", "a", node_id="a")
    assert any("refused to let 'a' at b:2551 join" in record.getMessage() for record in caplog.records)
    await nodes.sees("a", {"a": "up"})


async def test_the_address_of_a_living_member_is_refused(autojump_clock, nodes):
    await nodes.join("a", "b")
    with pytest.raises(JoinRefused, match="another node is alive at b:2551"):
        await nodes.start("x", "a", settings=ClusterSettings(advertised_host="b"))
    await nodes.all_up("a", "b")


async def test_settings_that_must_agree_are_compared_and_named(autojump_clock, nodes):
    await nodes.start("a")
    told = (
        "^a:2551 refused this node: expected min_members 1, as the cluster has it, found 2 at b:2551: "
        "start that node with the settings of the cluster$"
    )
    with pytest.raises(JoinRefused, match=told):
        await nodes.start("b", "a", settings=ClusterSettings(min_members=2))


async def test_min_members_holds_everybody_back_until_enough_have_joined(autojump_clock, nodes):
    settings = ClusterSettings(min_members=3)
    await nodes.start("a", settings=settings)
    await nodes.start("b", "a", settings=settings)
    await trio.sleep(5)
    await nodes.sees("a", {"a": "joining", "b": "joining"})
    await nodes.start("c", "a", settings=settings)
    await nodes.all_up("a", "b", "c")


async def test_a_quorum_that_does_not_come_is_a_time_out_with_nothing_left_running(autojump_clock, nodes):
    with pytest.raises(ClusterTimeoutError, match="1 of 3 required members were up"):
        await nodes.start("a", required_quorum=3, join_timeout=5)
    await nodes.start("a")  # the port is free again
    await nodes.sees("a", {"a": "up"})


async def test_seeds_that_never_answer_are_a_time_out_that_names_them(autojump_clock, nodes):
    with pytest.raises(ClusterTimeoutError, match=r"no seed let it in.*nowhere:2551"):
        await nodes.start("a", ["nowhere"], join_timeout=5)


async def test_a_seed_that_leads_back_to_this_node_counts_as_this_node(autojump_clock, nodes):
    await nodes.start("a", "a", settings=ClusterSettings(advertised_host="a.example"), join_timeout=5)
    state = await nodes.handles["a"].system.get_cluster_state()
    assert [member.address for member in state.members] == [NodeAddress("a.example", 2551)]


async def test_an_occupied_port_fails_at_once(autojump_clock, nodes):
    await nodes.start("a")
    with pytest.raises(BindError, match="a:2551"):
        await nodes.start("a")


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ({"port": -1}, "port must be an integer from 0 to 65535, got -1"),
        ({"port": "2551"}, "port must be an integer from 0 to 65535, got '2551'"),
        ({"host": ""}, "host must be a host name"),
        ({"host": "tcp://x"}, "host must be a host name"),
        ({"host": "localhost:2551"}, "an IP address without a port, got 'localhost:2551'"),
        ({"host": "b\u00fccher.example"}, "must be ASCII.*write an international name in A-labels"),
        ({"seed_nodes": [("b\u00fccher.example", 1)]}, "ClusterConfig.seed_nodes host must be ASCII"),
        ({"node_id": " "}, "node_id must be a name of 1 to 128 printable characters without spaces"),
        ({"node_id": "web 1"}, "such as 'web-1', got 'web 1'"),
        ({"node_id": "web\n1"}, r"such as 'web-1', got 'web\\n1'"),
        ({"seed_nodes": ["localhost:2551"]}, r"got 'localhost:2551': write \('localhost', 2551\)"),
        ({"seed_nodes": ["localhost"]}, r"pairs, got 'localhost'$"),
        ({"seed_nodes": ("localhost", 2551)}, r"got one pair by itself: write \[\('localhost', 2551\)\]"),
        ({"seed_nodes": "localhost:2551"}, r"such as \[\('127.0.0.1', 2551\)\], got 'localhost:2551'"),
        ({"seed_nodes": None}, r"such as \[\('127.0.0.1', 2551\)\], got None"),
        ({"seed_nodes": [("localhost",)]}, r"pairs, got \('localhost',\)"),
        ({"seed_nodes": [("localhost", 0)]}, "port must be an integer from 1"),
        ({"roles": "web"}, "roles must be a set of names"),
        ({"roles": ["r" * 256]}, "at most 255 characters.* the longest of 256"),
        ({"roles": [f"role-{number}" for number in range(65)]}, "at most 64 names.* got 65"),
        ({"roles": [f"{number}" * 200 for number in range(6)]}, "together at most 1024; got 6 of 1200"),
        ({"host": "h" * 256}, "host must have at most 255 characters, got 256"),
        ({"required_quorum": 0}, "required_quorum must be an integer of at least 1, got 0"),
        ({"join_timeout": 0}, "join_timeout must be a finite number above 0, got 0"),
    ],
)
def test_a_nonsense_setting_is_refused_when_it_is_made(config, complaint):
    options = {"name": "shop", "host": "127.0.0.1", "port": 0, "node_id": "a", **config}
    with pytest.raises(ConfigError, match=complaint):
        ClusteredActorSystem(**options)


async def test_a_wildcard_host_needs_an_advertised_one(autojump_clock):
    with pytest.raises(ConfigError, match="advertised_host"):
        async with ClusteredActorSystem(name="shop", host="0.0.0.0", port=0, node_id="a", insecure=True):
            pass


async def test_twenty_nodes_form_and_converge_quickly(autojump_clock, nodes):
    names = [f"n{number:02}" for number in range(20)]
    await nodes.start(names[0])
    async with trio.open_nursery() as nursery:
        for name in names[1:]:
            nursery.start_soon(lambda name=name: nodes.start(name, names[:2]))
    await nodes.all_up(*names)
    state = await nodes.handles["n07"].system.get_cluster_state()
    assert sorted(member.up_number for member in state.members) == list(range(1, 21))


async def test_an_idle_cluster_changes_nothing(autojump_clock, nodes):
    await nodes.join(*"abc")
    await trio.sleep(5)
    before = {name: (await nodes.handles[name].system.get_cluster_state()).version for name in "abc"}
    events = {name: len(nodes.handles[name].events) for name in "abc"}
    await trio.sleep(60)
    assert before == {name: (await nodes.handles[name].system.get_cluster_state()).version for name in "abc"}
    assert events == {name: len(nodes.handles[name].events) for name in "abc"}


async def test_a_cluster_without_a_transport_is_a_cluster_of_one(autojump_clock, system, caplog):
    cluster = Cluster(system, ClusterConfig("127.0.0.1", 2551, node_id="a", seed_nodes=(("127.0.0.1", 2552),)))
    with pytest.raises(RuntimeError, match="has not been started"):
        _ = cluster.ref
    await cluster.start()
    assert "seed nodes are ignored" in caplog.text
    state = await cluster.get_state()
    assert [(m.id, m.status) for m in state.members] == [("a", MemberStatus.up)]
    assert state.leader == NodeAddress("127.0.0.1", 2551)
    assert state.is_converged
    with pytest.raises(RuntimeError, match="started already"):
        await cluster.start()
    with pytest.raises(RuntimeError, match="is in a cluster already"):
        await Cluster(system, ClusterConfig("127.0.0.1", 2552, node_id="b")).start()
    await cluster.shutdown()
    await cluster.shutdown()


async def test_cancelling_a_start_leaves_nothing_running(autojump_clock):
    network = MemoryNetwork()
    with trio.move_on_after(1):
        async with ClusteredActorSystem(
            name="shop", host="a", port=2551, node_id="a", seed_nodes=[("b", 2551)], network=network.host("a")
        ):
            pytest.fail("nobody answers")
    async with ClusteredActorSystem(name="shop", host="a", port=2551, node_id="a", network=network.host("a")):
        pass


async def test_nodes_wait_for_the_roles_that_a_cluster_needs(autojump_clock, nodes):
    settings = ClusterSettings(min_members_per_role={"db": 1})
    await nodes.start("a", roles={"web"}, settings=settings)
    await trio.sleep(5)
    await nodes.sees("a", {"a": "joining"})
    await nodes.start("b", "a", roles={"db"}, settings=settings)
    await nodes.all_up("a", "b")
