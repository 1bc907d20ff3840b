"""The library's public values as messages and replies between nodes."""

from __future__ import annotations

from dataclasses import dataclass

import trio

from casty import ActorRef, Behaviors, ClusterState, MemberUp, VectorClock, message


@message("travel.GetView")
@dataclass(frozen=True)
class GetView:
    reply_to: ActorRef[ClusterState]


@message("travel.Heard")
@dataclass(frozen=True)
class Heard:
    event: MemberUp
    version: VectorClock[int]


async def test_an_actor_tells_another_node_what_its_own_node_knows(autojump_clock, nodes):
    first = await nodes.start("a")

    async def view(ctx, query: GetView):
        query.reply_to.tell(await first.system.get_cluster_state())
        return Behaviors.same()

    first.system.spawn(Behaviors.receive(view), "view")
    second = await nodes.start("b", "a")
    await nodes.all_up("a", "b")
    remote = second.system.remote("/view", "a").of(GetView)
    state: ClusterState = await second.system.ask(remote, GetView, timeout=5)
    assert {member.id for member in state.members} == {"a", "b"}
    assert state.merge(await second.system.get_cluster_state()).is_converged


async def test_an_event_of_the_membership_is_part_of_a_message(autojump_clock, nodes):
    first = await nodes.start("a")
    send, heard = trio.open_memory_channel[Heard](1)

    async def take(ctx, said: Heard):
        send.send_nowait(said)
        return Behaviors.same()

    first.system.spawn(Behaviors.receive(take), "ear")
    second = await nodes.start("b", "a")
    await nodes.all_up("a", "b")
    state = await second.system.get_cluster_state()
    event = MemberUp(min(state.members, key=lambda member: member.id))
    second.system.remote("/ear", "a").of(Heard).tell(Heard(event, state.version))
    with trio.fail_after(5):
        assert await heard.receive() == Heard(event, state.version)
