"""The membership of one node: phases, joiners, verdicts and the end."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from types import NoneType

import pytest

from casty.address import UniqueAddress
from casty.errors import DecodeError
from casty.protocol.assembly import dissemination_of
from casty.protocol.effects import Note, PublishEvent, Send, StartTimer, TimerFired
from casty.protocol.failure_detector.monitor import MarkReachable, MarkUnreachable
from casty.protocol.gossip.handover import (
    GossipCame,
    GossipOrder,
    HandOver,
    RegistryChanged,
    SeenOfOther,
    SendLacking,
    SendVersions,
    StatePublished,
    StopGossip,
    TableChanged,
    TableWritten,
)
from casty.protocol.gossip.machine import GOSSIP, is_gossip_timer
from casty.protocol.gossip.state_on_wire import to_wire
from casty.protocol.membership.admission import VerifyAddress
from casty.protocol.membership.inputs import (
    AddressAnswered,
    Downed,
    DownMember,
    GiveTerm,
    HelloRefused,
    Joined,
    JoinFailed,
    LeaveMember,
    Left,
    Mistrusted,
    Received,
    SelfAlias,
    Start,
    TopologyEvent,
    TopologySettings,
    WorkFinished,
)
from casty.protocol.membership.joining import MISTRUSTS_MIN, PROBE
from casty.protocol.membership.leaving import LEAVE, AskedToLeave
from casty.protocol.membership.machine import UNHEARD, Topology
from casty.protocol.membership.view import SnapshotChanged
from casty.protocol.messages.membership import (
    AntiEntropyMessage,
    ExitingConfirmed,
    GossipDelta,
    GossipState,
    Join,
    JoinAnswer,
    JoinProbe,
    JoinState,
    RegistrySlots,
    TopologyMessage,
)
from casty.protocol.split_brain.serving_lease import WorkFree
from casty.protocol.state.events import MemberUp
from casty.protocol.state.member import MemberStatus
from casty.protocol.state.membership_state import Gossip
from casty.protocol.state.registry import REGISTRY, Registry
from casty.testing.samples import address, gossip_of, member, run_of, service_of

SETTINGS = TopologySettings()
TOKEN = 7
A, B, C = (run_of(name) for name in "abc")


class Node:
    """The membership of a node with its gossip: what one hands the other, that one takes at once."""

    def __init__(self, topology: Topology) -> None:
        self.topology = topology
        self.gossip = dissemination_of(topology.member.unique, topology.settings, topology.rng)

    def __getattr__(self, name: str) -> object:
        return getattr(self.topology, name)

    def handle(self, event: object, now: float) -> list[object]:
        """Return what follows for others."""
        match event:
            case TableWritten() | StatePublished() | SendLacking() | SendVersions() | SeenOfOther() | StopGossip():
                effects = self.gossip.handle(event, now)
            case Received(sender, message) if isinstance(message, AntiEntropyMessage):
                effects = self.gossip.handle(GossipCame(sender, message), now)
            case TimerFired(key) if is_gossip_timer(key):
                effects = self.gossip.handle(event, now)
            case TableChanged(Registry() as registry):
                effects = self.topology.handle(RegistryChanged(registry), now)
            case HandOver(sender, message):
                effects = self.topology.handle(Received(sender, message), now)
            case _:
                effects = self.topology.handle(event, now)
        between = GossipOrder | TableChanged | HandOver
        return [one for e in effects for one in (self.handle(e, now) if isinstance(e, between) else [e])]


def topology(name: str, *seeds: str) -> Node:
    return Node(Topology(member(name, "joining"), tuple(map(address, seeds)), SETTINGS, random.Random(1)))


def formed() -> Node:
    """Return node a, up and alone."""
    machine = topology("a")
    machine.handle(Start(), 0.0)
    return machine


def pair() -> tuple[Node, Node]:
    """Return the nodes a and b, both up."""
    one, other = formed(), topology("b", "a")
    nodes = {A: one, B: other, UniqueAddress(A.address, 0): one}
    talk(nodes, B, other.handle(Start(), 0.0))
    return one, other


def talk(
    nodes: dict[UniqueAddress, Node], sender: UniqueAddress, effects: Sequence[object], lost: type = NoneType
) -> list[tuple[UniqueAddress, object]]:
    """Deliver what was sent but ``lost``, and what follows from it, until nobody says anything; return that."""
    followed: list[tuple[UniqueAddress, object]] = []
    waiting = [(sender, effect) for effect in effects if isinstance(effect, Send)]
    while waiting:
        source, send = waiting.pop(0)
        if send.to in nodes and not isinstance(send.message, lost):
            target = nodes[send.to]
            answers = target.handle(Received(source, send.message), 1.0)  # type: ignore[arg-type]  # machines send control messages
            followed += [(target.member.unique, effect) for effect in answers]
            waiting += [(target.member.unique, effect) for effect in answers if isinstance(effect, Send)]
    return followed


def state_of(machine: Node) -> Gossip:
    assert machine.state is not None
    return machine.state


def statuses(machine: Node) -> dict[str, str]:
    return {one.id: one.status.name for one in state_of(machine).ordered}


def sent(effects: Sequence[object], kind: type[TopologyMessage]) -> list[tuple[str, object]]:
    return [(e.to.address.host, e.message) for e in effects if isinstance(e, Send) and isinstance(e.message, kind)]


def token_of(machine: Node) -> int:
    """Return the token by which a node that has one seed asks it."""
    ((_, probe),) = sent(machine.handle(TimerFired(PROBE), 0.0), JoinProbe)
    assert isinstance(probe, JoinProbe)
    return probe.token


def test_node_without_seeds_forms_joins_and_comes_up_at_once() -> None:
    machine = topology("a")
    effects = machine.handle(Start(), 0.0)
    assert Joined() in effects
    assert StartTimer(GOSSIP, 1.0) in effects
    assert statuses(machine) == {"a": "up"}
    assert [type(e.event) for e in effects if isinstance(e, PublishEvent)] == [MemberUp]
    shown = [e.snapshot for e in effects if isinstance(e, SnapshotChanged)]
    assert [[one.status.name for one in snapshot.members] for snapshot in shown] == [["joining"], ["up"]]


def test_node_that_is_not_in_a_cluster_says_so() -> None:
    machine = topology("a", "b")
    probe = JoinProbe(member("c", "joining"), SETTINGS.shared, TOKEN)
    assert sent(machine.handle(Received(C, probe), 0.0), JoinAnswer) == [
        ("c", JoinAnswer(TOKEN, JoinState.not_in_cluster))
    ]


def test_probe_that_names_another_run_is_not_answered_before_membership() -> None:
    probe = JoinProbe(member("c", "joining"), SETTINGS.shared, TOKEN)
    assert not topology("a", "b").handle(Received(B, probe), 0.0)


def test_alias_of_the_own_address_is_no_other_seed() -> None:
    machine = topology("a", "localhost")
    machine.handle(Start(), 0.0)
    assert Joined() in machine.handle(SelfAlias(address("localhost")), 0.1)


def test_joiner_is_welcomed_with_the_whole_state_and_comes_up() -> None:
    one, other = pair()
    assert statuses(one) == statuses(other) == {"a": "up", "b": "up"}
    assert state_of(one).cluster_id == state_of(other).cluster_id


def test_welcome_without_this_node_is_no_welcome() -> None:
    machine = topology("b", "a")
    assert not machine.handle(Received(A, to_wire(gossip_of(member("a")), 0.0, welcome=True)), 0.0)
    assert machine.state is None


def test_repeated_join_makes_no_version_and_is_welcomed_again() -> None:
    one, other = pair()
    before = state_of(one).version
    effects = one.handle(Received(B, Join(other.member, SETTINGS.shared, TOKEN)), 2.0)
    assert state_of(one).version == before
    assert [message.welcome for _, message in sent(effects, GossipState) if isinstance(message, GossipState)] == [True]


def test_a_welcome_has_the_highest_number_of_a_term_and_so_has_every_later_state() -> None:
    one, joiner = formed(), topology("b", "a")
    one.handle(GiveTerm(300), 0.0)
    one.handle(GiveTerm(299), 0.0)
    joining = joiner.handle(Start(), 0.0)
    talk({A: one, B: joiner, UniqueAddress(A.address, 0): one}, B, joining)
    assert [state_of(node).terms_given for node in (one, joiner)] == [300, 300]
    before = state_of(joiner)
    joiner.handle(GiveTerm(700), 1.0)
    assert state_of(joiner).terms_given == 700
    assert before.merge(state_of(joiner)).terms_given == state_of(joiner).merge(before).terms_given == 700


def test_refusal_is_answered_and_noted() -> None:
    machine = formed()
    effects = machine.handle(Received(B, Join(member("b", "joining", id="a"), SETTINGS.shared, TOKEN)), 1.0)
    ((_, answer),) = sent(effects, JoinAnswer)
    assert isinstance(answer, JoinAnswer)
    assert answer.state is JoinState.refused
    assert any(isinstance(effect, Note) and "'a'" in effect.text for effect in effects)
    assert statuses(machine) == {"a": "up"}


@pytest.mark.parametrize("by", ["hello", "answer"])
def test_refused_node_says_why(by: str) -> None:
    machine = topology("b", "a")
    answer = Received(A, JoinAnswer(token_of(machine), JoinState.refused, "no"))
    (failed,) = machine.handle(HelloRefused(address("a"), "no TLS") if by == "hello" else answer, 0.0)
    assert isinstance(failed, JoinFailed)
    assert "a:2551 refused" in failed.reason


def test_welcome_of_a_node_that_was_not_asked_is_ignored() -> None:
    machine = topology("b", "a")
    machine.handle(Start(), 0.0)
    stranger = gossip_of(member("c"), member("b", "joining"))
    assert not machine.handle(Received(C, to_wire(stranger, 0.0, welcome=True)), 0.1)
    assert machine.state is None


def test_confirmation_of_a_member_that_is_not_leaving_is_not_kept() -> None:
    one, other = pair()
    one.handle(Received(B, ExitingConfirmed()), 2.0)
    talk({A: one, B: other}, B, other.handle(WorkFinished(), 3.0), lost=ExitingConfirmed)
    assert statuses(one) == {"a": "up", "b": "exiting"}


def test_restart_is_verified_and_the_earlier_run_downed_when_the_new_one_answers() -> None:
    one, _ = pair()
    new = member("b", "joining", incarnation=99)
    effects = one.handle(Received(new.unique, JoinProbe(new, SETTINGS.shared, TOKEN)), 5.0)
    assert VerifyAddress(new.unique, TOKEN) in effects
    one.handle(AddressAnswered(VerifyAddress(new.unique, TOKEN), new.unique), 5.1)
    assert statuses(one) == {"a": "up"}
    assert B in state_of(one).tombstones


def test_newcomer_is_refused_when_the_earlier_run_answers_at_its_address() -> None:
    one, _ = pair()
    new = run_of("b", 99)
    ((to, answer),) = sent(one.handle(AddressAnswered(VerifyAddress(new, TOKEN), B), 5.1), JoinAnswer)
    assert isinstance(answer, JoinAnswer)
    assert (to, answer.state) == ("b", JoinState.refused)
    assert "b:2551" in answer.reason
    assert statuses(one) == {"a": "up", "b": "up"}


def test_newcomer_tries_again_when_nobody_answers_at_its_address() -> None:
    one, _ = pair()
    assert not one.handle(AddressAnswered(VerifyAddress(run_of("b", 99), TOKEN), None), 5.1)


def test_accusation_and_its_end_are_pushed_as_changes_of_the_own_row() -> None:
    one, _ = pair()
    assert [to for to, _ in sent(one.handle(MarkUnreachable((B,)), 5.0), GossipDelta)] == ["b"]
    assert state_of(one).unreachable == {B}
    assert not one.handle(MarkUnreachable((B,)), 5.1)
    one.handle(MarkReachable(B), 5.2)
    assert state_of(one).unreachable == frozenset()


def test_joiner_that_leaves_at_once_is_removed_though_its_words_are_changes_to_its_welcome() -> None:
    one, other = formed(), topology("b", "a")
    other.handle(Start(), 0.0)
    other.handle(Received(A, JoinAnswer(token_of(other), JoinState.in_cluster)), 0.1)
    settings = SETTINGS.shared
    welcome = one.handle(Received(B, Join(other.member, settings, TOKEN)), 0.1)
    ((_, message), *_) = sent(welcome, GossipState)
    other.handle(Received(A, message), 0.2)  # type: ignore[arg-type]  # it is one
    leaving = other.handle(WorkFinished(), 0.2)
    assert [to for to, _ in sent(leaving, GossipDelta)] == ["a"]
    talk({A: one}, B, leaving)
    assert statuses(one) == {"a": "up", "b": "exiting"}


def test_what_a_later_version_says_of_itself_is_kept_and_passed_on_through_every_move() -> None:
    later = replace(member("b", "joining"), extra=(("zone", b"\xc4\x02eu"),))
    one, other, third = formed(), Node(Topology(later, (A.address,), SETTINGS, random.Random(1))), topology("c", "a")
    nodes = {A: one, B: other, C: third, UniqueAddress(A.address, 0): one}
    for node, machine in ((B, other), (C, third)):
        talk(nodes, node, machine.handle(Start(), 0.0))
    talk(nodes, C, third.handle(LeaveMember(B.address), 1.0))
    for machine in nodes.values():
        assert state_of(machine).members[B].extra == later.extra
        assert statuses(machine) == {"a": "up", "b": "exiting", "c": "up"}


def test_leaving_node_waits_and_stops_when_it_is_let_go() -> None:
    one, other = pair()
    effects = other.handle(WorkFinished(), 5.0)
    assert StartTimer(LEAVE, 5.0) in effects
    talk({A: one, B: other}, B, effects)
    assert other.gone
    assert statuses(one) == {"a": "up"}


@pytest.mark.parametrize("leaver", [A, B])
def test_member_that_is_asked_to_leave_goes_when_its_work_is_finished(leaver: UniqueAddress) -> None:
    one, other = pair()
    nodes = {A: one, B: other}
    away, stays = nodes[leaver], nodes[B if leaver == A else A]
    followed = talk(nodes, stays.member.unique, stays.handle(LeaveMember(leaver.address), 5.0))
    assert [node for node, effect in followed if effect == AskedToLeave()] == [leaver]
    assert not away.gone
    assert statuses(stays)[away.member.id] == "exiting"
    talk(nodes, leaver, away.handle(WorkFinished(), 9.0))
    assert away.gone
    assert statuses(stays) == {stays.member.id: "up"}


def test_leaving_node_stops_anyway_when_time_is_up() -> None:
    _, other = pair()
    other.handle(WorkFinished(), 5.0)
    effects = other.handle(TimerFired(LEAVE), 10.0)
    assert Left() in effects
    assert sent(effects, ExitingConfirmed)
    assert not other.handle(Start(), 11.0)


@pytest.mark.parametrize("event", [LeaveMember(address("b")), DownMember(address("b")), WorkFinished()])
def test_node_that_has_not_joined_leaves_at_once(event: TopologyEvent) -> None:
    machine = topology("b", "a")
    assert machine.handle(event, 1.0) == [Left()]
    assert machine.gone


@pytest.mark.parametrize(("order", "status"), [(LeaveMember, "leaving"), (DownMember, "down")])
def test_node_that_is_joining_says_what_it_was_told_of_others_once_it_is_up(
    order: type[LeaveMember | DownMember], status: str
) -> None:
    """Nobody goes by what it says of others before: its state would be one of its own, that nobody takes."""
    one, joiner = formed(), topology("b", "a")
    ((_, join),) = sent(joiner.handle(Received(A, JoinAnswer(token_of(joiner), JoinState.in_cluster)), 0.1), Join)
    ((_, welcome),) = sent(one.handle(Received(B, join), 0.1), GossipState)  # type: ignore[arg-type]  # it is one
    joined = joiner.handle(Received(A, welcome), 0.2)  # type: ignore[arg-type]  # the same
    before = state_of(joiner)
    (note,) = joiner.handle(order(A.address), 0.3)
    assert isinstance(note, Note)
    assert "once this node is up" in note.text
    assert state_of(joiner) is before
    told: list[str] = []
    followed = talk({A: one, B: joiner}, B, joined)
    for node, effect in followed:
        if node == B and isinstance(effect, SnapshotChanged):
            told += [m.status.name for m in effect.snapshot.members if m.unique == A]
    assert status in told
    assert state_of(joiner).members.get(A) is None or statuses(joiner)["a"] != "up"


def test_node_that_is_joining_may_be_told_to_leave_itself() -> None:
    one, joiner = formed(), topology("b", "a")
    ((_, join),) = sent(joiner.handle(Received(A, JoinAnswer(token_of(joiner), JoinState.in_cluster)), 0.1), Join)
    ((_, welcome),) = sent(one.handle(Received(B, join), 0.1), GossipState)  # type: ignore[arg-type]  # it is one
    joiner.handle(Received(A, welcome), 0.2)  # type: ignore[arg-type]  # the same
    joiner.handle(LeaveMember(B.address), 0.3)
    assert statuses(joiner) == {"a": "up", "b": "leaving"}


def test_leaving_twice_changes_nothing_more() -> None:
    _, other = pair()
    for event in (LeaveMember(address("b")), WorkFinished()):
        other.handle(event, 5.0)
        assert not other.handle(event, 5.1)


def test_downed_node_learns_it_with_its_next_round_and_hears_nothing_more() -> None:
    one, other = pair()
    one.handle(DownMember(address("b")), 5.0)
    assert statuses(one) == {"a": "up"}
    ((_, asked),) = [(e.to, e.message) for e in other.handle(TimerFired(GOSSIP), 5.5) if isinstance(e, Send)]
    (told,) = one.handle(Received(B, asked), 5.5)  # type: ignore[arg-type]  # machines send control messages
    assert isinstance(told, Send)
    (end,) = [e for e in other.handle(Received(A, told.message), 5.5) if isinstance(e, Downed)]  # type: ignore[arg-type]  # the same
    assert not end.reason
    assert end.last.run == B
    assert end.last.members >= {A, B}
    assert other.gone
    assert not other.handle(TimerFired(GOSSIP), 6.0)


def test_services_offered_before_joining_are_told_after_it() -> None:
    machine = topology("b", "a")
    machine.handle(TableWritten(REGISTRY, frozenset({service_of(B, "cart")})), 0.0)
    machine.handle(Start(), 0.0)
    machine.handle(Received(A, JoinAnswer(token_of(machine), JoinState.in_cluster)), 0.1)
    welcome = to_wire(gossip_of(member("a"), member("b", "joining")), 0.0, welcome=True)
    assert [to for to, _ in sent(machine.handle(Received(A, welcome), 0.1), RegistrySlots)] == ["a"]


def test_state_that_contradicts_itself_leaves_the_machine_as_it_was() -> None:
    one, _ = pair()
    before, wire = state_of(one), to_wire(state_of(one), 1.0)
    broken = GossipState(wire.cluster_id, wire.members, ((A, 1.0),), (), 0, wire.version, b"")
    with pytest.raises(DecodeError):
        one.handle(Received(B, broken), 2.0)
    assert one.state is before


def test_unheard_joiners_are_asked_faster_while_few_have_seen() -> None:
    machine = formed().topology
    machine.state = gossip_of(*(member(name) for name in "abcde"), seen="a")
    (timer,) = [e for e in machine.handle(TimerFired(UNHEARD), 1.0) if isinstance(e, StartTimer) and e.key == UNHEARD]
    assert timer.delay == pytest.approx(1 / 3)


def test_timers_of_an_earlier_phase_mean_nothing() -> None:
    machine = formed()
    assert not machine.handle(TimerFired("join probe"), 1.0)
    assert not topology("b", "a").handle(TimerFired(GOSSIP), 1.0)


def test_node_that_ends_before_its_welcome_is_removed_where_it_asked() -> None:
    one, other = formed(), topology("b", "a")
    nodes = {A: one, B: other, UniqueAddress(A.address, 0): one}
    talk(nodes, B, other.handle(Start(), 0.0), lost=GossipState)
    assert statuses(one) == {"a": "up", "b": "joining"}, "it was not heard since it was let in"
    talk(nodes, B, other.handle(LeaveMember(B.address), 1.0))
    assert other.gone
    assert statuses(one) == {"a": "up"}
    assert B in state_of(one).tombstones


def test_until_when_a_removed_run_may_serve_is_said_before_its_removal_is_published() -> None:
    """The removal is another node's word, published as it comes: whoever follows would take the work for free."""
    _, other = pair()
    with_c = state_of(other).with_member(A, member("c"))
    other.topology.handle(Received(A, to_wire(with_c, 1.0)), 1.0)
    without = with_c.with_moved(A, {C}, MemberStatus.down).without_members(A, frozenset({C}), 2.0)
    effects = other.topology.handle(Received(A, to_wire(without, 2.0)), 2.0)
    told = [type(effect) for effect in effects if isinstance(effect, WorkFree | StatePublished)]
    assert C not in state_of(other).members
    assert told[0] is WorkFree and StatePublished in told


def test_node_that_no_seed_believes_gives_up_at_the_third_time_in_a_row():
    machine = topology("c", "a", "b")
    machine.handle(Start(), 0.0)
    for _ in range(MISTRUSTS_MIN):
        assert machine.handle(Mistrusted(address("a"), "it says no"), 1.0) == []
    for _ in range(MISTRUSTS_MIN - 1):
        assert machine.handle(Mistrusted(address("b"), "so does it"), 1.0) == []
    (failed,) = machine.handle(Mistrusted(address("b"), "so does it"), 1.0)
    assert failed == JoinFailed("no seed has a link with this node: a:2551: it says no; b:2551: so does it")
