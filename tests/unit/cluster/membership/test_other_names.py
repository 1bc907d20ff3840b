"""Nodes that are dialled under another name than their own, and strangers that say that they are a member."""

from __future__ import annotations

import msgpack
import pytest
import trio
from helpers.messages import Get

from casty import ActorContext, Behavior, Behaviors
from casty.address import NodeAddress, UniqueAddress
from casty.testing.samples import run_of
from casty.transport.network.interface import Connection
from casty.wire.frame import FrameDecoder, FrameKind, Lane
from casty.wire.handshake import PROTOCOL_MAX, Hello, HelloAck, decode_hello, encode_hello_ack


def say(handle, run: UniqueAddress, place: object) -> None:
    """Have a node hear a Get of a run whose reply is to go to ``place``, as it comes from the transport."""
    head = msgpack.packb(["/quick", 0, "tests.Get"])
    body = len(head).to_bytes(2, "big") + head + msgpack.packb({"reply_to": place})
    handle.inbound.envelopes(run, [(FrameKind.ENVELOPE, body)], 0)


async def recording(handle, name: str) -> list[int | str]:
    seen: list[int | str] = []

    async def take(ctx: ActorContext[int | str], message: int | str) -> Behavior[int | str]:
        seen.append(message)
        return Behaviors.same()

    handle.system.spawn(Behaviors.receive(take), name)
    return seen


async def quick(ctx: ActorContext[Get], message: Get) -> Behavior[Get]:
    message.reply_to.tell(666)
    return Behaviors.same()


async def lead(nodes, nursery, me: UniqueAddress, to: UniqueAddress) -> list[Hello]:
    """Listen as ``me``, confirm what it has said, and tell whoever dials that this is ``to``."""
    dialled: list[Hello] = []

    async def answer(connection: Connection) -> None:
        frames = list(FrameDecoder(8_192).feed(await connection.receive(8_192)))
        hello = decode_hello(frames[0][1])
        if hello.lane is Lane.probe:
            await connection.send(encode_hello_ack(HelloAck(PROTOCOL_MAX, me, hello.nonce)))
        else:
            dialled.append(hello)
            await trio.sleep(0.001)
            await connection.send(encode_hello_ack(HelloAck(PROTOCOL_MAX, to)))
        await connection.receive(8_192)
        await connection.aclose()

    listener = await nodes.network.host(me.address.host).listen(me.address.host, me.address.port)
    nursery.start_soon(listener.serve, answer)
    return dialled


@pytest.mark.parametrize("incarnation", ["any", "its own", "of b"])
async def test_a_stranger_that_says_it_is_a_member_has_nothing_told_to_that(
    autojump_clock, nodes, nursery, incarnation
):
    first, member = await nodes.join("a", "b")
    first.system.spawn(Behaviors.receive(quick), "quick")
    seen = await recording(member, "sink")
    to = member.run
    me = run_of("evil", to.incarnation if incarnation == "of b" else 77)
    dialled = await lead(nodes, nursery, me, to)
    place = ["shop", "/sink", me.address.host, me.address.port, 0 if incarnation == "any" else me.incarnation, 0]
    for _ in range(3):
        say(first, me, place)
        await trio.sleep(5)
    assert dialled
    assert seen == []
    assert first.system.statistics().dead_letters == {"not sent": 3}


async def test_a_stranger_does_not_choose_whom_a_node_dials(autojump_clock, nodes, nursery):
    first = await nodes.start("a")
    first.system.spawn(Behaviors.receive(quick), "quick")
    evil, printer = run_of("evil", 7), UniqueAddress(NodeAddress("printer", 9_100), 7)
    assert await lead(nodes, nursery, evil, printer) == []
    dialled = await lead(nodes, nursery, printer, evil)
    say(first, evil, ["shop", "/x", evil.address.host, evil.address.port, 0, 0])
    await trio.sleep(5)
    assert dialled == []


async def test_an_actor_is_told_under_another_name_of_its_node(autojump_clock, nodes, nursery):
    first, member = await nodes.join("a", "b")
    seen = await recording(member, "sink")
    alias = run_of("alias")
    await lead(nodes, nursery, alias, member.run)
    ref = first.system.remote("/sink", alias.address).of(str)
    await ref.send("1")
    await trio.sleep(1)
    for text in ("2", "3"):
        await ref.send(text)
    await trio.sleep(1)
    assert seen == ["1", "2", "3"]


async def test_a_node_joins_by_a_seed_under_another_name(autojump_clock, nodes, nursery):
    first = await nodes.start("a")
    await lead(nodes, nursery, run_of("alias"), first.run)
    began = trio.current_time()
    await nodes.start("b", ["alias"])
    await nodes.all_up("a", "b")
    assert trio.current_time() - began < 1
