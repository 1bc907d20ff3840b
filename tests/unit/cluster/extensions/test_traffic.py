"""How much an extension says, and what that costs its node: neither heartbeats that are late nor memory."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import trio

from casty import (
    ActorContext,
    Behavior,
    Behaviors,
    ClusterExtension,
    EncodeError,
    ExtensionNode,
    Metric,
    UniqueAddress,
)
from casty.cluster.extension_limits import (
    CONTROL_LANE_BYTES_BURST,
    CONTROL_LANE_BYTES_MAX,
    CONTROL_LANE_BYTES_PER_SECOND,
    PEERS_MAX,
    STRANGERS_PART,
    WAITING_BYTES_MAX,
    WAITING_MESSAGES_MAX,
    ControlLaneBudget,
    WaitingMessages,
)
from casty.testing.samples import run_of
from casty.transport.limits.token_bucket import CONTROL_BYTES_BURST, CONTROL_BYTES_PER_SECOND, FRAME_COST_BYTES
from casty.wire.frame import HEADER_BYTES, FrameKind, Lane

SECONDS = 6


@dataclass(frozen=True)
class Load:
    data: bytes


class Loaded(ClusterExtension):
    """Tells its actor what comes; the actor takes it at once, or never."""

    name = "loaded"

    def __init__(self, lane: str | None = None, *, is_stuck: bool = False, sender: str = "member") -> None:
        self.options = {"sender": sender} if lane is None else {"lane": lane, "sender": sender}
        self.is_stuck = is_stuck
        self.arrived = 0

    def attach(self, node: ExtensionNode) -> None:
        self.inside = node
        node.add_control(Load, "test.load", self._take, **self.options)

    def start(self, node: ExtensionNode) -> None:
        self.actor = node.spawn(Behaviors.receive(self._handle), "_loaded")

    def _take(self, peer: UniqueAddress, message: Load, size: int) -> None:
        self.arrived += 1
        self.actor.tell(message)

    async def _handle(self, ctx: ActorContext[Load], message: Load) -> Behavior[Load]:
        if self.is_stuck:
            await trio.sleep_forever()
        return Behaviors.same()


async def pair(nodes, *extensions):
    await nodes.start("a", extensions=[extensions[0]])
    await nodes.start("b", "a", extensions=[extensions[1]])
    await nodes.all_up("a", "b")
    return tuple(nodes.handles[name].node for name in "ab")


@pytest.mark.parametrize(
    ("lane", "size", "every"),
    [(None, 768 * 1024, 0.02), ("ordinary", 100_000, 0.005), ("control", 12_000, 0.005), ("control", 10, 0.001)],
)
async def test_heartbeats_come_on_time_whatever_an_extension_sends(autojump_clock, nodes, lane, size, every):
    one, other = Loaded(lane), Loaded(lane)
    a, b = await pair(nodes, one, other)
    received, before = a.cluster_metrics.received, a.cluster_metrics.received["casty.heartbeat"]
    end, sent = trio.current_time() + SECONDS, 0
    while trio.current_time() < end:
        sent += other.inside.send(a.self_node, Load(bytes(size)))
        await trio.sleep(every)
    assert received["casty.heartbeat"] - before >= 2 * SECONDS - 1
    assert a.cluster_metrics.accusations == b.cluster_metrics.accusations == 0
    await trio.sleep(1)
    assert one.arrived == sent > 50
    if lane == "control":
        assert sent * (size + FRAME_COST_BYTES) <= CONTROL_LANE_BYTES_BURST + SECONDS * CONTROL_LANE_BYTES_PER_SECOND
    await nodes.all_up("a", "b")


async def test_a_message_too_large_for_the_control_lane_is_refused_where_it_is_sent(autojump_clock, nodes, caplog):
    one, other = Loaded("control"), Loaded("control")
    a, _ = await pair(nodes, one, other)
    with pytest.raises(EncodeError, match=r"test.load: \d+ bytes are over the limit of 16384 for an extension"):
        other.inside.send(a.self_node, Load(bytes(CONTROL_LANE_BYTES_MAX)))
    largest = Load(bytes(CONTROL_LANE_BYTES_MAX - HEADER_BYTES - 25))
    sent = [other.inside.send(a.self_node, largest) for _ in range(20)]
    assert sent == [True] * 15 + [False] * 5
    assert "a:2551: test.load is not sent to it: extensions have sent 65536 bytes a second there" in caplog.text
    await trio.sleep(0.3)
    assert other.inside.send(a.self_node, largest)
    await trio.sleep(1)
    assert one.arrived == 16


async def test_what_waits_for_an_actor_that_takes_nothing_has_a_bound(autojump_clock, nodes, caplog):
    one, other = Loaded(is_stuck=True), Loaded()
    a, _ = await pair(nodes, one, other)
    for _ in range(60):
        other.inside.send(a.self_node, Load(bytes(512 * 1024)))
        await trio.sleep(0.1)
    dropped = a.cluster_metrics.dropped["test.load"]
    assert (one.arrived, dropped) == (32, 28)  # the one in hand waits no more
    assert "b:2551: test.load is dropped: the extension loaded has too much waiting already" in caplog.text
    await nodes.all_up("a", "b")


async def test_who_is_no_member_takes_a_part_of_that_room(autojump_clock, nodes):
    one, other = Loaded(is_stuck=True, sender="anyone"), Loaded(sender="anyone")
    a, b = await pair(nodes, one, other)
    inbound, body = a.transport.link_manager.handler, b.frame_control(Load(bytes(512 * 1024)))[HEADER_BYTES:]
    for _ in range(20):
        inbound.frame(run_of("stranger"), Lane.ordinary, FrameKind.CONTROL, body)
        await trio.sleep(0.01)
    assert one.arrived == WAITING_BYTES_MAX // STRANGERS_PART // (512 * 1024)
    assert other.inside.send(a.self_node, Load(b"x"))
    await trio.sleep(1)
    assert one.arrived == WAITING_BYTES_MAX // STRANGERS_PART // (512 * 1024) + 1


async def test_a_message_is_not_said_to_be_sent_that_waits_for_nothing(autojump_clock, nodes):
    """One of death watch comes again in a second behind large messages; one of an extension does not."""
    one, other = Loaded(), Loaded()
    a, b = await pair(nodes, one, other)
    b.paused_sends.is_before = lambda to, age: True
    assert other.inside.send(a.self_node, Load(b"x"))
    await trio.sleep(1)
    assert one.arrived == 1


@pytest.mark.parametrize("deliver", [None, "take", Metric])
async def test_what_takes_a_message_is_a_function(autojump_clock, nodes, deliver):
    class Vague(Loaded):
        def attach(self, node: ExtensionNode) -> None:
            with pytest.raises(TypeError, match="add_control"):
                node.add_control(Load, "test.load", self._later if deliver is Metric else deliver)

        async def _later(self, peer: UniqueAddress, message: Load, size: int) -> None: ...

    await nodes.start("a", extensions=[Vague()])


def test_the_budget_is_a_part_of_what_a_receiver_reads():
    assert 4 * CONTROL_LANE_BYTES_PER_SECOND <= CONTROL_BYTES_PER_SECOND
    assert 8 * CONTROL_LANE_BYTES_BURST <= CONTROL_BYTES_BURST


def test_a_budget_is_kept_for_a_number_of_nodes():
    budget = ControlLaneBudget()
    for number in range(PEERS_MAX):
        assert budget.take(run_of("a", number + 1), 1_000, now=0.0)
    assert not budget.take(run_of("b"), 1_000, now=0.0)
    assert budget.take(run_of("b"), 1_000, now=1.0)
    assert repr(budget) == "<ControlLaneBudget peers=1>"


def test_as_many_messages_wait_as_the_actors_have_not_taken():
    waiting = WaitingMessages()
    for number in range(WAITING_MESSAGES_MAX):
        assert waiting.take(100, waiting=number, part=1)
    assert not waiting.take(100, waiting=WAITING_MESSAGES_MAX, part=1)
    assert not waiting.take(100, waiting=WAITING_MESSAGES_MAX, part=STRANGERS_PART)
    assert waiting.take(100, waiting=WAITING_MESSAGES_MAX - 1, part=1)
    assert waiting.take(WAITING_BYTES_MAX, waiting=0, part=1)
    assert not waiting.take(1, waiting=1, part=1)
    assert waiting.take(1, waiting=0, part=1)
    assert repr(waiting) == "<WaitingMessages messages=1 bytes=1>"
