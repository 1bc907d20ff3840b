"""The handle of a cluster on a system that somebody else made: its parameters, and what it acts on."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from helpers.messages import GetText

from casty import (
    ActorContext,
    ActorSystem,
    Behavior,
    Behaviors,
    Cluster,
    ClusterConfig,
    ClusterSettings,
    Find,
    Listing,
    LocalTransport,
    MemberUp,
    MemoryNetwork,
    NodeAddress,
    Publish,
    Register,
    RemoteTransport,
    ResolveNode,
    ServiceKey,
)
from casty.cluster.commands import Down

PONG = ServiceKey[GetText]("pong")


async def pong(ctx: ActorContext[GetText], message: GetText) -> Behavior[GetText]:
    message.reply_to.tell("pong")
    return Behaviors.same()


def config(name: str, *seeds: str) -> ClusterConfig:
    return ClusterConfig(name, 2551, node_id=name, seed_nodes=tuple((seed, 2551) for seed in seeds))


async def test_events_go_to_the_stream_that_was_given_and_to_no_other(autojump_clock, system):
    given: list[object] = []
    usual: list[object] = []

    async def keep(ctx: ActorContext[Publish], message: Publish) -> Behavior[Publish]:
        given.append(message.event)
        return Behaviors.same()

    async with system.events(MemberUp) as events, trio.open_nursery() as nursery:

        async def listen() -> None:
            async for event in events:
                usual.append(event)

        nursery.start_soon(listen)
        cluster = Cluster(system, config("a"), event_stream=system.spawn(Behaviors.receive(keep), "stream"))
        await cluster.start()
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert [event.member.id for event in given] == ["a"]
    assert usual == []


async def test_the_receptionist_that_the_handle_gives_takes_registrations(autojump_clock, system):
    cluster = Cluster(system, config("a"))
    await cluster.start()
    receptionist = await cluster.get_receptionist()
    ref = system.spawn(Behaviors.receive(pong), "pong")
    receptionist.tell(Register(PONG, ref))
    await trio.testing.wait_all_tasks_blocked()
    listing: Listing[GetText] = await system.ask(receptionist, lambda reply_to: Find(PONG, reply_to))
    assert [instance.ref.path for instance in listing.instances] == ["/pong"]


async def test_two_handles_make_a_cluster_with_transports_and_a_name_of_their_own(autojump_clock):
    network = MemoryNetwork()
    async with ActorSystem("one") as one, ActorSystem("two") as two:
        a = Cluster(one, config("a"), remote_transport=RemoteTransport(network.host("a")), system_name="shop")
        local = LocalTransport(two)
        b = Cluster(
            two,
            config("b", "a"),
            remote_transport=RemoteTransport(network.host("b")),
            local_transport=local,
            system_name="shop",
        )
        await a.start()
        await b.start()
        await a.wait_up(2)
        two.spawn(Behaviors.receive(pong), "pong")
        reply: str = await one.ask(a.remote("/pong", "b").of(GetText), GetText)
        assert reply == "pong"
        assert local.delivered == 1
        assert str(a.remote("/pong", "b").address).startswith("casty://shop@b:2551/pong")


async def test_who_is_down_has_no_name_any_more(autojump_clock, nodes):
    settings = ClusterSettings(downing="none")
    await nodes.join(*"abc", settings=settings)
    a = nodes.handles["a"].system
    assert a.remote("/x", "b").address.node == NodeAddress("b", 2551)
    nodes.crash("b")
    nodes.crash("c")  # nobody is removed while it is unreachable, and b stays down
    with trio.fail_after(60):
        while len((await a.get_cluster_state()).unreachable) < 2:  # noqa: ASYNC110  # polls with an ask
            await trio.sleep(0.1)
    await a.cluster.down(NodeAddress("b", 2551))
    nobody: NodeAddress | None = await a.ask(a.cluster.ref, lambda reply_to: ResolveNode("b", reply_to))
    assert nobody is None
    with pytest.raises(LookupError, match="no member has the node_id 'b'; members are a, c$"):
        a.remote("/x", "b")
    assert a.remote("/x", "c").address.node == NodeAddress("c", 2551)


@pytest.mark.parametrize("act", ["leave", "down"])
async def test_acting_on_an_address_where_nobody_is_raises_and_changes_nothing(autojump_clock, nodes, act):
    await nodes.join(*"abc")
    cluster = nodes.handles["b"].system.cluster
    for wrong in (NodeAddress("elsewhere", 2551), NodeAddress("c", 2552)):
        with pytest.raises(LookupError, match=f"no member is at {wrong}; members are at a:2551, b:2551, c:2551"):
            await getattr(cluster, act)(wrong)
    with pytest.raises(TypeError, match=r"address of a member, got 'c:2551': write NodeAddress\('c', 2551\)$"):
        await getattr(cluster, act)("c:2551")
    await trio.sleep(5)
    await nodes.all_up("a", "b", "c")


async def test_a_command_for_an_address_where_nobody_is_is_logged(autojump_clock, system, caplog):
    cluster = Cluster(system, config("a"))
    await cluster.start()
    cluster.ref.tell(Down(NodeAddress("elsewhere", 2551)))
    await cluster.get_state()
    assert "no member is at elsewhere:2551: nobody is down there" in caplog.text


@pytest.mark.parametrize("act", ["leave", "down"])
async def test_a_member_that_is_gone_cannot_be_sent_away_again(autojump_clock, nodes, act):
    await nodes.join(*"abc")
    await getattr(nodes.handles["a"].system.cluster, act)(NodeAddress("c", 2551))
    await nodes.all_up("a", "b")
    with pytest.raises(LookupError, match="members are at a:2551, b:2551"):
        await getattr(nodes.handles["b"].system.cluster, act)(NodeAddress("c", 2551))
