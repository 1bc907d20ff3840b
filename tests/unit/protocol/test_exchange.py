"""What a node does with a version that a peer sends."""

from __future__ import annotations

import random

import pytest

from casty.errors import DecodeError
from casty.protocol.anti_entropy import AntiEntropy
from casty.protocol.effects import Note, Send
from casty.protocol.exchange import Exchange, ExchangeMessage, Outcome
from casty.protocol.gossip import TOMBSTONE_AGE_MAX, Gossip, Relation
from casty.protocol.membership import MemberStatus
from casty.protocol.messages import (
    GossipDigest,
    GossipSeen,
    GossipState,
    RegistrySlots,
    RegistryVersions,
    clock_entries,
    to_wire,
)
from casty.protocol.paging import slot_pages
from casty.protocol.reachability import ObserverRow
from casty.protocol.registry import Registry, SlotPage
from casty.testing.samples import gossip_of, member, run_of, service_of

A, B, C = (run_of(name) for name in "abc")
STATE = gossip_of(member("a"), member("b"), member("c"))
CART = service_of(A, "cart")


def received(
    message: ExchangeMessage, state: Gossip = STATE, registry: Registry | None = None, *, sender: str = "b"
) -> Outcome:
    exchange = Exchange(A, AntiEntropy(A, 3, random.Random(1)))
    return exchange.receive(state, registry or Registry(), run_of(sender), message, 1.0)


def leaving(state: Gossip, by: str, subject: str) -> Gossip:
    return state.with_member(run_of(by), state.members[run_of(subject)].moved_to(MemberStatus.leaving))


def seen_of(state: Gossip) -> GossipSeen:
    return GossipSeen(state.cluster_id, clock_entries(state.version), tuple(sorted(state.seen)))


def test_state_of_another_cluster_is_noted_once_and_ignored() -> None:
    exchange = Exchange(A, AntiEntropy(A, 3, random.Random(1)))
    message = GossipDigest(12345, b"")
    first = exchange.receive(STATE, Registry(), B, message, 1.0)
    again = exchange.receive(STATE, Registry(), B, message, 1.0)
    assert [type(effect) for effect in first.effects] == [Note]
    assert (first.state, again.effects) == (STATE, ())


def test_stranger_is_ignored() -> None:
    outcome = received(to_wire(leaving(STATE, "b", "c"), 1.0), sender="z")
    assert outcome == Outcome(STATE, Registry())


def test_removed_run_that_still_talks_is_told() -> None:
    state = STATE.without_members(A, frozenset({B}), now=0.0)
    outcome = received(seen_of(STATE), state)
    assert outcome.effects == (Send(B, to_wire(state, 1.0)),)


def test_same_version_joins_who_has_seen() -> None:
    one = leaving(STATE, "c", "c").seen_by(A)
    outcome = received(to_wire(leaving(STATE, "c", "c").seen_by(B), 1.0), one)
    assert outcome.state.seen == {A, B, C}
    assert outcome.effects == (Send(B, seen_of(outcome.state)),)
    assert received(to_wire(outcome.state, 1.0), outcome.state).effects == ()


def test_newer_version_is_taken_and_acknowledged() -> None:
    outcome = received(to_wire(leaving(STATE, "b", "c"), 1.0))
    assert outcome.taken
    assert outcome.state.seen == {A, B}
    assert [(e.to, type(e.message)) for e in outcome.effects if isinstance(e, Send)] == [(B, GossipSeen)]


def test_older_version_is_answered_with_the_newer() -> None:
    mine = leaving(STATE, "a", "c")
    outcome = received(to_wire(STATE, 1.0), mine)
    assert (outcome.state, outcome.effects) == (mine, (Send(B, to_wire(mine, 1.0)),))


def test_concurrent_versions_are_merged_and_no_version_is_made() -> None:
    mine, theirs = leaving(STATE, "a", "c"), leaving(STATE, "b", "b")
    outcome = received(to_wire(theirs, 1.0), mine)
    assert not outcome.taken
    assert outcome.state.version == mine.version.merge(theirs.version)
    assert outcome.state.seen == {A}
    assert [m.status.name for m in outcome.state.ordered] == ["up", "leaving", "leaving"]


def test_pruned_version_is_taken_for_good() -> None:
    full = STATE.with_row(C, ObserverRow().accusing(B)).without_members(B, frozenset({C}), now=0.0)
    pruned = full.without_old_tombstones(B, TOMBSTONE_AGE_MAX + 1.0)
    outcome = received(to_wire(pruned, 1.0), full)
    assert outcome.taken
    assert outcome.state.relation_of(pruned) is Relation.same
    assert not outcome.state.tombstones


def test_state_that_contradicts_itself_changes_nothing() -> None:
    wire = to_wire(STATE, 1.0)
    with pytest.raises(DecodeError):
        received(GossipState(wire.cluster_id, wire.members, ((A, 1.0),), (), 0, wire.version, ()))


def test_acknowledgement_of_the_same_version_is_joined() -> None:
    mine = leaving(STATE, "a", "c")
    outcome = received(seen_of(mine.seen_by(B, C)), mine)
    assert (outcome.state.seen, outcome.effects) == ({A, B, C}, ())


def test_acknowledgement_of_an_older_version_is_left_to_the_push() -> None:
    assert received(seen_of(STATE), leaving(STATE, "a", "c")).effects == ()


def test_acknowledgement_of_an_unknown_version_asks_by_sending_the_own_state() -> None:
    assert received(seen_of(leaving(STATE, "b", "c"))).effects == (Send(B, to_wire(STATE, 1.0)),)


def pages_of(*names: str) -> tuple[SlotPage, ...]:
    registry = Registry()
    for name in names:
        registry = registry.with_own(run_of(name), frozenset({service_of(run_of(name), "cart")}))
    ((*pages,),) = slot_pages(registry, {})
    return tuple(pages)


def test_newer_slots_are_taken_except_of_removed_runs_and_of_this_one() -> None:
    state = STATE.without_members(A, frozenset({C}), now=0.0)
    outcome = received(RegistrySlots(state.cluster_id, pages_of("a", "b", "c")), state)
    assert outcome.registry.entries({A, B, C}) == {service_of(B, "cart")}


def test_one_slot_twice_in_a_message_is_a_decode_error() -> None:
    with pytest.raises(DecodeError, match="distinct"):
        received(RegistrySlots(STATE.cluster_id, pages_of("b") * 2))


def test_question_for_slots_is_answered_and_returned_where_this_node_lacks_some() -> None:
    registry = Registry().with_own(A, frozenset({CART}))
    question = RegistryVersions(STATE.cluster_id, ((B, 4),))
    outcome = received(question, registry=registry)
    assert outcome.effects == (
        Send(B, RegistrySlots(STATE.cluster_id, pages_of("a"))),
        Send(B, RegistryVersions(STATE.cluster_id, ((A, 1),))),
    )
    assert received(RegistryVersions(STATE.cluster_id, ((A, 1),)), registry=registry).effects == ()
