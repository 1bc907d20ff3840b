"""A node that is downed while its entities wait for the serving lease."""

from __future__ import annotations

import pytest
import trio
from helpers.entities import Note

from casty import ActorContext, Behavior, Behaviors, Effect, EntityKey, Inbox, MemoryJournal, NodeDowned, nothing

MARKS = EntityKey[Note]("marks")


def handled(entity_id: str) -> Behavior[Note]:
    async def handle(ctx: ActorContext[Note], message: Note) -> Behavior[Note]:
        return Behaviors.same()

    return Behaviors.receive(handle)


def looped(entity_id: str) -> Behavior[Note]:
    async def main(ctx: ActorContext[Note], inbox: Inbox[Note]) -> None:
        async for _ in inbox:
            pass

    return Behaviors.task(main)


def ticking(entity_id: str) -> Behavior[Note]:
    async def begin(ctx: ActorContext[Note]) -> Behavior[Note]:
        ctx.schedule_tick(Note(0), 0.1)
        return handled(entity_id)

    return Behaviors.setup(begin)


def stored(entity_id: str) -> Behavior[Note]:
    return Behaviors.event_sourced(empty=0, decide=lambda state, command: nothing(), apply=lambda state, event: state)


def stored_slowly(entity_id: str) -> Behavior[Note]:
    async def decide(ctx: ActorContext[Note], state: int, command: Note) -> Effect[Note]:
        return nothing()

    return Behaviors.event_sourced_actor(empty=0, decide=decide, apply=lambda state, event: state)


@pytest.mark.parametrize("make", [handled, looped, ticking, stored, stored_slowly])
async def test_entities_that_wait_for_the_lease_do_not_put_off_the_end_of_a_downed_node(
    autojump_clock, nodes, caplog, make
) -> None:
    await nodes.join("a", "b")
    c = (await nodes.start("c", "ab", journal=MemoryJournal())).system
    await nodes.all_up(*"abc")
    c.spawn(Behaviors.sharded(make, MARKS, num_shards=4), "marks")
    lease = c.cluster.serving_lease()
    await lease.wait_serving()
    marks = [c.entity(MARKS, f"mark-{number}") for number in range(3)]
    for mark in marks:
        mark.tell(Note(0))
    await trio.sleep(1)
    for other in "ab":
        nodes.network.cut("c", other)
    await lease.wait_lapsed()
    for mark in marks:
        mark.tell(Note(1))
        mark.tell(Note(2))
    await c.cluster.wait_ended()
    ended_at = trio.current_time()
    await nodes.handles["c"].ended.wait()
    assert isinstance(nodes.handles["c"].error, NodeDowned)
    assert "did not end within" not in caplog.text
    assert trio.current_time() - ended_at < 3
    assert c.statistics().dead_letters["shard moved"] >= 6
