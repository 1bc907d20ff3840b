"""Who is sent what: changes are pushed, rounds repair, and nobody is sent what it has."""

from __future__ import annotations

import random
from string import ascii_lowercase

from casty.address import UniqueAddress
from casty.protocol.effects import Send, StartTimer
from casty.protocol.gossip.anti_entropy import PUSH, PUSH_ALL_MAX, PUSH_GAP, AntiEntropy, Pushes
from casty.protocol.gossip.receive import acknowledgements
from casty.protocol.gossip.tables import TableSet
from casty.protocol.gossip.versions import RECENT_MAX
from casty.protocol.messages.membership import (
    GossipDelta,
    GossipDigest,
    GossipSeen,
    GossipState,
    GossipVersions,
)
from casty.protocol.state.member import MemberStatus
from casty.protocol.state.membership_state import Gossip
from casty.protocol.state.reachability import ObserverRow
from casty.protocol.state.registry import REGISTRY, Registry, RegistrySlots
from casty.testing.samples import gossip_of, member, run_of, service_of

A, B, C, D = (run_of(name) for name in "abcd")
NOTHING = TableSet((Registry(),))


def spread_of(*states: Gossip, node: UniqueAddress = A) -> AntiEntropy:
    """Return the rules of a node that has had these versions, one after the other."""
    spread = AntiEntropy(node, 3, random.Random(1))
    for state in states:
        spread.recent.note(state)
    return spread


SPREAD = spread_of()


def of(count: int, seen: str = "a") -> Gossip:
    return gossip_of(*(member(chr(ord("a") + place)) for place in range(count)), seen=seen)


def leaving(state: Gossip, name: str) -> Gossip:
    return state.with_member(A, state.members[run_of(name)].moved_to(MemberStatus.leaving))


def to(sends: list[Send], kind: type) -> list[str]:
    return [send.to.address.host for send in sends if isinstance(send.message, kind)]


def test_small_cluster_is_told_of_a_change_at_once() -> None:
    before = of(4, seen="abcd")
    after = leaving(before, "d").seen_by(C)
    assert to(spread_of(before, after).push(after, NOTHING, 1.0), GossipDelta) == ["b", "d"]


def test_large_cluster_is_told_by_a_few() -> None:
    names = ascii_lowercase[: PUSH_ALL_MAX + 1]
    before = of(len(names), seen=names)
    after = leaving(before, "d")
    assert len(set(to(spread_of(before, after).push(after, NOTHING, 1.0), GossipDelta))) == 3


def test_change_is_all_that_is_sent_to_who_had_the_version_before() -> None:
    before = of(4, seen="abcd")
    after = leaving(before, "d")
    (send, *_) = spread_of(before, after).push(after, NOTHING, 1.0)
    assert send.message == GossipDelta(
        before.cluster_id,
        before.version_digest,
        (after.members[D],),
        (),
        (),
        after.up_numbers_given,
        ((A.incarnation, 2),),
        after.seen_bits,
    )


def test_node_of_which_no_version_is_known_is_told_the_versions() -> None:
    state = of(3)
    sends = SPREAD.push(state, NOTHING, 1.0)
    assert to(sends, GossipVersions) == ["b", "c"]
    assert sends[0].message == GossipVersions(state.cluster_id, ((A.incarnation, 1),), b"\x01", ())


def test_each_is_sent_what_changed_since_its_own_version() -> None:
    first = of(3, seen="abc")
    second = leaving(first, "b").seen_by(B)
    third = leaving(second, "c")
    one, other = (send.message for send in spread_of(first, second, third).push(third, NOTHING, 1.0))
    assert isinstance(one, GossipDelta)
    assert isinstance(other, GossipDelta)
    assert [member.id for member in one.members] == ["c"]
    assert [member.id for member in other.members] == ["b", "c"]


def test_whole_state_goes_to_who_is_further_behind_than_anybody_remembers() -> None:
    states = [of(3, seen="abc")]
    for _ in range(RECENT_MAX):
        states.append(states[-1].changed(A))
    spread = spread_of(*states)
    assert isinstance(spread.lacking(states[-1], states[1].version_digest, 1.0), GossipDelta)
    assert isinstance(spread.lacking(states[-1], states[0].version_digest, 1.0), GossipState)


def test_whoever_takes_a_version_tells_its_sender_and_the_leader() -> None:
    assert to(acknowledgements(of(4, seen="bd"), D, B), GossipSeen) == ["b", "a"]
    assert to(acknowledgements(of(4, seen="ad"), D, A), GossipSeen) == ["a"]


def test_taken_version_is_pushed_on_in_a_large_cluster_only() -> None:
    for count, passed_on in ((PUSH_ALL_MAX, 0), (PUSH_ALL_MAX + 1, 3)):
        state = of(count, seen="ab")
        pushes = Pushes(spread_of())
        pushes.take(state)
        assert len(pushes.settle(state, NOTHING, 1.0)) == passed_on


def test_many_changes_of_a_large_cluster_are_pushed_together() -> None:
    pushes, state, now = Pushes(spread_of()), of(PUSH_ALL_MAX + 1), 5.0
    assert len(pushes.settle(state, NOTHING, now)) == 3
    (timer,) = pushes.settle(leaving(state, "d"), NOTHING, now + 0.04)
    assert isinstance(timer, StartTimer)
    assert (timer.key, round(timer.delay, 6)) == (PUSH, round(PUSH_GAP - 0.04, 6))
    last = leaving(leaving(state, "d"), "e")
    assert pushes.settle(last, NOTHING, now + 0.05) == []
    assert len(pushes.push(last, NOTHING, now + PUSH_GAP)) == 3
    assert pushes.settle(last, NOTHING, now + PUSH_GAP) == []
    assert len(pushes.settle(leaving(last, "f"), NOTHING, now + 2 * PUSH_GAP)) == 3


def test_changes_of_a_small_cluster_wait_for_nothing() -> None:
    pushes, state = Pushes(spread_of()), of(3)
    for name in "bc":
        state = leaving(state, name)
        assert len(pushes.settle(state, NOTHING, 5.0)) == 2


def test_round_prefers_peers_that_have_not_seen() -> None:
    sends = SPREAD.round(of(9, seen="abcdefg"), NOTHING, 1.0)
    assert sorted(to(sends, GossipVersions)) == ["h", "i"]
    assert len(to(sends, GossipDigest)) == 1


def test_unreachable_members_take_no_round_of_the_others() -> None:
    state = of(9).with_row(A, ObserverRow().accusing(*map(run_of, "efghi")))
    for node in (A, B, C, D):
        state = state.seen_by(node)
    told = [to(SPREAD.round(state, NOTHING, 1.0), GossipDigest) for _ in range(20)]
    assert all(len(hosts) == 3 and set(hosts) <= set("bcd") for hosts in told)
    lost = [to(SPREAD.round(state, NOTHING, 1.0), GossipVersions) for _ in range(50)]
    assert all(len(hosts) == 1 for hosts in lost)
    assert {host for hosts in lost for host in hosts} == set("efghi")


def test_a_round_goes_to_who_is_lost_where_there_are_few_others() -> None:
    """A cut heals: each side still accuses the other, and nobody else has the version."""
    state = of(6).with_row(A, ObserverRow().accusing(*map(run_of, "cdef"))).seen_by(A)
    told = [to(SPREAD.round(state, NOTHING, 1.0), GossipVersions) for _ in range(50)]
    assert all(len(set(hosts)) == 3 and "b" in hosts for hosts in told)
    assert {host for hosts in told for host in hosts} == set("bcdef")


def test_a_round_goes_to_whom_this_node_hears_whatever_those_say_whom_it_does_not() -> None:
    rows = of(5)
    for observer, lost in (("a", "de"), ("d", "abc"), ("e", "abc")):
        rows = rows.with_row(run_of(observer), ObserverRow().accusing(*map(run_of, lost)))
    for node in (A, B, C):
        rows = rows.seen_by(node)
    assert all(set(to(SPREAD.round(rows, NOTHING, 1.0), GossipDigest)) == {"b", "c"} for _ in range(20))


def test_round_leaves_down_members_out() -> None:
    state = gossip_of(member("a"), member("b", "down"), member("c"))
    assert to(SPREAD.round(state, NOTHING, 1.0), GossipDigest) == ["c"]


def test_round_of_one_sends_nothing() -> None:
    assert SPREAD.round(of(1), NOTHING, 1.0) == []


def test_equal_digests_need_no_answer_and_others_the_versions() -> None:
    state = of(3, seen="abc")
    same = SPREAD.digest(state, NOTHING, B)
    assert len(same.digest) == 16
    assert SPREAD.compare(state, NOTHING, same, B) == []
    offered = NOTHING.with_table(offered_by(A))
    (answer,) = SPREAD.compare(state, offered, same, B)
    told = ((REGISTRY, ((A.incarnation, 1),)),)
    assert answer.message == GossipVersions(state.cluster_id, ((A.incarnation, 1),), b"\x07", told)


def test_digest_leaves_out_slots_of_strangers() -> None:
    state = of(2)
    strange = NOTHING.with_table(offered_by(run_of("z")))
    assert SPREAD.digest(state, strange, B) == SPREAD.digest(state, NOTHING, B)


def offered_by(node: UniqueAddress, count: int = 1) -> Registry:
    return Registry().with_own(node, frozenset(service_of(node, "cart", uid=uid) for uid in range(1, count + 1)))


def test_own_slot_is_pushed_to_everybody_and_not_passed_on() -> None:
    assert to(SPREAD.push_table(of(4), offered_by(A), {}, A), RegistrySlots) == ["b", "c", "d"]
    assert SPREAD.push_table(of(4), offered_by(A), {}, B) == []


def test_what_has_not_changed_is_pushed_to_nobody() -> None:
    assert SPREAD.push_table(of(4), offered_by(A), {A.incarnation: 1}, A) == []


def test_slot_that_arrives_in_a_large_cluster_is_passed_on() -> None:
    sends = SPREAD.push_table(of(PUSH_ALL_MAX + 1), offered_by(B), {}, B)
    assert len(sends) == 3
    assert "b" not in to(sends, RegistrySlots)


def test_large_slot_goes_to_each_peer_in_pages_in_order() -> None:
    sends = SPREAD.push_table(of(3), offered_by(A, 5_000), {}, A)
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
