"""An ask whose request lies with a node that was removed ends with the node, and says how far the request came."""

from __future__ import annotations

import pytest
import trio
from helpers.behaviors import forwarding
from helpers.messages import Get, GetText, Who

from casty import AskFailed, Behaviors, MemberLeft, Routers, ServiceKey
from casty.testing.inspect import node_of

LONG = 300.0
"""Seconds that an ask would wait."""


SILENT = ServiceKey[Get]("silent")


async def silent(ctx, message: Who | Get):
    """Tell who it is, and never a number."""
    if isinstance(message, Who):
        message.reply_to.tell(ctx.self)
    return Behaviors.same()


async def answers(ctx, message: Get):
    message.reply_to.tell(7)
    return Behaviors.same()


async def begin(nodes):
    """Start three nodes, and return the systems of two of them with the ref of an actor of the third."""
    a, b, c = await nodes.systems(*"abc")
    c.spawn(Behaviors.receive(silent), "x")
    ref = await a.ask(a.remote("/x", "c").of(Who | Get), Who)
    return a, b, ref


def left_at(nodes, name: str) -> float:
    [at] = [at for at, event in nodes.handles[name].events if isinstance(event, MemberLeft)]
    return at


async def fails(ask) -> tuple[str, bool, float]:
    """Return how an ask failed, and when."""
    with pytest.raises(AskFailed) as raised:
        await ask()
    return raised.value.failure, raised.value.certainly_not_handled, trio.current_time()


def asking(a, ref, way: str):
    """Return what asks the actor behind ``ref`` in one of the ways there are."""

    async def ask_in_actor(ctx, message: GetText):
        try:
            await ctx.ask(ref, Get, timeout=LONG)
        except AskFailed as error:
            message.reply_to.tell(f"{error.failure} {trio.current_time()}")
        return Behaviors.same()

    async def by_actor() -> None:
        told: str = await a.ask(a.spawn(Behaviors.receive(ask_in_actor), "asker"), GetText, timeout=LONG)
        raise AskFailed(told, told.split()[0])

    match way:
        case "run":
            return lambda: a.ask(ref, Get, timeout=LONG)
        case "address":
            return lambda: a.ask(a.remote("/x", "c").of(Get), Get, timeout=LONG)
        case "or none":
            return lambda: a.ask_or_none(ref, Get, timeout=LONG)
        case "context":
            return by_actor
        case "no limit":
            return lambda: a.ask(ref, Get, timeout=float("inf"))
        case "forwarded here":
            forwarder = a.spawn(forwarding(ref), "forwarder")
            return lambda: a.ask(forwarder, Get, timeout=LONG)
        case _:
            raise AssertionError(way)


WAYS = ["run", "address", "or none", "context", "no limit", "forwarded here"]


@pytest.mark.parametrize("way", WAYS)
async def test_an_ask_in_flight_ends_with_the_removal_of_the_node(autojump_clock, nodes, way) -> None:
    a, _, ref = await begin(nodes)
    ask, ended = asking(a, ref, way), []

    async def note() -> None:
        ended.append(await fails(ask))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(note)
        await trio.sleep(0.1)
        nodes.network.freeze("c")
    [(failure, is_certain, at)] = ended
    assert (failure, is_certain) == ("node_removed", False)
    assert at <= left_at(nodes, "a") + 0.01
    assert not nodes.handles["a"].node.open_asks._latest


async def test_an_ask_by_way_of_a_group_router_ends_too(autojump_clock, nodes) -> None:
    a, _, _ = await begin(nodes)
    c = nodes.handles["c"].system
    c.spawn(Behaviors.discoverable(Behaviors.receive(silent), key=SILENT), "listed")
    await a.find(SILENT, at_least=1)
    router = a.spawn(Routers.group(SILENT), "router")
    await trio.sleep(1)
    ended = []

    async def note() -> None:
        ended.append(await fails(lambda: a.ask(router, Get, timeout=LONG)))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(note)
        await trio.sleep(0.1)
        nodes.network.freeze("c")
    assert ended[0][:2] == ("node_removed", False)


async def test_a_request_that_was_never_written_is_not_sent(autojump_clock, nodes) -> None:
    a, _, ref = await begin(nodes)
    await trio.sleep(70)  # no link for messages any more
    nodes.network.freeze("c")
    failure, is_certain, at = await fails(lambda: a.ask(ref, Get, timeout=LONG))
    assert (failure, is_certain) == ("not_sent", True)
    await nodes.sees("a", {"a": "up", "b": "up"})
    assert at <= left_at(nodes, "a")
    failure, is_certain, _ = await fails(lambda: a.ask(ref, Get, timeout=LONG))
    assert (failure, is_certain) == ("not_sent", True), "begun after the removal"


async def test_a_request_that_another_node_has_handed_on_ends_too(autojump_clock, nodes) -> None:
    a, b, ref = await begin(nodes)
    theirs = node_of(b).import_ref(ref.address.place, Get)

    b.spawn(forwarding(theirs), "forwarder")
    ended = []

    async def note() -> None:
        ended.append(await fails(lambda: a.ask(a.remote("/forwarder", "b").of(Get), Get, timeout=LONG)))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(note)
        await trio.sleep(0.1)
        nodes.network.freeze("c")
    assert ended[0][:2] == ("node_removed", False)


@pytest.mark.parametrize("way", ["run", "address"])
async def test_asks_of_the_run_before_end_and_those_of_the_next_run_do_not(autojump_clock, nodes, way) -> None:
    a, _, ref = await begin(nodes)
    ended = []

    async def note() -> None:
        ended.append(await fails(asking(a, ref, way)))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(note)
        await trio.sleep(0.1)
        nodes.crash("c")
        restarted = await nodes.start("c", ["a"])
        restarted.system.spawn(Behaviors.receive(answers), "x")
        with trio.fail_after(60):
            assert await a.ask(a.remote("/x", "c").of(Get), Get, timeout=50) == 7
    assert ended[0][:2] == ("node_removed", False)
    assert (await fails(lambda: a.ask(ref, Get, timeout=LONG)))[:2] == ("not_sent", True)


async def test_an_actor_that_is_not_there_any_more_has_certainly_not_begun(autojump_clock, nodes) -> None:
    a, _, _ = await begin(nodes)
    assert (await fails(lambda: a.ask(a.remote("/nobody", "c").of(Get), Get)))[:2] == ("not_delivered", True)
