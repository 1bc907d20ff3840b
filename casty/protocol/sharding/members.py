"""Members in the eyes of the placement of one node: the older, the heard, and the gone.

Owns the order of age among all members ever seen here, and from when on the work of a removed run is free. It does not
know shards, or why a member was removed.

How it works: "older" is (up_number, address, incarnation), since two living members can share a number. A run is gone
when it is removed and its work is free: until then it may still serve, and word of it may still be on its way.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from casty.address import UniqueAddress
from casty.protocol.messages.shard_rows import Term
from casty.protocol.state.member import Member, MemberStatus, by_age
from casty.protocol.state.membership_state import Gossip


def _no_members() -> Mapping[UniqueAddress, Member]:
    return {}


def _no_times() -> dict[UniqueAddress, float]:
    return {}


@dataclass(slots=True)
class PlacementView:
    """The members as one node knows them; ``places`` tells whether a member takes part in placement at all."""

    self_node: UniqueAddress
    places: Callable[[Member], bool]
    members: Mapping[UniqueAddress, Member] = field(init=False, default_factory=_no_members)
    own: Member | None = field(init=False, default=None)
    """This node's own row, as long as it has one."""
    unreachable: frozenset[UniqueAddress] = field(init=False, default=frozenset())
    terms_given: int = field(init=False, default=0)
    """Highest number of a term by the membership: a node knows all given before it is up."""
    up_numbers_given: int = field(init=False, default=0)
    """Highest up number by the membership."""
    all_placing: frozenset[UniqueAddress] = field(init=False, default=frozenset())
    """Members taking part, in any status."""
    heard: tuple[UniqueAddress, ...] = field(init=False, default=())
    """Members taking part and heard, without this node, in their order."""
    older: tuple[Member, ...] = field(init=False, default=())
    """Members taking part and older than this node."""
    drained: frozenset[UniqueAddress] = field(init=False, default=frozenset())
    """Runs to be given no shard, and to hand over theirs, while they stay and another host can take them."""
    tombstones: Collection[UniqueAddress] = field(init=False, default=frozenset())
    """Removed runs as the membership remembers them."""
    _removed: dict[UniqueAddress, float] = field(init=False, default_factory=_no_times)
    """Removed runs of any age, and when their work is free."""
    _serving: dict[UniqueAddress, float] = field(init=False, default_factory=_no_times)
    """Removed runs with work not free yet, as far as it was asked for."""
    _free_at: dict[UniqueAddress, float] = field(init=False, default_factory=_no_times)
    """Times told before the removal itself."""

    _past: dict[UniqueAddress, Member] = field(init=False, default_factory=lambda: dict[UniqueAddress, Member]())
    """Last rows of removed members."""

    def see(self, state: Gossip) -> frozenset[UniqueAddress]:
        """Take a state; return the members new in it, and those up now and not before."""
        before, self.members = self.members, state.members
        self.own = state.members.get(self.self_node)
        self._past |= {run: member for run, member in before.items() if run not in state.members}
        self.unreachable, self.terms_given = state.unreachable, state.terms_given
        self.up_numbers_given, self.tombstones = state.up_numbers_given, state.tombstones.keys()
        gone = (before.keys() - state.members.keys()) | state.tombstones.keys()
        for run in gone - self._removed.keys():
            self._removed[run] = self._free_at.pop(run, -math.inf)
            self._serving[run] = self._removed[run]
        self._sort()
        new = (run for run, member in state.members.items() if member is not before.get(run))
        return frozenset(run for run in new if run not in before or self._comes_up(before[run]))

    def _comes_up(self, before: Member) -> bool:
        return before.status is MemberStatus.joining and self.members[before.unique].status is MemberStatus.up

    def _sort(self) -> None:
        placing = [member for member in self.members.values() if self.places(member)]
        others = [member for member in placing if member.unique != self.self_node]
        self.all_placing = frozenset(member.unique for member in placing)
        self.heard = tuple(member.unique for member in others if member.status is not MemberStatus.down)
        own = self.own
        if own is not None:
            age = by_age(own)
            self.older = tuple(member for member in others if by_age(member) < age)

    def is_as_in(self, state: Gossip) -> bool:
        """Whether a state says nothing new to placement."""
        is_as_before = state.members is self.members and state.terms_given == self.terms_given
        return is_as_before and state.unreachable == self.unreachable

    def free(self, run: UniqueAddress, at: float) -> None:
        """Take note that the work of a removed run is free from then on."""
        if run in self._removed:
            self._removed[run] = self._serving[run] = at
        else:
            self._free_at[run] = at

    def forget(self, kept: Collection[UniqueAddress], now: float) -> None:
        """Forget removed runs with free work, beyond those kept, once the membership has forgotten them.

        Rules ask about a run as long as it may serve, a row or an answer names it, or its tombstone tells of it. No
        word of a removed run is taken.
        """
        gone = self._removed.keys() - self.tombstones - set(kept)
        for run in [run for run in gone if self._removed[run] <= now]:
            del self._removed[run]
            self._past.pop(run, None)

    @property
    def remembers_more(self) -> bool:
        """Whether some removed runs are remembered here alone."""
        return len(self._removed) > len(self.tombstones)

    def older_serve_still(self, now: float) -> bool:
        """Whether a removed run once older than this node may serve."""
        own, still = self.own, self.serves_still(now)
        if own is None:
            return bool(still)
        return any(run in self._past and by_age(self._past[run]) < by_age(own) for run in still)

    @property
    def is_up(self) -> bool:
        """Whether this node is up, and not leaving."""
        own = self.own
        return own is not None and own.status is MemberStatus.up

    @property
    def goes(self) -> bool:
        """Whether this node is leaving, and hands its shards over."""
        own = self.own
        return own is not None and own.status in (MemberStatus.leaving, MemberStatus.exiting)

    def is_heard(self, run: UniqueAddress) -> bool:
        """Whether word of a run counts: it is a member, and not down."""
        member = self.members.get(run)
        return member is not None and member.status is not MemberStatus.down

    def knows(self, run: UniqueAddress) -> bool:
        """Whether a run is a member, or a removed one that is remembered."""
        return run in self.members or run in self._removed

    def run_of(self, term: Term) -> UniqueAddress | None:
        """Return the run of a term, as long as its word counts."""
        found = (run for run in self.members if run.incarnation == term.incarnation)
        return next((run for run in found if self.is_heard(run)), None)

    def elders_of(self, run: UniqueAddress) -> list[UniqueAddress]:
        """Return the members taking part, not down, and older than a member."""
        age = by_age(self.members[run])
        living = (self.members[one] for one in self.all_placing if self.is_heard(one))
        return [member.unique for member in living if by_age(member) < age]

    def is_leaving(self, run: UniqueAddress) -> bool:
        """Whether a run leaves, and hands its shards over."""
        member = self.members.get(run)
        return member is not None and member.status in (MemberStatus.leaving, MemberStatus.exiting)

    @property
    def has_heirs(self) -> bool:
        """Whether another member stays that is reachable: it may take over, or tell who does."""
        stays = (MemberStatus.joining, MemberStatus.up)
        others = (member for member in self.members.values() if member.unique != self.self_node)
        return any(member.status in stays and member.unique not in self.unreachable for member in others)

    def may_open(self, run: UniqueAddress) -> bool:
        """Whether a run is able to open a shard."""
        member = self.members.get(run)
        is_up = member is not None and member.status is MemberStatus.up
        return is_up and run not in self.unreachable

    def takers(self, runs: Collection[UniqueAddress]) -> list[UniqueAddress]:
        """Return those of some hosts to be given shards: the drained ones only where there are no others."""
        able = [run for run in runs if self.may_open(run)]
        return [run for run in able if run not in self.drained] or able

    def is_gone(self, run: UniqueAddress, now: float) -> bool:
        """Whether a run was removed and can serve no more."""
        return run not in self.members and self._removed.get(run, math.inf) <= now

    def serves_still(self, now: float) -> Collection[UniqueAddress]:
        """Return the removed runs whose work is not free yet, of any age."""
        if self._serving:
            self._serving = {run: at for run, at in self._serving.items() if at > now}
        return self._serving.keys()

    @property
    def is_calm(self) -> bool:
        """Whether all members are up, reachable, and of one version."""
        every = self.members.values()
        are_up = all(member.status is MemberStatus.up for member in every)
        return are_up and not self.unreachable and len({member.version for member in every}) < 2

    def next_free(self, now: float) -> float:
        """Return when the work of another removed run becomes free."""
        return min((at for at in self._serving.values() if at > now), default=math.inf) if self._serving else math.inf
