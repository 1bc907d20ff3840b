"""Whatever two nodes know, in whatever order it meets, they end up knowing the same."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from casty.address import NodeAddress, UniqueAddress
from casty.config import FailureDetectorConfig
from casty.protocol.failure_detector.phi_accrual import PhiAccrualFailureDetector
from casty.protocol.failure_detector.ring import successors
from casty.protocol.gossip.state_on_wire import changes_from, difference, from_wire, to_wire
from casty.protocol.state.cluster_state import ClusterState, project_state
from casty.protocol.state.leader import LeaderActions
from casty.protocol.state.member import Member, MemberStatus, furthest
from casty.protocol.state.membership_state import Gossip, Relation
from casty.protocol.state.reachability import ObserverRow, Rows, merge_rows
from casty.protocol.state.registry import Registry
from casty.protocol.state.shard_allocation import ShardAllocation
from casty.protocol.state.vector_clock import VectorClock
from casty.testing.samples import gossip_of, member, run_of, service_of

NAMES = "abcde"
RUNS = [run_of(name) for name in NAMES]
COUNTS = st.integers(0, 3)

clocks = st.dictionaries(st.sampled_from(NAMES), st.integers(1, 3)).map(VectorClock[str])
statuses = st.sampled_from([status.name for status in MemberStatus if status is not MemberStatus.removed])


@st.composite
def members_of_a(draw: st.DrawFn) -> Member:
    return member("a", draw(statuses), up_number=draw(COUNTS))


@st.composite
def rows(draw: st.DrawFn) -> Rows:
    """Rows as one owner each writes them: what a row says follows from its version."""
    versions = draw(st.dictionaries(st.sampled_from(RUNS), st.integers(1, 5)))
    return {
        run: ObserverRow(version, frozenset(RUNS[place] for place in range(version) if place % 2 == version % 2))
        for run, version in versions.items()
    }


def registry_of(offers: dict[UniqueAddress, int]) -> Registry:
    registry = Registry()
    for run, count in offers.items():
        registry = registry.with_own(run, frozenset(service_of(run, f"key-{number}") for number in range(count)))
    return registry


registries = st.dictionaries(st.sampled_from(RUNS), st.integers(0, 5)).map(registry_of)
addresses = st.sampled_from([run.address for run in RUNS])
tables = st.dictionaries(st.sampled_from(["cart", "stock"]), st.dictionaries(COUNTS, addresses.map(ShardAllocation)))


@st.composite
def cluster_states(draw: st.DrawFn) -> ClusterState:
    """Projections of states that followed from each other, with allocations of any kind."""
    gossip = draw(gossips())
    state = project_state(gossip, draw(registries), gossip.lost_to(RUNS[0]))
    return replace(state, shard_allocations=draw(tables), allocation_epoch=draw(COUNTS))


@dataclass
class Nodes:
    """Replicas of one cluster which change what they know and tell each other, in any order."""

    states: dict[UniqueAddress, Gossip] = field(default_factory=lambda: dict.fromkeys(RUNS, START))
    removed: set[UniqueAddress] = field(default_factory=set)
    now: float = 1.0
    had: dict[UniqueAddress, list[Gossip]] = field(default_factory=lambda: {run: [START] for run in RUNS})
    """Every state that each has had."""

    def step(self, by: UniqueAddress, kind: str, subject: UniqueAddress) -> None:
        self.act(by, kind, subject)
        for run, state in self.states.items():
            if state is not self.had[run][-1]:
                self.had[run].append(state)

    def act(self, by: UniqueAddress, kind: str, subject: UniqueAddress) -> None:
        state = self.states[by]
        self.now += 1.0
        if by not in state.members:
            return
        present = state.members.get(subject)
        row = state.rows.get(by, ObserverRow())
        if kind == "tell":
            self.tell(by, subject)
        elif kind == "accuse" and present is not None and subject != by:
            after = row.accusing(subject)
            self.states[by] = state if after is row else state.with_row(by, after)
        elif kind == "absolve":
            after = row.absolving(subject)
            self.states[by] = state if after is row else state.with_row(by, after)
        elif kind in ("leaving", "down") and present is not None:
            status = MemberStatus[kind]
            if present.status.rank < status.rank:
                self.states[by] = state.with_member(by, present.moved_to(status))
        elif kind == "lead":
            self.states[by] = LeaderActions().apply(state, by, RUNS, self.now)
            self.removed |= self.states[by].tombstones.keys()

    def tell(self, sender: UniqueAddress, to: UniqueAddress) -> None:
        """Receive as a node does."""
        mine, theirs = self.states[to], self.states[sender]
        match mine.relation_of(theirs):
            case Relation.same:
                self.states[to] = mine.seen_by(*sorted(theirs.seen))
            case Relation.newer:
                self.states[to] = theirs.seen_by(to)
            case Relation.concurrent:
                self.states[to] = mine.merge(theirs).seen_by(to)
            case Relation.older:
                pass


START = gossip_of(
    member("a", up_number=1),
    member("b", up_number=2),
    member("c", "leaving", up_number=3),
    member("d", "joining"),
    member("e", "down"),
    seen="abc",
)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(RUNS),
        st.sampled_from(["tell", "tell", "tell", "accuse", "absolve", "leaving", "down", "lead", "lead"]),
        st.sampled_from(RUNS),
    ),
    max_size=25,
)


def after(steps: list[tuple[UniqueAddress, str, UniqueAddress]]) -> Nodes:
    nodes = Nodes()
    for by, kind, subject in steps:
        nodes.step(by, kind, subject)
    return nodes


@st.composite
def gossips(draw: st.DrawFn) -> Gossip:
    return after(draw(STEPS)).states[draw(st.sampled_from(RUNS))]


@given(clocks, clocks, clocks)
def test_vector_clocks_merge_in_any_order(a: VectorClock[str], b: VectorClock[str], c: VectorClock[str]) -> None:
    assert a.merge(b) == b.merge(a)
    assert a.merge(b).merge(c) == a.merge(b.merge(c))
    assert a.merge(a) == a
    assert a.merge(b).covers(a)
    assert [a.is_before(b), b.is_before(a), a.is_concurrent_with(b), a == b].count(True) == 1


@given(members_of_a(), members_of_a(), members_of_a())
def test_furthest_copy_is_the_same_in_any_order(a: Member, b: Member, c: Member) -> None:
    assert furthest(a, b) == furthest(b, a)
    assert furthest(furthest(a, b), c) == furthest(a, furthest(b, c))
    assert furthest(a, a) == a
    assert furthest(a, b).status.rank == max(a.status.rank, b.status.rank)


@given(rows(), rows(), rows())
def test_rows_merge_in_any_order(a: Rows, b: Rows, c: Rows) -> None:
    assert merge_rows(a, b) == merge_rows(b, a)
    assert merge_rows(merge_rows(a, b), c) == merge_rows(a, merge_rows(b, c))
    assert merge_rows(a, a) == a


@given(STEPS, st.permutations(RUNS))
def test_states_merge_in_any_order(
    steps: list[tuple[UniqueAddress, str, UniqueAddress]], runs: list[UniqueAddress]
) -> None:
    states = after(steps).states
    a, b, c = (states[run] for run in runs[:3])
    assert a.merge(b) == b.merge(a)
    assert a.merge(b).merge(c) == a.merge(b.merge(c))
    assert a.merge(a) == a
    assert a.merge(b).merge(b) == a.merge(b)


@given(STEPS, st.permutations(RUNS))
def test_states_of_one_version_are_one_state(
    steps: list[tuple[UniqueAddress, str, UniqueAddress]], runs: list[UniqueAddress]
) -> None:
    a, b = (after(steps).states[run] for run in runs[:2])
    if a.relation_of(b) is Relation.same:
        assert replace(a, seen=frozenset()) == replace(b, seen=frozenset())
    elif a.relation_of(b) is Relation.newer:
        assert replace(a.merge(b), seen=b.seen) == b


def told(state: Gossip) -> object:
    """Return all that a state says but the moments of removals, which travel as ages."""
    return replace(state, tombstones={}), state.tombstones.keys()


@given(STEPS, st.permutations(RUNS), st.integers(0, 10))
def test_difference_merges_like_the_whole_into_whatever_contains_its_base(
    steps: list[tuple[UniqueAddress, str, UniqueAddress]], runs: list[UniqueAddress], place: int
) -> None:
    nodes = after(steps)
    (sender, receiver), now = runs[:2], nodes.now
    common = [base for base in nodes.had[sender] if any(base.version == one.version for one in nodes.had[receiver])]
    base, state, mine = common[place % len(common)], nodes.states[sender], nodes.states[receiver]
    delta = difference(base, state, now)
    assert delta is not None
    changes = changes_from(delta, base, now)
    assert changes.version == state.version
    unseen, whole = replace(mine, seen=frozenset()), replace(state, seen=frozenset())
    assert told(unseen.merge(changes)) == told(unseen.merge(whole))
    assert told(base.merge(changes).seen_by_all(state.named_by(delta.seen))) == told(state)


@given(STEPS)
def test_removed_run_never_comes_back(steps: list[tuple[UniqueAddress, str, UniqueAddress]]) -> None:
    nodes = Nodes()
    gone: dict[UniqueAddress, set[UniqueAddress]] = {run: set() for run in RUNS}
    for by, kind, subject in steps:
        nodes.step(by, kind, subject)
        for run, state in nodes.states.items():
            gone[run] |= START.members.keys() - state.members.keys()
            assert not gone[run] & state.members.keys()
    for order in ([0, 1, 2, 3, 4], [4, 2, 0, 3, 1]):
        states = [nodes.states[RUNS[place]] for place in order]
        merged = states[0]
        for state in states[1:]:
            merged = merged.merge(state)
        assert not merged.members.keys() & nodes.removed


@given(STEPS)
def test_everybody_who_has_seen_a_version_has_it(steps: list[tuple[UniqueAddress, str, UniqueAddress]]) -> None:
    states = after(steps).states
    for state in states.values():
        for node in state.seen:
            assert states[node].relation_of(state) in (Relation.same, Relation.older)


@settings(max_examples=40)  # three histories for each example
@given(cluster_states(), cluster_states(), cluster_states())
def test_public_states_merge_in_any_order(a: ClusterState, b: ClusterState, c: ClusterState) -> None:
    assert a.merge(b) == b.merge(a)
    assert a.merge(b).merge(c) == a.merge(b.merge(c))
    assert a.merge(a) == a


@given(gossips(), st.floats(0, 1e6), st.floats(0, 1e6))
def test_state_travels_whole(state: Gossip, sent_at: float, received_at: float) -> None:
    sent_at += 1_000.0
    arrived = from_wire(to_wire(state, sent_at), received_at)
    assert replace(arrived, tombstones={}) == replace(state, tombstones={})
    assert arrived.tombstones.keys() == state.tombstones.keys()
    for unique, removed_at in arrived.tombstones.items():
        assert received_at - removed_at == pytest.approx(sent_at - state.tombstones[unique], abs=1e-3)
    assert arrived.digest == state.digest


@st.composite
def detectors(draw: st.DrawFn) -> PhiAccrualFailureDetector[str]:
    config = FailureDetectorConfig(
        threshold=draw(st.floats(0.5, 20.0)),
        max_sample_size=draw(st.integers(1, 50)),
        acceptable_heartbeat_pause_ms=draw(st.floats(0.0, 5_000.0)),
    )
    detector = PhiAccrualFailureDetector[str](config)
    now = draw(st.floats(0.0, 1_000.0))
    detector.heartbeat("a", now)
    for interval in draw(st.lists(st.floats(0.0, 10.0), max_size=60)):
        now += interval
        detector.heartbeat("a", now)
    return detector


@given(detectors(), st.floats(0.0, 1e5), st.floats(0.0, 1e5))
def test_phi_only_grows_in_silence(detector: PhiAccrualFailureDetector[str], first: float, second: float) -> None:
    last = detector.last_heard("a")
    early, late = sorted((first, second))
    assert 0.0 <= detector.phi("a", last + early) <= detector.phi("a", last + late)


@given(detectors())
def test_crossing_is_where_availability_ends(detector: PhiAccrualFailureDetector[str]) -> None:
    crossing = detector.crossing("a")
    assert detector.is_available("a", crossing - 1e-3)
    assert not detector.is_available("a", crossing + 1e-3)


@given(st.sets(st.integers(1, 2**63), min_size=1, max_size=40), st.integers(1, 12))
def test_each_node_is_monitored_by_as_many_as_it_monitors(incarnations: set[int], count: int) -> None:
    nodes = [UniqueAddress(NodeAddress("n", number % 5 + 1), number) for number in sorted(incarnations)]
    monitored = {node: successors(node, nodes, count) for node in nodes}
    for node in nodes:
        assert len(monitored[node]) == len(set(monitored[node])) == min(len(nodes) - 1, count)
        assert node not in monitored[node]
        assert sum(node in ring for ring in monitored.values()) == min(len(nodes) - 1, count)
