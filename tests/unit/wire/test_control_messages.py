"""What nodes say to each other is the same bytes in every release of a protocol version."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Never

from casty.address import NodeAddress
from casty.protocol.gossip.state_on_wire import to_wire
from casty.protocol.membership.status import REPORT_TYPES, MemberReport, NodeReport
from casty.protocol.messages.liveness import Heartbeat, HeartbeatAck, ProbeAnswer, ProbeRequest
from casty.protocol.messages.membership import (
    ExitingConfirmed,
    GossipDelta,
    GossipDigest,
    GossipSeen,
    GossipVersions,
    Join,
    JoinAnswer,
    JoinProbe,
    JoinSettings,
    JoinState,
    JoinWithdrawn,
    ServingGrant,
    ServingRequest,
    StandingAnswer,
    StandingQuestion,
    StatePage,
    WireTypesDigest,
)
from casty.protocol.messages.watching import (
    ActorTerminated,
    ActorUnwatched,
    ActorWatched,
    TerminatedNoted,
    UnwatchActor,
    WatchActor,
)
from casty.protocol.sharding.observability.shard_listing import ShardsReport
from casty.protocol.state.membership_state import Gossip
from casty.protocol.state.reachability import ObserverRow
from casty.protocol.state.registry import RegistrySlots, SlotPage
from casty.protocol.state.rows import RowPage, TableRows
from casty.refs import ActorRef
from casty.testing.samples import control_registry, gossip_of, member, run_of
from casty.wire.codec.codec import Codec
from casty.wire.handshake import PROTOCOL_MAX

KNOWN = Path(__file__).with_name("control_messages.txt")
A, B, C = (run_of(name) for name in "abc")
JOINER = replace(member("d", "joining"), roles=frozenset({"web"}), version="1.2.3", extra=(("zone", b"x"),))
SETTINGS = JoinSettings(3, "keep_majority", (("web", 2),), WireTypesDigest(bytes(16), ("shop.Money",)), "journal-1")


def state() -> Gossip:
    members = member("a", up_number=1), member("b", "leaving", up_number=2), member("c", "down")
    changed = gossip_of(*members).without_members(A, frozenset({C}), now=10.0).with_row(B, ObserverRow().accusing(A))
    return changed.with_term(A, 300)


STATE = to_wire(state(), now=15.0)
SAMPLES = (
    Heartbeat(7),
    HeartbeatAck(7),
    ProbeRequest(A, 7),
    ProbeAnswer(7, 0.5),
    JoinProbe(JOINER, SETTINGS, 9),
    JoinAnswer(9, JoinState.refused, "no", 5, 3, True, C),
    Join(JOINER, SETTINGS, 9),
    JoinWithdrawn(),
    STATE,
    StatePage(1, 0, 2, STATE),
    GossipDelta(5, b"0123456789abcdef", STATE.members, STATE.tombstones, STATE.rows, 2, STATE.version, b"\x03", 300),
    GossipSeen(5, b"0123456789abcdef", b"\x03"),
    GossipDigest(5, b"0123456789abcdef"),
    GossipVersions(5, ((97, 3),), b"\x03", (("registry", ((97, 2),)),)),
    RegistrySlots(5, (SlotPage(A, 1, 2, 0, (), ()),)),
    TableRows(5, "shop.stock", (RowPage(A, 1, 3, 0, ((2, "milk", b"\x03"), (3, "oats", None))),)),
    ServingRequest(7),
    ServingGrant(7),
    StandingQuestion(5, 9, (A, B)),
    StandingAnswer(5, 9, (A,)),
    ExitingConfirmed(),
    WatchActor(1, "/shop", 8),
    ActorWatched(1),
    UnwatchActor(1),
    ActorUnwatched(1),
    ActorTerminated(1, "ValueError: no"),
    TerminatedNoted(1),
    NodeReport(NodeAddress("a", 1), "a", "shop", "1.2.3", "member", "", 5, NodeAddress("b", 1), True, 1),
    MemberReport(
        NodeAddress("a", 1), "a", member("a").status, frozenset(), 1, "1.2.3", True, 1, (B.address,), 0.5, None
    ),
    ShardsReport("carts", 2, (B.address,), B.address, 256, 3, (B.address,), bytes(15)),
)


def no_ref(ref: ActorRef[Never], form: object) -> Never:
    raise AssertionError("a control message holds no ref")


def test_control_messages_are_written_as_they_always_were() -> None:
    """Whoever changes one raises the protocol version, and writes the lines of it anew."""
    codec = Codec(export_ref=no_ref, import_ref=no_ref)  # type: ignore[arg-type]  # never called
    names = {entry.cls: entry.wire_name for entry in control_registry()} | REPORT_TYPES
    for message_type, name in names.items():
        codec.register(message_type, name=name)
    assert Counter(map(type, SAMPLES)) == Counter(names.keys())
    written = [f"{names[type(sample)]} {codec.frame_control(sample).hex()}" for sample in SAMPLES]
    known = [f"version {PROTOCOL_MAX}", *written]
    assert known == KNOWN.read_text(encoding="ascii").splitlines()
