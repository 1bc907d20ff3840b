"""Who is sent what: changes are pushed, rounds repair."""

from __future__ import annotations

import random

from casty.protocol.anti_entropy import PUSH_ALL_MAX, AntiEntropy
from casty.protocol.effects import Send
from casty.protocol.gossip import Gossip
from casty.protocol.messages import GossipDigest, GossipSeen, GossipState, RegistrySlots, RegistryVersions
from casty.protocol.registry import SERVICES_PER_NODE_MAX, Registry, Slot
from casty.testing.samples import gossip_of, member, run_of

A, B, C, D = (run_of(name) for name in "abcd")
SPREAD = AntiEntropy(A, 3, random.Random(1))
NOTHING = Registry()


def of(count: int, seen: str = "a") -> Gossip:
    return gossip_of(*(member(chr(ord("a") + place)) for place in range(count)), seen=seen)


def to(sends: list[Send], kind: type) -> list[str]:
    return [send.to.address.host for send in sends if isinstance(send.message, kind)]


def test_small_cluster_is_told_of_a_change_at_once() -> None:
    assert to(SPREAD.push(of(4, seen="ac"), 1.0), GossipState) == ["b", "d"]


def test_large_cluster_is_told_by_a_few() -> None:
    assert len(set(to(SPREAD.push(of(PUSH_ALL_MAX + 1), 1.0), GossipState))) == 3


def test_whoever_takes_a_version_tells_its_sender_and_the_leader() -> None:
    spread = AntiEntropy(D, 3, random.Random(1))
    assert to(spread.taken(of(4, seen="bd"), B, 1.0), GossipSeen) == ["b", "a"]
    assert to(spread.taken(of(4, seen="ad"), A, 1.0), GossipSeen) == ["a"]


def test_taken_version_is_pushed_on_in_a_large_cluster_only() -> None:
    assert to(SPREAD.taken(of(4, seen="ab"), B, 1.0), GossipState) == []
    assert len(to(SPREAD.taken(of(11, seen="ab"), B, 1.0), GossipState)) == 3


def test_round_prefers_peers_that_have_not_seen() -> None:
    sends = SPREAD.round(of(9, seen="abcdefg"), NOTHING, 1.0)
    assert sorted(to(sends, GossipState)) == ["h", "i"]
    assert len(to(sends, GossipDigest)) == 1


def test_round_leaves_down_members_out() -> None:
    state = gossip_of(member("a"), member("b", "down"), member("c"))
    assert to(SPREAD.round(state, NOTHING, 1.0), GossipDigest) == ["c"]


def test_round_of_one_sends_nothing() -> None:
    assert SPREAD.round(of(1), NOTHING, 1.0) == []


def test_equal_digests_need_no_answer_and_others_get_everything_compared() -> None:
    state = of(3, seen="abc")
    same = GossipDigest(state.cluster_id, SPREAD.digest(state, NOTHING))
    assert SPREAD.compare(state, NOTHING, same, B, 1.0) == []
    offered = NOTHING.with_own(A, [("cart", "/cart", 1)])
    answer = SPREAD.compare(state, offered, same, B, 1.0)
    assert [type(send.message) for send in answer] == [GossipState, RegistryVersions]


def test_digest_leaves_out_slots_of_strangers() -> None:
    state = of(2)
    strange = NOTHING.with_own(run_of("z"), [("cart", "/cart", 1)])
    assert SPREAD.digest(state, strange) == SPREAD.digest(state, NOTHING)


def test_own_slot_is_pushed_to_everybody_and_not_passed_on() -> None:
    slots = {A: Slot(1, (("cart", "/cart", 1),))}
    assert to(SPREAD.push_slots(of(4), slots, A), RegistrySlots) == ["b", "c", "d"]
    assert SPREAD.push_slots(of(4), slots, B) == []


def test_slot_that_arrives_in_a_large_cluster_is_passed_on() -> None:
    sends = SPREAD.push_slots(of(12), {B: Slot(1)}, B)
    assert len(sends) == 3
    assert "b" not in to(sends, RegistrySlots)


def test_slots_travel_in_messages_of_a_bounded_size() -> None:
    many = tuple((f"k{number}", "/k", number) for number in range(SERVICES_PER_NODE_MAX // 2))
    sends = SPREAD.send_slots(of(4), {node: Slot(1, many) for node in (A, B, C)}, D)
    sent = [message.slots for message in (send.message for send in sends) if isinstance(message, RegistrySlots)]
    assert [len(part) for part in sent] == [1, 1, 1]
    assert [owner for part in sent for owner, _ in part] == [A, B, C]
