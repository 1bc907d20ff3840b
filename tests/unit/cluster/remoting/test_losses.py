"""Every message that was told is handled, a dead letter, or among those that nobody can know of."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import trio

from casty import Behaviors


@dataclass(frozen=True)
class Item:
    """One of many."""

    number: int
    more: bytes = b""


def counter(taken: list[int]):
    async def handle(ctx, item: Item):
        taken.append(item.number)
        return Behaviors.same()

    return Behaviors.receive(handle)


class Figures(dict[str, float]):
    """The figures of a node, by name and labels."""

    def __init__(self, nodes, name: str) -> None:
        super().__init__()
        nodes.handles[name].system.collect(self)

    def counter(self, metric, value: float, *labels: str) -> None:
        self[":".join((metric.name, *labels))] = value

    gauge = counter

    @property
    def dead_letters(self) -> float:
        return sum(value for name, value in self.items() if name.startswith("dead_letters"))


async def pair(nodes, taken: list[int]):
    """Return the ref with which a node tells an actor of another."""
    sender = (await nodes.start("a")).system
    receiver = (await nodes.start("b", "a")).system
    await nodes.start("c", "a")  # they stay when one is lost
    await nodes.all_up("a", "b", "c")
    receiver.spawn(counter(taken), "sink")
    return sender.remote("/sink", "b").of(Item)


@pytest.mark.parametrize("pause", [0.0, 0.01])
async def test_what_resets_lose_is_within_the_unknown(autojump_clock, nodes, pause) -> None:
    taken: list[int] = []
    ref = await pair(nodes, taken)
    nodes.network.delay("a", "b", 0.05)
    sent = 10_000
    ref.tell(Item(-1))
    await trio.sleep(1)
    for number in range(sent):
        ref.tell(Item(number, bytes(1_000)))
        if number % 50 == 49:
            await trio.sleep(pause)
        if number % 1_900 == 1_899:
            nodes.network.reset("a", "b")
    await trio.sleep(60)
    figures = Figures(nodes, "a")
    lost = 1 + sent - len(taken) - figures.dead_letters
    assert len(taken) == len(set(taken))
    assert 0 < lost <= figures["frames_unknown"]
    assert figures["queued_messages"] == 0


async def test_what_a_stopped_process_took_before_it_was_killed_is_unknown(autojump_clock, nodes) -> None:
    taken: list[int] = []
    ref = await pair(nodes, taken)
    ref.tell(Item(0))
    await trio.sleep(2)
    nodes.network.freeze("b")
    for number in range(1, 501):
        ref.tell(Item(number))
    await trio.sleep(0.5)
    nodes.crash("b")
    await trio.sleep(60)
    figures = Figures(nodes, "a")
    assert taken == [0]
    assert figures.dead_letters + figures["frames_unknown"] == 500
    assert figures["frames_unknown"] > 0


async def test_nothing_is_unknown_of_links_that_end_in_good_order(autojump_clock, nodes) -> None:
    """Nor is more than a little of a steady stream: the other node tells how much it has taken."""
    taken: list[int] = []
    ref = await pair(nodes, taken)
    for number in range(5_000):
        await ref.send(Item(number))
    await trio.sleep(65)  # the link is idle, and ends
    assert Figures(nodes, "a")["links:ordinary"] == 0
    for number in range(5_000, 10_000):
        await ref.send(Item(number))
    await trio.sleep(2)  # within a second the other node tells of the last ones
    await nodes.stop("b")
    figures = Figures(nodes, "a")
    assert figures["frames_unknown"] == 0
    assert len(taken) + figures.dead_letters == 10_000
