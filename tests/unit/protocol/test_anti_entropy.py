"""Who is sent what: changes are pushed, rounds repair."""

from __future__ import annotations

import random

from casty.address import UniqueAddress
from casty.protocol.anti_entropy import PUSH_ALL_MAX, AntiEntropy
from casty.protocol.effects import Send
from casty.protocol.gossip import Gossip
from casty.protocol.messages import GossipDigest, GossipSeen, GossipState, RegistrySlots, RegistryVersions
from casty.protocol.registry import Registry
from casty.testing.samples import gossip_of, member, run_of, service_of

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
    offered = NOTHING.with_own(A, frozenset({service_of(A, "cart")}))
    answer = SPREAD.compare(state, offered, same, B, 1.0)
    assert [type(send.message) for send in answer] == [GossipState, RegistryVersions]


def test_digest_leaves_out_slots_of_strangers() -> None:
    state = of(2)
    strange = NOTHING.with_own(run_of("z"), frozenset({service_of(run_of("z"), "cart")}))
    assert SPREAD.digest(state, strange) == SPREAD.digest(state, NOTHING)


def offered_by(node: UniqueAddress, count: int = 1) -> Registry:
    return NOTHING.with_own(node, frozenset(service_of(node, "cart", uid=uid) for uid in range(1, count + 1)))


def test_own_slot_is_pushed_to_everybody_and_not_passed_on() -> None:
    assert to(SPREAD.push_slots(of(4), offered_by(A), {}, A), RegistrySlots) == ["b", "c", "d"]
    assert SPREAD.push_slots(of(4), offered_by(A), {}, B) == []


def test_what_has_not_changed_is_pushed_to_nobody() -> None:
    assert SPREAD.push_slots(of(4), offered_by(A), {A: 1}, A) == []


def test_slot_that_arrives_in_a_large_cluster_is_passed_on() -> None:
    sends = SPREAD.push_slots(of(12), offered_by(B), {}, B)
    assert len(sends) == 3
    assert "b" not in to(sends, RegistrySlots)


def test_large_slot_goes_to_each_peer_in_pages_in_order() -> None:
    sends = SPREAD.push_slots(of(3), offered_by(A, 5_000), {}, A)
    for host in "bc":
        pages = [
            page
            for send in sends
            if send.to.address.host == host and isinstance(send.message, RegistrySlots)
            for page in send.message.pages
        ]
        assert len(pages) > 1
        assert [page.after for page in pages[1:]] == [page.upto for page in pages[:-1]]
        assert pages[-1].upto == 5_000
