"""A hosted node that was downed starts again as a new run, over real sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import pytest
import trio

import casty
from casty import Behaviors, ClusteredActorSystem, ClusterSettings, Effect, Member, MemberUp, NodeAddress
from casty.cli.exits import ExitCode
from casty.cli.hosting import HostedActor, NodePlan, host

WITHIN = 20.0


@casty.event("tests.rejoining.Counted")
@dataclass(frozen=True)
class Counted:
    pass


class Hosted:
    """A node in a task of this process, as ``casty node`` runs it."""

    def __init__(self, seed: NodeAddress | None, on_downed: str | None) -> None:
        settings = replace(ClusterSettings(), on_downed=on_downed)
        seeds = () if seed is None else ((seed.host, seed.port),)
        self.plan = NodePlan(node_id="hosted", name="shop", seed_nodes=seeds, settings=settings, join_timeout=5.0)
        self.guests = 0
        self.second = trio.Event()
        self.addresses: list[NodeAddress] = []
        """Of all its runs."""
        self.announced = trio.Event()
        self.ending: ExitCode | None = None
        self.ended = trio.Event()
        self.scope = trio.CancelScope()

    async def run(self) -> None:
        with self.scope:
            self.ending = await host(self.plan, HostedActor("guest", self.make), announce=self.announce)
            self.ended.set()

    def announce(self, system: ClusteredActorSystem) -> None:
        self.addresses.append(system.self_node)
        self.announced.set()

    def make(self):
        self.guests += 1
        if self.guests == 2:
            self.second.set()
        return Behaviors.ignore()


async def next_run(events: AsyncIterator[MemberUp]) -> Member:
    """Return the next run of the hosted node that comes up."""
    async for event in events:
        if event.member.id == "hosted":
            return event.member
    raise AssertionError("the event stream has ended")


async def test_a_guest_that_needs_a_journal_ends_its_node_with_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def decide(total: int, count: int) -> Effect[Counted]:
        raise AssertionError

    def apply(total: int, event: Counted) -> int:
        raise AssertionError

    guest = HostedActor("counter", lambda: Behaviors.event_sourced("counter", empty=0, decide=decide, apply=apply))
    with trio.fail_after(WITHIN):
        assert await host(NodePlan(node_id="hosted"), guest) is ExitCode.bad_input
    text = capsys.readouterr().err
    assert text.startswith("casty: /counter cannot be started by casty node: Behaviors.event_sourced has no journal: ")
    assert text.count("\n") == 1


@pytest.mark.parametrize("on_downed", [None, "rejoin"])
async def test_a_downed_node_joins_again_as_a_new_run_with_a_new_guest(on_downed) -> None:
    async with (
        ClusteredActorSystem(name="shop", host="127.0.0.1", port=0, node_id="first") as first,
        first.events(MemberUp) as events,
        trio.open_nursery() as nursery,
    ):
        hosted = Hosted(first.self_node, on_downed)
        nursery.start_soon(hosted.run)
        with trio.fail_after(WITHIN):
            before = await next_run(events)
            await first.cluster.down(before.address)
            after = await next_run(events)
            await hosted.second.wait()
        assert before.incarnation != after.incarnation
        assert hosted.guests == 2
        hosted.scope.cancel()


async def test_a_downed_node_without_seeds_joins_those_whom_it_knew() -> None:
    hosted = Hosted(None, None)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(hosted.run)
        with trio.fail_after(WITHIN):
            await hosted.announced.wait()
        (formed_at,) = hosted.addresses
        seeds = [(formed_at.host, formed_at.port)]
        async with ClusteredActorSystem(
            name="shop", host="127.0.0.1", port=0, node_id="second", seed_nodes=seeds, required_quorum=2
        ) as second:
            async with second.events(MemberUp) as events:
                with trio.fail_after(WITHIN):
                    await second.cluster.down(formed_at)
                    await next_run(events)
                    await hosted.second.wait()
            assert len((await second.get_cluster_state()).members) == 2
            hosted.scope.cancel()


async def test_a_downed_node_that_shall_stop_ends_with_its_code(capsys) -> None:
    async with (
        ClusteredActorSystem(name="shop", host="127.0.0.1", port=0, node_id="first") as first,
        first.events(MemberUp) as events,
        trio.open_nursery() as nursery,
    ):
        hosted = Hosted(first.self_node, "stop")
        nursery.start_soon(hosted.run)
        with trio.fail_after(WITHIN):
            await first.cluster.down((await next_run(events)).address)
            await hosted.ended.wait()
        assert hosted.ending is ExitCode.downed
    assert "was declared down" in capsys.readouterr().err
