"""Random sends, faults and cancellations: what must hold whatever happens.

Order and at-most-once for each sender, receiver and lane; what was given back was never received; every
frame that was taken is written, given back, unknown, or still queued; links come up and end in turns;
and when the faults stop, everybody reaches everybody over one connection.
"""

from __future__ import annotations

import logging
import random
from collections import defaultdict
from itertools import permutations

import pytest
import trio

from casty.config import TransportLimits
from casty.wire.frame import FrameKind, Lane, frame

NAMES = ("a", "b", "c")
STEPS = 150
LIMITS = TransportLimits(
    outbound_messages_max=50, outbound_bytes_max=300_000, dial_timeout=1.0, hello_timeout=1.0, write_timeout=2.0
)


class Chaos:
    """Three nodes, a random source, and a ledger of what was sent."""

    def __init__(self, world, seed: int, *, is_renewing: bool = False) -> None:
        self.world = world
        self.is_renewing = is_renewing
        """Whether all are members, whose links get new connections now and then."""
        self.rng = random.Random(seed)
        self.nodes: dict[str, object] = {}
        self.taken: dict[tuple, int] = defaultdict(int)
        self.told: dict[tuple, int] = defaultdict(int)
        """Of those, the ones on the ordinary lane."""
        self.retired: list = []
        self.serial = 0
        self.incarnation = 0

    async def start(self, name: str) -> None:
        self.incarnation += 1
        self.nodes[name] = await self.world.node(name, self.incarnation, limits=LIMITS)
        if self.is_renewing:
            for node in self.nodes.values():
                node.transport.keep([other.me for other in self.nodes.values() if other is not node])

    def body(self, source, lane: Lane) -> bytes:
        self.serial += 1
        size = self.rng.choice([0, 0, 0, 100, 20_000])
        return b"%d|%d|%d|" % (source.me.incarnation, lane, self.serial) + b"x" * size

    def send(self, source, target, lane: Lane) -> None:
        kind = FrameKind.CONTROL if lane is Lane.control else FrameKind.ENVELOPE
        if source.transport.send(target.me, lane, frame(kind, self.body(source, lane))):
            self.taken[source.me] += 1
            self.told[source.me] += lane is Lane.ordinary

    async def send_wait(self, source, target, patience: float) -> None:
        with trio.move_on_after(patience):
            # Tasks that wait side by side have no order among them, so each is a series of its own.
            self.serial += 1
            data = frame(FrameKind.ENVELOPE, b"%d|waited-%d|1|" % (source.me.incarnation, self.serial))
            await source.transport.send_wait(target.me, Lane.ordinary, data)
            self.taken[source.me] += 1
            self.told[source.me] += 1

    async def step(self, nursery: trio.Nursery) -> None:
        rng, network = self.rng, self.world.network
        one, other = rng.sample(NAMES, 2)
        source, target = self.nodes[one], self.nodes[other]
        match rng.randrange(20):
            case 0:
                network.cut(one, other, one_way=rng.random() < 0.5)
            case 1 | 2:
                network.heal(one, other)
            case 3:
                network.reset(one, other)
            case 4:
                network.delay(one, other, rng.choice([0.0, 0.001, 0.2]))
            case 5:
                network.freeze(one)
                nursery.start_soon(self.thaw, one, rng.random() * 3)
            case 6 if rng.random() < 0.3:
                self.world.crash(source)
                self.retired.append(source)
                await self.start(one)
            case 7 if rng.random() < 0.3:
                source.transport.forget(target.me)
            case 8:
                source.transport.dial(target.me.address, rng.choice([Lane.control, Lane.ordinary]))
            case 11 | 12 if self.is_renewing:
                source.transport.renew_links(rng.choice([0.0, 2.0]))
                target.transport.renew_links(rng.choice([0.0, 2.0]))
            case 9 | 10:
                nursery.start_soon(self.send_wait, source, target, rng.random() * 4)
            case _:
                lane = rng.choice([Lane.control, Lane.ordinary])
                for _ in range(rng.choice([1, 2, 30])):
                    self.send(source, target, lane)
                if rng.random() < 0.3:
                    self.send(target, source, lane)
        if rng.random() < 0.5:
            await trio.sleep(rng.random() * rng.choice([0.001, 0.1, 2.0]))

    async def thaw(self, name: str, after: float) -> None:
        await trio.sleep(after)
        self.world.network.thaw(name)

    def check(self) -> None:
        everyone = [*self.nodes.values(), *self.retired]
        given_back: set[bytes] = set()
        for node in everyone:
            for _, frames, _ in node.told.all("undelivered"):
                bodies = [data[5:] for data in frames]
                assert len(set(bodies)) == len(bodies) and not given_back & set(bodies)
                given_back.update(bodies)
        for node in everyone:
            self.check_received(node, given_back)
            self.check_turns(node)
        for node in self.nodes.values():
            now = node.transport.statistics()
            queued = sum(link.queued_messages for link in now.links) + now.frames_under_way
            accounted = now.frames_sent + now.frames_broken + now.frames_undelivered + queued
            assert accounted == self.taken[node.me], f"{node.me}: {now}"
            assert self.lost(node, everyone, given_back) <= now.frames_unknown, f"{node.me}: {now}"

    def lost(self, node, everyone: list, given_back: set[bytes]) -> int:
        """Return how many frames of a node on its ordinary lanes neither arrived, nor came back, nor wait."""
        start = b"%d|" % node.me.incarnation
        arrived = [body for one in everyone for body in one.told.bodies]
        told = [body for body in (*arrived, *given_back) if body.startswith(start)]
        found = [body for body in told if not body.startswith(start + b"0|")]
        links = node.transport.statistics().links
        waiting = sum(link.queued_messages + link.frames_under_way for link in links if link.lane is Lane.ordinary)
        return self.told[node.me] - len(found) - waiting

    def check_received(self, node, given_back: set[bytes]) -> None:
        last: dict[bytes, int] = defaultdict(int)
        for body in node.told.bodies:
            assert body not in given_back
            source, lane, serial, _ = body.split(b"|")
            key = source + b"|" + lane
            assert int(serial) > last[key], "out of order, or twice"
            last[key] = int(serial)

    def check_turns(self, node) -> None:
        up: set[tuple] = set()
        for name, *rest in node.told.events:
            if name == "link_up":
                assert tuple(rest) not in up
                up.add(tuple(rest))
            elif name == "link_lost":
                up.remove(tuple(rest[:2]))
            elif name == "frame":
                assert tuple(rest[:2]) in up, "a frame outside the life of its link"

    async def settle(self) -> None:
        """End all faults; then a frame must pass between every two, both ways, over one connection."""
        network = self.world.network
        network.heal_all()
        for one, other in permutations(NAMES, 2):
            network.delay(one, other, 0.0)
        await trio.sleep(20)
        for round_number in range(2):
            expected: dict[str, list[bytes]] = defaultdict(list)
            for one, other in permutations(NAMES, 2):
                body = b"%d|1|%d|" % (self.nodes[one].me.incarnation, 10**9 + round_number)
                assert self.nodes[one].transport.send(
                    self.nodes[other].me, Lane.ordinary, frame(FrameKind.ENVELOPE, body)
                )
                self.taken[self.nodes[one].me] += 1
                self.told[self.nodes[one].me] += 1
                expected[other].append(body)
            await trio.sleep(20)
        for name, bodies in expected.items():
            assert set(bodies) <= set(self.nodes[name].told.bodies)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("is_renewing", [False, True])
async def test_chaos_keeps_order_and_loses_nothing_silently(
    autojump_clock, world, caplog, seed: int, is_renewing: bool
) -> None:
    chaos = Chaos(world, seed, is_renewing=is_renewing)
    for name in NAMES:
        await chaos.start(name)
    async with trio.open_nursery() as nursery:
        for _ in range(STEPS):
            await chaos.step(nursery)
    await chaos.settle()
    chaos.check()
    for node in chaos.nodes.values():
        assert node.transport.statistics().dials == 0
        assert node.transport.statistics().unauthenticated == 0
    lanes = {lane for node in chaos.nodes.values() for lane in Lane}
    assert world.network.connection_count <= 3 * len(lanes)
    problems = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert problems == [], "no bug was met on the way"
