"""Death watch between nodes, over the memory network: once, with the cause, whatever the links do."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import trio
from helpers.behaviors import recording
from helpers.messages import GetText

from casty import (
    ActorContext,
    ActorRef,
    AskFailed,
    Behavior,
    Behaviors,
    ClusteredActorSystem,
    Inbox,
    MailboxFull,
    NodeAddress,
    RemoteFailure,
    Terminated,
    Watching,
    message,
)
from casty.cluster.death_watch.watch import WatchDriver
from casty.protocol.death_watch.machine import REMOVED, UNKNOWN
from casty.testing.inspect import node_of


@message("test.watch.Fail")
@dataclass(frozen=True)
class Fail:
    text: str


async def fail(ctx: ActorContext[Fail | GetText], message: Fail | GetText) -> Behavior[Fail | GetText]:
    match message:
        case Fail(text):
            raise ValueError(text)
        case GetText(reply_to):
            ctx.reply_error(reply_to, MailboxFull("no room"))
    return Behaviors.same()


@dataclass(frozen=True)
class Watch:
    ref: ActorRef[Fail]


@dataclass(frozen=True)
class Unwatch:
    ref: ActorRef[Fail]


Command = Watch | Unwatch | Terminated


def watcher(told: list[Terminated]) -> Behavior[Command]:
    async def handle(ctx: ActorContext[Command], message: Command) -> Behavior[Command]:
        match message:
            case Watch(ref):
                ctx.watch(ref)
            case Unwatch(ref):
                ctx.unwatch(ref)
            case Terminated():
                told.append(message)
        return Behaviors.same()

    return Behaviors.receive(handle)


async def pair(nodes, *others: str) -> tuple[ClusteredActorSystem, ClusteredActorSystem]:
    await nodes.start_all("a", "b", *others)
    await nodes.all_up("a", "b", *others)
    return nodes.handles["a"].system, nodes.handles["b"].system


def target_of(a: ClusteredActorSystem, ref: ActorRef[Fail]) -> ActorRef[Fail]:
    """Return the ref to an actor of another node as ``a`` knows it, this actor and no later one."""
    found = node_of(a)
    owner = next(member for member in found.board.members if member.id == "b")
    address = ref.address.at(owner.unique)
    return found.import_ref(address.place, Fail).of(Fail)


async def pair_and_target(nodes):
    """Return two systems, an actor of the second, and the ref to it as the first knows it."""
    a, b = await pair(nodes)
    target = b.spawn(Behaviors.receive(fail), "target")
    return a, b, target, target_of(a, target)


def watchers_of(ref: ActorRef[Fail]) -> int:
    return len(ref.owner().watchers or ())  # type: ignore[attr-defined]  # looks inside


async def test_a_watcher_is_told_the_end_and_the_failure_of_an_actor_elsewhere(autojump_clock, nodes) -> None:
    told: list[Terminated] = []
    a, b, target, remote = await pair_and_target(nodes)
    a.spawn(watcher(told), "w").tell(Watch(remote))
    await trio.sleep(2)
    assert told == []
    remote.tell(Fail("boom"))
    await trio.sleep(2)
    (terminated,) = told
    assert terminated.ref == remote
    assert isinstance(terminated.cause, RemoteFailure)
    assert str(terminated.cause) == "ValueError: boom"


async def test_a_normal_stop_has_no_cause_and_a_later_watch_fires_at_once(autojump_clock, nodes) -> None:
    told: list[Terminated] = []
    a, b, target, remote = await pair_and_target(nodes)
    ref = a.spawn(watcher(told), "w")
    ref.tell(Watch(remote))
    await trio.sleep(1)
    b.stop(target)
    await trio.sleep(1)
    assert told == [Terminated(remote, None)]
    b.spawn(Behaviors.receive(fail), "target")
    ref.tell(Watch(remote))
    await trio.sleep(1)
    assert told == [Terminated(remote, None)] * 2


@pytest.mark.parametrize("path", ["/nobody", "/_event_stream", "/_ask/1"])
async def test_what_is_no_actor_there_has_ended(autojump_clock, nodes, path: str) -> None:
    told: list[Terminated] = []
    a, _ = await pair(nodes)
    remote = a.remote(path, "b").of(Fail)
    a.spawn(watcher(told), "w").tell(Watch(remote))
    await trio.sleep(2)
    assert told == [Terminated(remote, None)]


async def test_a_node_that_crashes_takes_its_actors_with_it_once_it_is_removed(autojump_clock, nodes) -> None:
    told: list[Terminated] = []
    a, b = await pair(nodes, "c")
    remotes = [target_of(a, b.spawn(Behaviors.receive(fail), f"t{number}")) for number in range(3)]
    ref = a.spawn(watcher(told), "w")
    for remote in remotes:
        ref.tell(Watch(remote))
    await trio.sleep(2)
    nodes.crash("b")
    await nodes.sees("a", {"a": "up", "c": "up"})
    await trio.sleep(1)
    assert [terminated.ref for terminated in told] == remotes
    assert {str(terminated.cause) for terminated in told} == {REMOVED}
    ref.tell(Watch(remotes[0]))
    await trio.sleep(15)
    assert len(told) == 4
    assert str(told[3].cause) == UNKNOWN


async def test_a_node_that_leaves_ends_its_actors_first(autojump_clock, nodes) -> None:
    told: list[Terminated] = []
    a, b = await pair(nodes)
    remote = target_of(a, b.spawn(Behaviors.receive(fail), "target"))
    a.spawn(watcher(told), "w").tell(Watch(remote))
    await trio.sleep(2)
    await nodes.stop("b")
    await trio.sleep(5)
    assert told == [Terminated(remote, None)]


async def test_an_address_where_nobody_is_has_no_actors(autojump_clock, nodes) -> None:
    told: list[Terminated] = []
    a, _ = await pair(nodes)
    remote = a.remote("/x", NodeAddress("nowhere", 2551)).of(Fail)
    a.spawn(watcher(told), "w").tell(Watch(remote))
    await trio.sleep(20)
    assert [terminated.ref for terminated in told] == [remote]
    assert str(told[0].cause) == UNKNOWN


async def test_an_unwatch_reaches_the_other_node_and_nobody_is_told(autojump_clock, nodes) -> None:
    told: list[Terminated] = []
    a, b, target, remote = await pair_and_target(nodes)
    ref = a.spawn(watcher(told), "w")
    ref.tell(Watch(remote))
    await trio.sleep(2)
    assert watchers_of(target) == 1
    ref.tell(Unwatch(remote))
    await trio.sleep(2)
    assert watchers_of(target) == 0
    b.stop(target)
    await trio.sleep(2)
    assert told == []


async def test_a_watcher_that_stops_is_forgotten_on_the_other_node(autojump_clock, nodes) -> None:
    a, b = await pair(nodes)
    target = b.spawn(Behaviors.receive(fail), "target")
    refs = [a.spawn(watcher([]), f"w{number}") for number in range(3)]
    for ref in refs:
        ref.tell(Watch(target_of(a, target)))
    await trio.sleep(2)
    assert watchers_of(target) == 1  # one for the node
    for ref in refs[:2]:
        a.stop(ref)
    await trio.sleep(2)
    assert watchers_of(target) == 1
    a.stop(refs[2])
    await trio.sleep(2)
    assert watchers_of(target) == 0


async def test_the_watch_of_a_node_that_crashed_is_forgotten(autojump_clock, nodes) -> None:
    a, b = await pair(nodes, "c")
    target = b.spawn(Behaviors.receive(fail), "target")
    a.spawn(watcher([]), "w").tell(Watch(target_of(a, target)))
    await trio.sleep(2)
    nodes.crash("a")
    await nodes.sees("b", {"b": "up", "c": "up"})
    await trio.sleep(1)
    assert watchers_of(target) == 0


async def test_an_end_in_the_time_of_a_cut_is_told_after_it(autojump_clock, nodes) -> None:
    told: list[Terminated] = []
    a, b, target, remote = await pair_and_target(nodes)
    a.spawn(watcher(told), "w").tell(Watch(remote))
    await trio.sleep(2)
    nodes.network.cut("a", "b")
    b.stop(target)
    await trio.sleep(2)
    assert told == []
    nodes.network.heal("a", "b")
    await trio.sleep(15)
    assert told == [Terminated(remote, None)]


async def test_a_block_is_cancelled_by_an_end_elsewhere(autojump_clock, nodes) -> None:
    blocks: list[Watching] = []
    a, b, target, remote = await pair_and_target(nodes)

    async def main(ctx: ActorContext[object], inbox: Inbox[object]) -> None:
        async with ctx.watching(remote) as block:
            blocks.append(block)
            await trio.sleep_forever()

    ref = a.spawn(Behaviors.task(main), "w")
    await trio.sleep(2)
    remote.tell(Fail("boom"))
    await a.wait_stopped(ref)
    assert str(blocks[0].terminated.cause) == "ValueError: boom"  # type: ignore[union-attr]  # it has ended


async def test_a_thousand_watches_leave_nothing_behind(autojump_clock, nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    drivers: list[WatchDriver] = []
    init = WatchDriver.__init__

    def remember(self, *arguments: object) -> None:
        init(self, *arguments)
        drivers.append(self)

    monkeypatch.setattr(WatchDriver, "__init__", remember)
    told: list[Terminated] = []
    a, b = await pair(nodes)
    ref = a.spawn(watcher(told), "w")
    targets = [b.spawn(Behaviors.receive(fail), f"t{number}") for number in range(1_000)]
    for target in targets:
        ref.tell(Watch(target_of(a, target)))
    await trio.sleep(3)
    for target in targets:
        b.stop(target)
    await trio.sleep(10)
    assert len(told) == 1_000
    assert [(driver._machine.watches, driver._machine.pending, driver._attached) for driver in drivers] == [
        ((0, 0), 0, {})
    ] * 2


async def test_an_ask_to_another_node_is_refused_with_the_reason_in_words(autojump_clock, nodes) -> None:
    a, b = await pair(nodes)
    b.spawn(Behaviors.receive(fail), "target")
    remote = a.remote("/target", "b").of(GetText)
    with pytest.raises(AskFailed, match=r"^MailboxFull: no room$"):
        await a.ask(remote, GetText, timeout=1000.0)
    b.stop(b.lookup("/target"))  # type: ignore[arg-type]  # it is there
    await trio.sleep(1)
    began = trio.current_time()
    with pytest.raises(AskFailed, match=r"^ActorStoppedError: /target on b:2551 did not .*: no such actor$"):
        await a.ask(remote, GetText, timeout=1000.0)
    assert trio.current_time() - began < 1
    assert a.statistics().asks_pending == 0
    assert a.statistics().dead_letters == {"not delivered: no_actor": 1}


async def test_the_end_comes_after_what_the_actor_elsewhere_had_sent(autojump_clock, nodes) -> None:
    seen: list[object] = []
    a, b = await pair(nodes)

    async def last_words(ctx: ActorContext[GetText], message: GetText) -> Behavior[GetText]:
        for number in range(1_000):
            message.reply_to.tell(f"word {number} " + "x" * 500)
        return Behaviors.stopped()

    async def begin(ctx: ActorContext[str | Terminated]) -> Behavior[str | Terminated]:
        ctx.watch(remote)
        return recording(seen)

    target = b.spawn(Behaviors.receive(last_words), "target")
    remote = target_of(a, target).of(GetText)
    listener = a.spawn(Behaviors.setup(begin), "listener")
    await trio.sleep(1)
    nodes.network.delay("b", "a", 0.05)
    remote.tell(GetText(listener))
    await trio.sleep(20)
    assert len(seen) == 1_001
    assert isinstance(seen[-1], Terminated)
