"""Who waits for room among the messages that wait for actors of another node."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import trio
import trio.testing

from casty.address import NodeAddress, UniqueAddress
from casty.cluster.remoting.paused_sends import FOR_MEMBERS, PausedSends
from casty.config import TransportLimits
from casty.wire.chunking.chunks import ChunkOutcome, number_of
from casty.wire.envelope import encode_wait
from casty.wire.frame import FrameKind, Lane, frame

THERE = UniqueAddress(NodeAddress("there", 1), 1)


@dataclass
class Transport:
    """Takes everything, and sends nothing."""

    numbers: list[int] = field(default_factory=list)
    held: list[bytes] = field(default_factory=list)
    members: set[UniqueAddress] = field(default_factory=lambda: {THERE})

    def is_of_members(self, to: UniqueAddress) -> bool:
        return to in self.members

    def dial(self, address: NodeAddress, lane: Lane) -> None:
        pass

    def send(self, to: UniqueAddress, lane: Lane, data: bytes) -> bool:
        self.numbers.append(number_of(data))
        return True

    async def send_wait(self, to: UniqueAddress, lane: Lane, data: bytes, deadline: float | None = None) -> None:
        self.send(to, lane, data)

    def send_held(self, to: UniqueAddress, lane: Lane, frames: list[bytes]) -> None:
        self.held += frames


def large() -> bytes:
    return frame(FrameKind.ENVELOPE, b"\0\1\0" + encode_wait(60.0, 1) + bytes(300_000))


@pytest.fixture
def transport() -> Transport:
    return Transport()


@pytest.fixture
def holds(autojump_clock, transport) -> PausedSends:
    limits = TransportLimits(outbound_messages_max=6, frame_bytes_max=262_144)
    return PausedSends(transport, limits, trio.current_time, lambda to, frames, reason: None)


def messages(holds: PausedSends) -> int:
    return sum(peer.messages for peer in holds.by_peer.values())


def waiting(holds: PausedSends) -> int:
    return sum(len(peer.room) for peer in holds.by_peer.values())


async def one_arrives(holds: PausedSends, transport: Transport) -> None:
    holds.arrived(THERE, transport.numbers.pop(0), ChunkOutcome.complete)
    await trio.testing.wait_all_tasks_blocked()


async def test_requests_wait_for_half_of_the_room_and_leave_the_rest_to_what_cannot_wait(
    holds, transport, nursery
) -> None:
    for number in range(6):
        assert holds.tell(THERE, f"/{number}", large())
    for number in (10, 11):
        nursery.start_soon(holds.send, THERE, f"/{number}", large(), 1_000.0)
    await trio.testing.wait_all_tasks_blocked()
    assert not holds.tell(THERE, "/x", large())
    await one_arrives(holds, transport)
    nursery.start_soon(holds.send, THERE, "/12", large(), 1_000.0)
    await trio.testing.wait_all_tasks_blocked()
    assert (messages(holds), waiting(holds)) == (5, 3), "a request that comes later does not pass those who wait"
    assert holds.tell(THERE, "/x", large())
    for left in (5, 4, 3):
        await one_arrives(holds, transport)
        assert (messages(holds), waiting(holds)) == (left, 3)
    for left in (2, 1, 0):
        await one_arrives(holds, transport)
        assert (messages(holds), waiting(holds)) == (3, left)


async def test_requests_compete_with_who_sends_for_all_of_the_room(holds, transport, nursery) -> None:
    for number in range(6):
        assert holds.tell(THERE, f"/{number}", large())
    async with trio.open_nursery() as senders:
        for number in range(3):
            senders.start_soon(holds.send, THERE, f"/sender-{number}", large())
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(holds.send, THERE, "/asked", large(), 1_000.0)
        await trio.testing.wait_all_tasks_blocked()
        await one_arrives(holds, transport)
        assert (messages(holds), waiting(holds)) == (6, 3)
        assert not holds.tell(THERE, "/x", large()), "senders are not passed"
        senders.cancel_scope.cancel()
    assert all(peer.senders == 0 for peer in holds.by_peer.values())


@pytest.mark.parametrize("other", [UniqueAddress(THERE.address, 2), UniqueAddress(NodeAddress("else", 1), 1)])
async def test_only_the_run_that_asked_to_hold_back_lets_go_on(holds, transport, other) -> None:
    holds.pause(THERE, "/x")
    assert holds.tell(THERE, "/x", frame(FrameKind.ENVELOPE, b"\0\1\0"))
    holds.resume(other, "/x")
    holds.resume_all(other)
    assert transport.held == []
    holds.resume(THERE, "/x")
    assert len(transport.held) == 1


async def test_only_the_run_that_a_large_message_went_to_says_what_became_of_it(holds, transport) -> None:
    assert holds.tell(THERE, "/x", large())
    number = transport.numbers[0]
    for fate in ChunkOutcome:
        holds.arrived(UniqueAddress(THERE.address, 2), number, fate)
    assert messages(holds) == 1
    assert transport.held == []
    holds.arrived(THERE, number, ChunkOutcome.complete)
    assert len(transport.held) == 1


async def test_what_is_larger_than_a_frame_is_not_kept_for_who_is_no_member(autojump_clock):
    dead: list[tuple[UniqueAddress, list[bytes], str]] = []
    limits = TransportLimits(outbound_messages_max=6, frame_bytes_max=262_144)
    transport = Transport(members=set())
    holds = PausedSends(
        transport, limits, trio.current_time, lambda to, frames, reason: dead.append((to, [*frames], reason))
    )
    assert not holds.tell(THERE, "/sink", large())
    await holds.send(THERE, "/sink", large())
    await holds.send(THERE, "/sink", large(), deadline=trio.current_time() + 60)
    assert dead == [(THERE, [large()], FOR_MEMBERS)] * 2
    assert not (transport.numbers or holds.by_actor or holds.by_peer or holds.large)
    transport.members.add(THERE)
    assert holds.tell(THERE, "/sink", large())


async def test_who_waits_for_room_and_is_no_member_any_more_gets_a_dead_letter(autojump_clock):
    dead: list[str] = []
    limits = TransportLimits(outbound_messages_max=1, frame_bytes_max=262_144)
    transport = Transport()
    holds = PausedSends(transport, limits, trio.current_time, lambda to, frames, reason: dead.append(reason))
    assert holds.tell(THERE, "/sink", large())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(holds.send, THERE, "/sink", large())
        await trio.testing.wait_all_tasks_blocked()
        transport.members.clear()
        holds.forget(THERE, "the node was removed")
    assert dead == ["the node was removed", FOR_MEMBERS]
    assert not holds.by_peer
