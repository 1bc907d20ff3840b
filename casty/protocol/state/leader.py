"""Choice of the leader, and its moves once everybody agrees.

Owns the choice of the leader (first by address, so that every node with the same view names the same one without a
vote) and the moves made only by a leader. It does not know how a cluster decides about unreachable members (`downing`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from casty.address import NodeAddress, UniqueAddress
from casty.protocol.state.member import VOTING, Member, MemberStatus, was_up
from casty.protocol.state.membership_state import Gossip
from casty.protocol.state.reachability import ObserverRow

_LEADING = (VOTING, (MemberStatus.exiting,), (MemberStatus.joining,))


def leader_among(members: Collection[Member], unreachable: Collection[UniqueAddress]) -> Member | None:
    """Return the first member by address among the reachable up and leaving ones.

    Without any: among the exiting ones, then among the joining ones; None when nobody is left.
    """
    reachable = sorted((member for member in members if member.unique not in unreachable), key=lambda m: m.unique)
    return _first(reachable)


def _first(reachable: Sequence[Member]) -> Member | None:
    for statuses in _LEADING:
        for member in reachable:
            if member.status in statuses and (was_up(member) or member.status is MemberStatus.joining):
                return member
    return None


def leader_of(state: Gossip, self_node: UniqueAddress) -> UniqueAddress | None:
    """Return the leader in the eyes of ``self_node``; it counts itself as reachable."""
    return leader_without(state, state.lost_to(self_node))


def leader_without(state: Gossip, lost: Collection[UniqueAddress]) -> UniqueAddress | None:
    """Return the leader in the eyes of a node with the ``lost`` members unreachable."""
    # Of the members in their order the first is found at once; sorting them was a third of a simulation's time.
    reachable = [m for m in state.ordered if m.unique not in lost] if lost else state.ordered
    leader = _first(reachable)
    return None if leader is None else leader.unique


def has_begun(state: Gossip) -> bool:
    """Whether a member was ever moved up in this cluster: until then it may still come to nothing (`founding`)."""
    return bool(state.up_numbers_given) or any(member.status is MemberStatus.up for member in state.ordered)


@dataclass(frozen=True, slots=True)
class LeaderActions:
    """Rules applied by a leader to a converged state."""

    min_members: int = 1
    min_members_per_role: tuple[tuple[str, int], ...] = ()

    def apply(
        self,
        state: Gossip,
        self_node: UniqueAddress,
        confirmed: Collection[UniqueAddress],
        now: float,
        *,
        may_begin: bool = True,
        heard: Collection[UniqueAddress] | None = None,
    ) -> Gossip:
        """Return the state after all moves allowed by convergence, or ``state`` itself.

        Joining members become up once as many are there as the settings ask for, leaving ones become exiting; down
        members are removed, and exiting ones when they have ``confirmed`` or are unreachable. The first members of all
        are moved up by a node that ``may_begin``, not necessarily the leader. Nobody is moved up without being
        ``heard`` here, if that is given: others may have made it up.
        """
        leads = leader_of(state, self_node) == self_node
        if not leads and (not may_begin or has_begun(state)):
            return state
        if not state.is_converged(self_node):
            return state
        if not leads:
            return self._with(state, self_node, self._moves(state, self_node, heard, leads=False, may_begin=True))
        gone = frozenset(
            member.unique
            for member in state.ordered
            if member.status is MemberStatus.down
            or (
                member.status is MemberStatus.exiting
                and member.unique != self_node
                and (member.unique in confirmed or member.unique in state.lost_to(self_node))
            )
        )
        state = self._with(state, self_node, self._moves(state, self_node, heard, leads=True, may_begin=may_begin))
        if gone:
            state = state.without_members(self_node, gone, now)
        return state.without_old_tombstones(self_node, now)

    def _with(self, state: Gossip, self_node: UniqueAddress, moved: Sequence[Member]) -> Gossip:
        if not moved:
            return state
        return state.changed(
            self_node,
            members={**state.members, **{member.unique: member for member in moved}},
            up_numbers_given=max([state.up_numbers_given, *(member.up_number for member in moved)]),
        )

    def _are_enough(self, members: Collection[Member]) -> bool:
        roles = Counter(role for member in members for role in member.roles)
        return len(members) >= self.min_members and all(roles[r] >= count for r, count in self.min_members_per_role)

    def _moves(
        self,
        state: Gossip,
        self_node: UniqueAddress,
        heard: Collection[UniqueAddress] | None,
        *,
        leads: bool,
        may_begin: bool,
    ) -> list[Member]:
        leaving = [member for member in state.ordered if leads and member.status is MemberStatus.leaving]
        moved = [member.moved_to(MemberStatus.exiting) for member in leaving]
        joining = [
            member
            for member in state.ordered
            if member.status is MemberStatus.joining
            and (heard is None or member.unique in heard or member.unique == self_node)
        ]
        if not has_begun(state) and not (may_begin and self._are_enough(joining)):
            return moved
        settled = [member for member in state.ordered if member.status is not MemberStatus.joining]
        addresses = {member.address for member in settled}
        ids = {member.id for member in settled if member.status is not MemberStatus.down}
        number = state.up_numbers_given
        promoted: set[NodeAddress] = set()
        for member in joining:
            if state.rows.get(member.unique, ObserverRow()).accused & state.voters:
                continue  # once it is up its word counts: first it has to reach those that it would be one of
            if member.address in addresses:
                continue  # an older run still holds the address, and often the name: wait for its removal
            if member.id in ids or member.address in promoted:
                # Two nodes let in the same name or address at one time: the one that sorts later goes.
                moved.append(member.moved_to(MemberStatus.down))
                continue
            number += 1
            ids.add(member.id)
            promoted.add(member.address)
            moved.append(member.moved_to(MemberStatus.up, up_number=number))
        return moved
