"""What a node does with a version that a peer sends."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest

from casty.address import UniqueAddress
from casty.errors import DecodeError
from casty.protocol.effects import Note, Send, TimerFired
from casty.protocol.gossip import receive as exchange_module
from casty.protocol.gossip.handover import (
    GossipCame,
    HandOver,
    SeenOfOther,
    SendLacking,
    SendVersions,
    StatePublished,
    TableChanged,
    TableWritten,
    UnknownTables,
)
from casty.protocol.gossip.machine import EARLY_MAX, GOSSIP, Dissemination
from casty.protocol.gossip.receive import FOREIGN_NOTED_MAX, TELL_EVERY, ExchangeMessage, GossipReceiver, Outcome
from casty.protocol.gossip.state_on_wire import CHANGES_MAX, clock_entries, difference, seen_on_wire, to_wire
from casty.protocol.gossip.tables import TableSet, tables_told
from casty.protocol.messages.membership import (
    AntiEntropyMessage,
    GossipDelta,
    GossipDigest,
    GossipSeen,
    GossipState,
    GossipVersions,
)
from casty.protocol.state.member import MemberStatus
from casty.protocol.state.membership_state import TOMBSTONE_AGE_MAX, Gossip, Relation
from casty.protocol.state.reachability import ObserverRow
from casty.protocol.state.registry import REGISTRY, Registry, RegistrySlots, SlotPage
from casty.protocol.state.rows import RowPage, RowTable, TableRows
from casty.testing.samples import gossip_of, member, run_of, service_of

A, B, C = (run_of(name) for name in "abc")
STATE = gossip_of(member("a"), member("b"), member("c"))
CART = service_of(A, "cart")


@dataclass(frozen=True)
class Followed:
    """What a node knows after a message, and what it sends."""

    state: Gossip
    registry: Registry = Registry()
    effects: tuple[object, ...] = ()
    taken: bool = False


class Node:
    """What receives at node a, with its gossip, which has the states that were published before."""

    def __init__(self, *published: Gossip, registry: Registry | None = None) -> None:
        self.receiver = GossipReceiver(A, random.Random(1))
        self.gossip = Dissemination(A, 1.0, 3, random.Random(1), TableSet((registry or Registry(),)))
        for state in published:
            self.publish(state)

    def publish(self, state: Gossip) -> Sequence[object]:
        self.receiver.recent.note(state)
        return self.gossip.handle(StatePublished(state, is_spread=True), 1.0)

    def receive(self, state: Gossip, sender: UniqueAddress, message: object, now: float) -> Followed:
        """Return what follows at both, as their node sends it."""
        outcome, sends = Outcome(state), list[object]()
        waiting: list[object] = [HandOver(sender, message)]  # type: ignore[arg-type]  # of any kind
        if isinstance(message, AntiEntropyMessage):
            waiting = [*self.gossip.handle(GossipCame(sender, message), now)]
        while waiting:
            effect = waiting.pop(0)
            match effect:
                case HandOver():
                    outcome = self.receiver.receive(outcome.state, sender, effect.message, now)
                    waiting[:0] = outcome.effects
                case TableChanged():
                    pass
                case SendLacking() | SendVersions() | SeenOfOther():
                    sends += self.gossip.handle(effect, now)
                case _:
                    sends.append(effect)
        return Followed(outcome.state, self.gossip.tables.get(REGISTRY), tuple(sends), outcome.taken)


def received(
    message: ExchangeMessage,
    state: Gossip = STATE,
    registry: Registry | None = None,
    *,
    sender: str = "b",
    had: Sequence[Gossip] = (),
) -> Followed:
    """Return what follows at node a, which has ``had`` these versions before ``state``."""
    return Node(*had, state, registry=registry).receive(state, run_of(sender), message, 1.0)


def leaving(state: Gossip, by: str, subject: str) -> Gossip:
    return state.with_member(run_of(by), state.members[run_of(subject)].moved_to(MemberStatus.leaving))


def delta_of(base: Gossip, state: Gossip) -> GossipDelta:
    delta = difference(base, state, 1.0)
    assert delta is not None
    return delta


def versions_of(state: Gossip, *slots: tuple[int, int]) -> GossipVersions:
    told = ((REGISTRY, slots),) if slots else ()
    return GossipVersions(state.cluster_id, clock_entries(state.version), state.seen_bits, told)


def test_state_of_another_cluster_is_noted_once_and_ignored() -> None:
    exchange = Node(STATE)
    message = GossipDigest(12345, b"")
    first = exchange.receive(STATE, B, message, 1.0)
    again = exchange.receive(STATE, B, message, 1.0)
    assert [type(effect) for effect in first.effects] == [Note]
    assert (first.state, again.effects) == (STATE, ())


def test_many_foreign_clusters_do_not_keep_the_next_from_being_noted() -> None:
    exchange = Node(STATE)
    for number in range(3 * FOREIGN_NOTED_MAX):
        outcome = exchange.receive(STATE, run_of(f"z{number}"), GossipDigest(12345, b""), 1.0)
        assert [type(effect) for effect in outcome.effects] == [Note]


def test_a_removed_run_that_talks_without_end_is_told_now_and_then() -> None:
    state = replace(gossip_of(member("a"), member("b")), tombstones={C: 0.0})
    exchange = Node(state)
    told = 0
    for step in range(1_000):
        outcome = exchange.receive(state, C, GossipDigest(state.cluster_id, b""), 1.0 + step / 100)
        told += len(outcome.effects)
    assert told == 10 / TELL_EVERY


def test_stranger_is_ignored() -> None:
    outcome = received(to_wire(leaving(STATE, "b", "c"), 1.0), sender="z")
    assert outcome == Followed(STATE)


def test_removed_run_that_still_talks_is_told() -> None:
    state = STATE.without_members(A, frozenset({B}), now=0.0)
    outcome = received(seen_on_wire(STATE), state)
    assert outcome.effects == (Send(B, to_wire(state, 1.0)),)


def test_the_state_of_a_member_that_is_down_changes_nothing_and_it_is_told() -> None:
    state = STATE.with_moved(A, {B}, MemberStatus.down)
    outcome = received(to_wire(leaving(STATE, "b", "c"), 1.0), state)
    assert outcome == Followed(state, effects=(Send(B, to_wire(state, 1.0)),))


def test_a_member_that_gives_itself_up_says_so_itself() -> None:
    outcome = received(to_wire(STATE.with_moved(B, {B}, MemberStatus.down), 1.0))
    assert outcome.state.members[B].status is MemberStatus.down


def test_who_is_said_to_accuse_somebody_says_once_more_whom_it_accuses() -> None:
    said = STATE.changed(B, rows={A: ObserverRow(7, frozenset({B, C}))})
    outcome = received(to_wire(said, 1.0))
    assert outcome.state.rows[A] == ObserverRow(8, frozenset())
    assert outcome.state.seen == {A}
    assert not outcome.taken, "it is a version of this node, which pushes it"
    unchanged = STATE.with_row(A, ObserverRow().accusing(C))
    kept = received(to_wire(leaving(unchanged, "b", "b"), 1.0), unchanged)
    assert kept.state.rows[A] == ObserverRow(1, frozenset({C}))
    assert kept.taken


def test_a_run_that_was_removed_says_nothing_more() -> None:
    state = STATE.with_row(A, ObserverRow().accusing(B, C)).with_moved(C, {A}, MemberStatus.down)
    outcome = received(to_wire(state.without_members(C, frozenset({A}), 0.0), 1.0), state)
    assert A not in outcome.state.members
    assert outcome.state.seen <= outcome.state.members.keys()


def test_same_version_joins_who_has_seen() -> None:
    one = leaving(STATE, "c", "c").seen_by(A)
    outcome = received(to_wire(leaving(STATE, "c", "c").seen_by(B), 1.0), one)
    assert outcome.state.seen == {A, B, C}
    assert outcome.effects == (Send(B, seen_on_wire(outcome.state)),)
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


@pytest.mark.parametrize("is_whole", [True, False])
def test_who_joins_has_seen_what_is_known_here_though_it_knows_of_something_else(is_whole: bool) -> None:
    """C, which made the other change, told Z alone, and has gone: what Z says of B counts for nothing, and Z for Z."""
    mine = gossip_of(*map(member, "abc"), member("z", "joining"), seen="a").with_row(A, ObserverRow().accusing(C))
    theirs = leaving(mine.seen_by(run_of("z")), "c", "b").seen_by(run_of("z"))
    message = to_wire(theirs, 1.0) if is_whole else delta_of(mine, theirs)
    outcome = received(message, mine, sender="z")
    assert outcome.state == mine.seen_by(run_of("z"))
    assert run_of("z") in outcome.state.seen


def test_who_joins_has_not_seen_what_it_lacks() -> None:
    known = gossip_of(*map(member, "abc"), member("z", "joining"))
    mine = known.with_row(A, ObserverRow().accusing(C))
    theirs = leaving(known.seen_by(run_of("z")), "c", "b").seen_by(run_of("z"))
    for message in (to_wire(theirs, 1.0), delta_of(known, theirs)):
        assert run_of("z") not in received(message, mine, sender="z", had=[known]).state.seen


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
        received(GossipState(wire.cluster_id, wire.members, ((A, 1.0),), (), 0, wire.version, b""))


def test_acknowledgement_of_the_same_version_is_joined() -> None:
    mine = leaving(STATE, "a", "c")
    outcome = received(seen_on_wire(mine.seen_by(B, C)), mine)
    assert (outcome.state.seen, outcome.effects) == ({A, B, C}, ())


def test_acknowledgement_of_an_older_version_is_left_to_the_push() -> None:
    mine = leaving(STATE, "a", "c")
    assert received(seen_on_wire(STATE), mine, had=[STATE]).effects == ()


def test_who_acknowledged_an_older_version_is_sent_the_changes_since() -> None:
    old = leaving(STATE, "a", "b")
    mine = leaving(old, "a", "c")
    node = Node(old, mine)
    node.receive(mine, B, seen_on_wire(old.seen_by(B)), 1.0)
    newest = leaving(mine, "a", "a")
    assert Send(B, delta_of(old, newest)) in node.gossip.handle(StatePublished(newest), 2.0)


def test_acknowledgement_of_an_unknown_version_is_answered_with_the_own_versions() -> None:
    assert received(seen_on_wire(leaving(STATE, "b", "c"))).effects == (Send(B, versions_of(STATE)),)


@pytest.mark.parametrize("bits", [b"", b"\x00\x00", b"\x08"])
def test_acknowledgement_by_who_cannot_be_a_member_is_a_decode_error(bits: bytes) -> None:
    with pytest.raises(DecodeError, match="a bit for each of 3 members"):
        received(GossipSeen(STATE.cluster_id, STATE.version_digest, bits))


def test_difference_is_taken_and_acknowledged_like_the_whole() -> None:
    newer = leaving(STATE, "b", "c")
    outcome, whole = received(delta_of(STATE, newer)), received(to_wire(newer, 1.0))
    assert outcome == whole
    assert outcome.taken


def test_difference_brings_removed_members_and_accusations() -> None:
    newer = STATE.with_row(B, ObserverRow().accusing(A)).without_members(B, frozenset({C}), now=0.5)
    assert received(delta_of(STATE, newer)).state == newer.seen_by(A)


def test_difference_to_a_version_that_this_node_is_past_of_is_merged_into_its_own() -> None:
    mine, theirs = leaving(STATE, "a", "c"), leaving(STATE, "b", "b")
    outcome = received(delta_of(STATE, theirs), mine, had=[STATE])
    assert outcome == received(to_wire(theirs, 1.0), mine)
    assert not outcome.taken


def test_difference_that_brings_nothing_new_is_answered_with_what_its_sender_lacks() -> None:
    first = leaving(STATE, "b", "b")
    mine = leaving(first, "a", "c")
    outcome = received(delta_of(STATE, first), mine, had=[STATE, first])
    assert (outcome.state, outcome.effects) == (mine, (Send(B, delta_of(first, mine)),))


def test_difference_to_the_own_version_joins_who_has_seen() -> None:
    mine = leaving(STATE, "b", "c").seen_by(A)
    outcome = received(delta_of(STATE, mine.seen_by(C)), mine, had=[STATE])
    assert outcome.state.seen == {A, B, C}


def test_difference_to_a_version_that_this_node_never_had_is_answered_with_its_versions() -> None:
    first = leaving(STATE, "b", "b")
    outcome = received(delta_of(first, leaving(first, "b", "c")))
    assert (outcome.state, outcome.effects) == (STATE, (Send(B, versions_of(STATE)),))


def test_difference_to_a_version_from_before_a_pruning_is_not_merged() -> None:
    full = STATE.without_members(B, frozenset({C}), now=0.0)
    pruned = full.without_old_tombstones(A, TOMBSTONE_AGE_MAX + 1.0)
    outcome = received(delta_of(full, leaving(full, "b", "b")), pruned, had=[full])
    assert (outcome.state, outcome.effects) == (pruned, (Send(B, versions_of(pruned)),))


def test_no_difference_is_made_where_something_was_pruned_or_too_much_has_changed() -> None:
    full = STATE.without_members(B, frozenset({C}), now=0.0)
    assert difference(full, full.without_old_tombstones(B, TOMBSTONE_AGE_MAX + 1.0), 1.0) is None
    joined = STATE
    for number in range(CHANGES_MAX):
        joined = joined.with_member(A, member(f"n{number:03}", "joining"))
    assert difference(STATE, joined, 1.0) is not None
    assert difference(STATE, joined.with_member(A, member("z", "joining")), 1.0) is None


def test_changes_to_more_members_than_there_may_be_are_a_decode_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange_module, "MEMBERS_MAX", 3)
    with pytest.raises(DecodeError, match="more than 3 members"):
        received(delta_of(STATE, STATE.with_member(B, member("d", "joining"))))


def test_older_version_is_brought_what_it_lacks() -> None:
    mine = leaving(STATE, "a", "c")
    assert received(versions_of(STATE), mine, had=[STATE]).effects == (Send(B, delta_of(STATE, mine)),)
    assert received(versions_of(STATE), mine).effects == (Send(B, to_wire(mine, 1.0)),)


def test_newer_version_is_asked_for() -> None:
    assert received(versions_of(leaving(STATE, "b", "c"))).effects == (Send(B, versions_of(STATE)),)


def test_version_beside_the_own_is_sent_the_whole_to_merge() -> None:
    mine = leaving(STATE, "a", "c")
    assert received(versions_of(leaving(STATE, "b", "b")), mine).effects == (Send(B, to_wire(mine, 1.0)),)


def test_versions_of_equals_join_who_has_seen() -> None:
    mine = leaving(STATE, "c", "c").seen_by(A)
    outcome = received(versions_of(leaving(STATE, "c", "c").seen_by(B)), mine)
    assert outcome.state.seen == {A, B, C}
    assert outcome.effects == (Send(B, seen_on_wire(mine)),), "what was published here, which B lacks"
    assert received(versions_of(outcome.state), outcome.state).effects == ()


def pages_of(*names: str) -> tuple[SlotPage, ...]:
    registry = Registry()
    for name in names:
        registry = registry.with_own(run_of(name), frozenset({service_of(run_of(name), "cart")}))
    ((*pages,),) = registry.pages_after({})
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
    outcome = received(versions_of(STATE, (B.incarnation, 4)), registry=registry)
    assert outcome.effects == (
        Send(B, RegistrySlots(STATE.cluster_id, pages_of("a"))),
        Send(B, versions_of(STATE, (A.incarnation, 1))),
    )
    assert received(versions_of(STATE, (A.incarnation, 1)), registry=registry).effects == ()


def test_slots_of_whom_nobody_knows_are_not_asked_for() -> None:
    assert received(versions_of(STATE, (12345, 4))).effects == ()


def test_more_slots_than_members_are_a_decode_error() -> None:
    slots = [(number, 1) for number in range(1, 2_000)]
    with pytest.raises(DecodeError, match="parts of a table"):
        received(versions_of(STATE, *slots))


def test_tables_unknown_here_are_ignored_and_noted() -> None:
    node = Node(STATE)
    pages = TableRows(STATE.cluster_id, "newer.one", (RowPage(B, 9, 1, -1, ((7, "", b""),)),))
    assert node.receive(STATE, B, pages, 1.0).effects == (UnknownTables(B, ("newer.one",)),)
    told = replace(versions_of(STATE), tables=(("newer.one", ((1, 5),) * 2_000), ("newer.two", ())))
    assert node.receive(STATE, B, told, 1.0).effects == (UnknownTables(B, ("newer.one", "newer.two")),)


def test_a_table_that_a_member_lacks_is_kept_from_it_and_from_the_digest_for_it() -> None:
    with_it = replace(STATE.members[B], extra=tables_told(["shop.stock"]))
    state = STATE.with_member(A, with_it).seen_by(B).seen_by(C)
    gossip = Dissemination(A, 1.0, 3, random.Random(1), TableSet((Registry(), RowTable(name="shop.stock"))))
    gossip.handle(StatePublished(state), 1.0)
    sends = gossip.handle(TableWritten("shop.stock", {"milk": b"1"}), 1.0)
    assert [effect.to for effect in sends if isinstance(effect, Send)] == [B]
    digests = {e.to: e.message for e in gossip.handle(TimerFired(GOSSIP), 2.0) if isinstance(e, Send)}
    plain = Dissemination(A, 1.0, 3, random.Random(1), TableSet((Registry(),)))
    plain.handle(StatePublished(state), 1.0)
    plain_digests = {e.to: e.message for e in plain.handle(TimerFired(GOSSIP), 2.0) if isinstance(e, Send)}
    assert digests[C] == plain_digests[C]
    assert digests[B] != plain_digests[B]


def test_a_write_to_a_table_that_is_not_there_is_a_value_error() -> None:
    with pytest.raises(ValueError, match=r"no table 'shop\.stock'"):
        Node(STATE).gossip.handle(TableWritten("shop.stock", {}), 1.0)


def test_two_nodes_with_news_for_each_other_say_it_once_while_the_pages_are_under_way() -> None:
    """Pages of rows have a lane of their own, on which there may be much before them."""
    with_it = tables_told(["shop.stock"])
    state = STATE.with_member(A, replace(STATE.members[A], extra=with_it))
    state = state.with_member(A, replace(state.members[B], extra=with_it)).seen_by(B).seen_by(C)
    nodes: dict[UniqueAddress, Dissemination] = {}
    for node in (A, B):
        table = RowTable(name="shop.stock").with_own(node, {"own": bytes(60_000)})
        nodes[node] = Dissemination(node, 1.0, 3, random.Random(1), TableSet((Registry(), table)))
        nodes[node].handle(StatePublished(state), 1.0)
    under_way: list[tuple[UniqueAddress, Send]] = []
    late = list[tuple[UniqueAddress, Send]]()
    for round_trips in range(50):
        now = 2.0 + round_trips / 1_000
        fired = nodes[A].handle(TimerFired(GOSSIP), now) if round_trips == 0 else ()
        waiting = [*under_way, *((A, effect) for effect in fired if isinstance(effect, Send))]
        under_way = []
        for sender, send in waiting:
            if isinstance(send.message, TableRows):
                late.append((sender, send))
            elif send.to in nodes:
                effects = nodes[send.to].handle(GossipCame(sender, send.message), now)
                under_way += [(send.to, effect) for effect in effects if isinstance(effect, Send)]
    assert 1 <= len(late) <= 2
    assert under_way == []
    for sender, send in late:
        nodes[send.to].handle(GossipCame(sender, send.message), 2.1)
    tables = [node.tables.get("shop.stock") for node in nodes.values()]
    assert tables[0] == tables[1]


def cart_of(owner: UniqueAddress) -> RegistrySlots:
    registry = Registry().with_own(owner, frozenset({service_of(owner, "cart")}))
    (message,) = registry.messages(STATE.cluster_id, {})
    assert isinstance(message, RegistrySlots)
    return message


def test_pages_that_come_before_the_news_of_their_sender_are_asked_for_again() -> None:
    node, late = Node(STATE), run_of("d")
    first = node.gossip.handle(GossipCame(late, cart_of(late)), 1.0)
    assert first == [HandOver(late, cart_of(late))]
    state = STATE.with_member(A, member("d"))
    asked = [effect for effect in node.publish(state) if isinstance(effect, Send)]
    assert [effect.to for effect in asked if isinstance(effect.message, GossipVersions)] == [late]
    again = node.publish(state.with_member(A, member("e")))
    assert not [effect for effect in again if isinstance(effect, Send) and isinstance(effect.message, GossipVersions)]


def test_only_the_last_early_senders_are_remembered() -> None:
    node = Node(STATE)
    late = [run_of(f"late{number}") for number in range(EARLY_MAX + 1)]
    for sender in late:
        node.gossip.handle(GossipCame(sender, cart_of(sender)), 1.0)
    state = STATE.with_member(A, member("late0")).with_member(A, member("late1"))
    asked = [send.to for send in node.publish(state) if isinstance(send, Send)]
    assert asked == [late[1]]
