"""Who acts on a decision about lost members, what must be known first, and the claim to a lease."""

from __future__ import annotations

from collections.abc import Sequence

from casty.lease import LeaseClaim
from casty.protocol.effects import StartTimer
from casty.protocol.split_brain.downing import Downing
from casty.protocol.split_brain.resolver import (
    CLAIM,
    DOWNING,
    AcquireLease,
    DowningDecision,
    LeaseAnswered,
    SplitBrainResolver,
)
from casty.protocol.split_brain.seen_tracker import SeenTracker
from casty.protocol.split_brain.strategies import KeepMajority, LeaseMajority, StaticQuorum, Strategy
from casty.protocol.state.membership_state import Gossip
from casty.protocol.state.reachability import ObserverRow
from casty.testing.samples import CLUSTER_ID, gossip_of, member, run_of

A, B, C, D, E = (run_of(name) for name in "abcde")
FIVE = gossip_of(*map(member, "abcde"))
LEASE = LeaseMajority("lease", minority_delay=2.0)


def split(observer: str, lost: str, state: Gossip = FIVE) -> Gossip:
    row = ObserverRow()
    for name in lost:
        row = row.accusing(run_of(name))
    return state.with_row(run_of(observer), row)


def resolver(own: str, state: Gossip, strategy: Strategy, *, seen: str = "") -> SplitBrainResolver:
    """Return the machine of a node that found itself in ``state`` at 0.0, and knows that ``seen`` have, too."""
    seen_tracker = SeenTracker()
    seen_tracker.observe(state.seen_by(*(run_of(name) for name in seen)), 0.0)
    machine = SplitBrainResolver(run_of(own), Downing(strategy), seen_tracker)
    assert machine.observe(state, 0.0) == [StartTimer(DOWNING, 7.0)]
    return machine


def claims(effects: Sequence[object]) -> list[LeaseClaim]:
    return [effect.claim for effect in effects if isinstance(effect, AcquireLease)]


def claim_of(side: str, others: str) -> LeaseClaim:
    mine, theirs = (frozenset(str(run_of(name)) for name in names) for names in (side, others))
    return LeaseClaim(f"{CLUSTER_ID:016x}", mine, theirs)


def test_leader_downs_the_others_when_all_of_its_side_know_of_the_accusations() -> None:
    state = split("a", "de")
    assert resolver("a", state, KeepMajority(), seen="bc").timer(state, DOWNING, 7.0) == DowningDecision(
        frozenset({D, E})
    )


def test_leader_waits_for_a_member_that_may_not_know_yet() -> None:
    state = split("a", "de")
    waiting = resolver("a", state, KeepMajority(), seen="b").timer(state, DOWNING, 7.0)
    assert waiting == DowningDecision(effects=(StartTimer(DOWNING, 0.5),))


def test_leader_that_a_member_of_its_side_has_for_lost_downs_nobody() -> None:
    """Where each monitors some of the others, a bad link is seen at one end: here c-a, a-e and d-b."""
    state = split("d", "b", split("a", "e", split("c", "a"))).seen_by(A, B, C, D, E)
    for own in "ab":
        machine = resolver(own, state, StaticQuorum(3), seen="abcde")
        assert machine.timer(state, DOWNING, 7.0) == DowningDecision(effects=(StartTimer(DOWNING, 0.5),))


def test_leader_goes_on_that_was_in_doubt_for_a_member_which_is_gone() -> None:
    state = split("a", "e", split("e", "a"))
    assert resolver("a", state, KeepMajority(), seen="bcd").timer(state, DOWNING, 7.0).lost == {E}
    other = split("b", "e", split("e", "a"))  # and it is not this node that has noticed
    assert resolver("a", other, KeepMajority(), seen="abcd").timer(other, DOWNING, 7.0).lost == {E}


def test_others_leave_it_to_the_leader() -> None:
    state = split("b", "de")
    assert resolver("b", state, KeepMajority(), seen="ac").timer(state, DOWNING, 7.0).lost == frozenset()


def test_a_lost_side_downs_itself_and_waits_for_nobody() -> None:
    state = split("e", "abc")
    ruling = resolver("e", state, KeepMajority()).timer(state, DOWNING, 7.0)
    assert ruling.lost == {D, E}
    assert "could not reach a majority" in ruling.given_up


def test_majority_claims_the_lease_at_once_and_goes_on_when_it_gets_it() -> None:
    state = split("a", "de")
    machine = resolver("a", state, LEASE, seen="bc")
    (claim,) = claims(machine.timer(state, DOWNING, 7.0).effects)
    assert claim == claim_of("abc", "de")
    assert machine.answered(state, LeaseAnswered(claim, held=True)) == DowningDecision(frozenset({D, E}))


def test_a_side_that_does_not_get_the_lease_downs_itself() -> None:
    state = split("a", "de")
    machine = resolver("a", state, LEASE, seen="bc")
    (claim,) = claims(machine.timer(state, DOWNING, 7.0).effects)
    ruling = machine.answered(state, LeaseAnswered(claim, held=False, why="another side has it"))
    assert ruling.lost == {A, B, C}
    assert ruling.given_up == "it did not get the lease: another side has it"


def test_minority_claims_the_lease_after_a_delay() -> None:
    state = split("d", "abc")
    machine = resolver("d", state, LEASE, seen="e")
    delayed = machine.timer(state, DOWNING, 7.0)
    assert claims(delayed.effects) == []
    assert StartTimer(CLAIM, 2.0) in delayed.effects
    again = machine.timer(state, DOWNING, 7.5)  # does not begin the delay anew
    assert (claims(again.effects), [e for e in again.effects if e == StartTimer(CLAIM, 2.0)]) == ([], [])
    (claim,) = claims(machine.timer(state, CLAIM, 9.0).effects)
    assert claim == claim_of("de", "abc")
    assert machine.answered(state, LeaseAnswered(claim, held=True)) == DowningDecision(frozenset({A, B, C}))


def test_minority_that_has_changed_waits_for_the_delay_again() -> None:
    state = split("d", "abc")
    machine = resolver("d", state, LEASE, seen="e")
    machine.timer(state, DOWNING, 7.0)
    smaller = split("d", "ab", state)
    machine.observe(smaller, 8.0)
    assert claims(machine.timer(smaller, CLAIM, 9.0).effects) == []
    machine.observe(state, 9.5)
    later = machine.timer(state, DOWNING, 16.5)
    assert (claims(later.effects), StartTimer(CLAIM, 2.0) in later.effects) == ([], True)


def test_only_the_leader_of_a_side_claims_and_only_once() -> None:
    state = split("a", "de")
    machine = resolver("a", state, LEASE, seen="bc")
    assert claims(machine.timer(state, DOWNING, 7.0).effects)
    assert claims(machine.timer(state, DOWNING, 7.5).effects) == []
    for other in "bc":
        assert claims(resolver(other, state, LEASE, seen="abc").timer(state, DOWNING, 7.0).effects) == []


def test_an_answer_to_another_claim_decides_nothing() -> None:
    state = split("a", "de")
    machine = resolver("a", state, LEASE, seen="bc")
    machine.timer(state, DOWNING, 7.0)
    assert machine.answered(state, LeaseAnswered(claim_of("ab", "cde"), held=True)) == DowningDecision()


def test_whom_a_granted_claim_ruled_out_goes_although_it_answers_again() -> None:
    state = split("a", "de")
    machine = resolver("a", state, LEASE, seen="bc")
    (claim,) = claims(machine.timer(state, DOWNING, 7.0).effects)
    healed = state.with_row(A, state.rows[A].absolving(D).absolving(E))
    machine.observe(healed, 7.1)
    assert machine.answered(healed, LeaseAnswered(claim, held=True)) == DowningDecision(frozenset({D, E}))


def test_a_view_that_never_settles_downs_everybody_without_asking_the_lease() -> None:
    machine = SplitBrainResolver(A, Downing(LEASE, 4.0), SeenTracker())
    one, other = split("a", "e"), split("a", "d")
    for second in range(7):
        machine.observe(one if second % 2 else other, float(second))
    assert machine.timer(other, DOWNING, 7.0).lost == {A, B, C, D, E}
