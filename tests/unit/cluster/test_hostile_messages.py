"""What a member with bad intentions, or a user with a typo, cannot end: the library's own actors."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from helpers.behaviors import waiting_for
from helpers.messages import Item

from casty import (
    ActorAddress,
    ActorRef,
    ClusteredActorSystem,
    ClusterTimeoutError,
    Mailbox,
    MailboxOverflowStrategy,
    NodeAddress,
    ResolveNode,
    ServiceKey,
    Subscribe,
    SubscribeTopology,
)
from casty.cluster.remoting.inbound import Inbound
from casty.cluster.remoting.local_transport import LocalTransport
from casty.protocol.gossip.state_on_wire import to_wire
from casty.protocol.messages.membership import JoinAnswer, JoinState, JoinWithdrawn, StatePage
from casty.runtime.messaging.ask import refuse
from casty.testing.inspect import node_of
from casty.testing.samples import gossip_of, member, run_of
from casty.wire.codec.codec import Codec
from casty.wire.frame import FrameKind, Lane
from casty.wire.handshake import PROTOCOL_MAX, PROTOCOL_MIN, Hello, encode_hello


class Forged(ActorRef[object]):
    """A ref that claims to be an actor of another node's library."""

    def __init__(self, path: str, node: NodeAddress, incarnation: int) -> None:
        self._path, self._node, self._incarnation = path, node, incarnation

    @property
    def address(self):
        return ActorAddress("shop", self._path, self._node.host, self._node.port, self._incarnation)

    def tell(self, message: object) -> None: ...

    async def send(self, message: object) -> None: ...


@pytest.mark.parametrize("path", ["/_event_stream", "/_scheduler", "/_cluster", "/_cluster/_topology"])
async def test_a_reply_directed_at_an_actor_of_the_library_is_a_dead_letter(autojump_clock, nodes, path):
    a, b = await nodes.systems("a", "b")
    member = next(m for m in (await b.get_cluster_state()).members if m.id == "a")
    forged = Forged(path, member.address, member.incarnation)
    b.remote("/_cluster", "a").of(SubscribeTopology).tell(SubscribeTopology(forged))
    b.remote("/_cluster", "a").of(ResolveNode).tell(ResolveNode("a", forged))
    await trio.sleep(1)
    await nodes.all_up("a", "b")
    assert a.statistics().dead_letters["no such actor"] == 1
    assert node_of(a).cluster_metrics.refused == {
        "casty.SubscribeTopology": 1
    }  # the actor is not one of the sender's node


async def test_a_subscriber_whose_mailbox_refuses_costs_only_its_message(autojump_clock, nodes):
    a, _ = await nodes.systems("a", "b")
    gate = trio.Event()

    full = a.spawn(waiting_for(gate), "full", mailbox=Mailbox(1, MailboxOverflowStrategy.reject))
    for number in range(3):
        a.cluster.ref.tell(SubscribeTopology(full))
        a.receptionist.tell(Subscribe(ServiceKey[Item](f"offer-{number}"), full))
    await trio.sleep(1)
    gate.set()
    await nodes.all_up("a", "b")


async def test_a_message_that_the_cluster_does_not_know_ends_nothing(autojump_clock, nodes):
    a, _ = await nodes.systems("a", "b")
    a.cluster.ref.tell("typo")
    a.receptionist.tell("typo")
    await trio.sleep(1)
    await nodes.all_up("a", "b")
    await a.find(ServiceKey[Item]("offer"))


async def test_a_peer_that_floods_the_membership_does_not_keep_others_from_joining(
    autojump_clock, nursery, nodes, vouch
):
    await nodes.start("a")
    stranger = Hello(PROTOCOL_MIN, PROTOCOL_MAX, "shop", run_of("stranger"), Lane.control, nonce=7)
    await vouch(nursery, nodes.network.host("stranger"), stranger.node)
    codec = Codec(export_ref=lambda ref: ref.address.place, import_ref=lambda place, form: None)
    codec.register(JoinAnswer, name="casty.join.answer")
    flood = codec.frame_control(JoinAnswer(7, JoinState.retry, "wait")) * 1_000
    joined = trio.Event()

    async def talk() -> None:
        link = await nodes.network.host("stranger").connect(nodes.handles["a"].system.self_node)
        await link.send(encode_hello(stranger))
        for _ in range(1_000):
            await link.send(flood)
            if joined.is_set():
                await link.aclose()
                return
        pytest.fail("b did not join while the stranger talked")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(talk)
        await nodes.start("b", "a")
        await nodes.handles["b"].system.wait_for(2)
        joined.set()


async def test_a_node_that_waits_to_be_let_in_keeps_no_pages_of_strangers(autojump_clock, nursery, nodes, vouch):
    network = nodes.network.host("b")
    system = ClusteredActorSystem(
        name="shop", host="b", port=2551, node_id="b", seed_nodes=[("a", 2551)], network=network, join_timeout=10
    )
    codec = Codec(export_ref=lambda ref: ref.address, import_ref=lambda address, form: None)
    codec.register(StatePage, name="casty.gossip.page")
    stranger = Hello(PROTOCOL_MIN, PROTOCOL_MAX, "shop", run_of("stranger"), Lane.control, nonce=7)
    await vouch(nursery, nodes.network.host("stranger"), stranger.node)
    part = to_wire(gossip_of(member("m")), 0.0, welcome=True)

    async def tell_pages() -> None:
        link = await nodes.network.host("stranger").connect(NodeAddress("b", 2551))
        await link.send(
            encode_hello(stranger) + b"".join(codec.frame_control(StatePage(1, index, 4, part)) for index in range(3))
        )
        await trio.sleep(1)
        assert node_of(system).cluster_metrics.received["casty.gossip.page"] == 3
        assert node_of(system).state_pages._open == {}
        await link.aclose()

    async with trio.open_nursery() as nursery:

        async def wait_in_vain() -> None:
            with pytest.raises(ClusterTimeoutError):
                await system.__aenter__()

        nursery.start_soon(wait_in_vain)
        await trio.testing.wait_all_tasks_blocked()
        await tell_pages()


async def test_membership_on_the_lane_of_messages_is_refused_and_the_link_lives(autojump_clock, nodes, caplog):
    a, b = await nodes.systems("a", "b")
    node = node_of(b)
    to = next(m for m in (await b.get_cluster_state()).members if m.id == "a").unique
    for _ in range(2):
        assert node.transport.send(to, Lane.ordinary, node.control_codec.frame_control(JoinWithdrawn()))
        await trio.sleep(1)
    await nodes.all_up("a", "b")
    assert "casty.join.withdrawn on the ordinary lane" in caplog.text


async def test_a_stranger_has_nobody_pause(autojump_clock, nodes):
    a, b = await nodes.systems("a", "b")
    inbound = Inbound(node_of(a), LocalTransport(a))
    inbound.frame(run_of("z"), Lane.ordinary, FrameKind.PAUSE, b"/sink")
    assert not node_of(a).paused_sends.by_actor
    inbound.frame(node_of(b).self_node, Lane.ordinary, FrameKind.PAUSE, b"/sink")
    assert len(node_of(a).paused_sends.by_actor) == 1


async def test_a_message_names_nobody_who_would_be_dialled_for_its_refusal(autojump_clock, nodes):
    a, b = await nodes.systems("a", "b")
    node = node_of(a)
    member = node_of(b).self_node
    for place in (("shop", "/_ask/1", "nowhere", 4711, 0, 5), ("shop", "/_ask/1", "b", 2551, member.incarnation, 5)):
        refuse(node.kernel, node.import_ref(place, int), "no")
    assert NodeAddress("nowhere", 4711) not in {address for address, _ in node.transport.link_manager.dials}
    await trio.sleep(1)
    assert {peer.address.host for peer in node.transport.link_manager.links.by_peer[Lane.ordinary]} == {"b"}
