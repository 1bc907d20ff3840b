"""The end of a client: its actors before its connection, and nothing behind it that hangs or raises."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
import trio
from helpers.clients import PORT, KeptHost, client_of, hold_up
from helpers.entities import Add, Carts, Command, Note, Notes

from casty import ActorContext, AskFailed, Behaviors, ClusterClient, EntityKey, Inbox

OPEN = EntityKey[Command]("carts", clients=True)


async def start(nodes: Any) -> None:
    (a,) = await nodes.systems("a")
    a.spawn(Behaviors.sharded(Carts("a").make, OPEN, num_shards=4), "carts")


async def notes_of(nodes: Any, entity_id: str) -> list[int]:
    async with client_of(nodes, "a") as client:
        notes: list[int] = await client.ask(client.entity(OPEN, entity_id), Notes)
        return notes


@pytest.mark.parametrize("how", ["left", "cancelled", "raising"])
async def test_what_an_actor_of_a_client_tells_and_asks_while_it_ends_is_sent(autojump_clock, nodes, how):
    await start(nodes)
    totals: list[int] = []
    with suppress(LookupError), trio.CancelScope() as scope:
        async with client_of(nodes, "a") as client:
            cart = client.entity(OPEN, "cart-1")
            await client.ask(cart, Notes)

            async def last_words(ctx: ActorContext[str], inbox: Inbox[str]) -> None:
                try:
                    async for _ in inbox:
                        pass
                finally:
                    cart.tell(Note(1))
                    client.entity(OPEN, "cart-2").tell(Note(2))
                    totals.append(await client.ask(cart, lambda to: Add(3, to)))

            client.spawn(Behaviors.task(last_words), "talker")
            await trio.sleep(1)
            if how == "cancelled":
                scope.cancel()
                await trio.lowlevel.checkpoint()
            elif how == "raising":
                raise LookupError("as asked for")
    assert totals == [3]
    assert await notes_of(nodes, "cart-1") == [1]
    assert await notes_of(nodes, "cart-2") == [2]


async def test_a_client_whose_node_reads_nothing_ends_in_time_and_refuses_what_comes_behind(autojump_clock, nodes):
    await start(nodes)
    outside = KeptHost(nodes.network.host("outside"))
    failures: list[tuple[str, bool]] = []
    async with trio.open_nursery() as nursery:
        async with ClusterClient(contact_points=[("a", PORT)], system_name="shop", network=outside) as client:
            cart = client.entity(OPEN, "cart-1")
            await client.ask(cart, Notes)

            async def ask() -> None:
                with pytest.raises(AskFailed) as caught:
                    await client.ask(cart, lambda to: Add(1, to), timeout=60)
                failures.append((caught.value.failure, caught.value.certainly_not_handled))

            hold_up(outside.dialled[0])
            nursery.start_soon(ask)  # its write is begun with
            await trio.sleep(0.1)
            nursery.start_soon(ask)  # and this one waits behind it
            await trio.sleep(0.1)
            began = trio.current_time()
        assert trio.current_time() - began < 3
        cart.tell(Note(1))
        await cart.send(Note(2))
        nursery.start_soon(ask)
    assert sorted(failures) == [("lost", False), ("not_sent", True), ("not_sent", True)]
    assert await notes_of(nodes, "cart-1") == []
