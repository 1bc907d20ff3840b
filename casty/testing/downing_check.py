"""A check of a strategy of downing against all small clusters: `check_downing_strategy`.

Owns which clusters are tried, and what two sides may know apart. It does not know how a cluster comes to be split.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product

from casty.address import NodeAddress
from casty.config import DowningStrategy
from casty.protocol.split_brain.strategies import CustomStrategy, Partition
from casty.protocol.state.member import VOTING, Member, MemberStatus

STATUSES = (MemberStatus.up, MemberStatus.leaving, MemberStatus.joining)
MEMBERS_MAX = 6
"""Members of the largest cluster that may be tried: it takes some minutes."""


def check_downing_strategy(strategy: DowningStrategy, *, roles: Sequence[str] = (), members: int = 4) -> None:
    """Try a strategy on every split of every small cluster: of two sides at most one may go on.

    The clusters have two members or more, each up, leaving or joining, with one of the roles or none. Of three or more
    sides each two are compared. One of the two also knows what it has decided by itself since: that its joining
    members are up, if it has others, and that leaving ones of the other side are gone.

    It finds what goes wrong in a small cluster, and is no proof for a large one. Four members take about a second
    without roles; each member more takes ten times as long, and so does a role with four members.

    Parameters:
        strategy: Strategy to try.
        roles: Roles that it decides by.
        members: Members of the largest cluster, from 2 to 6.

    Raises:
        AssertionError: Two sides of a split go on. The message has both, with their members.
        TypeError: The strategy answers something else than text.
        ValueError: ``members`` is not from 2 to 6.

    Example:
        >>> class WhoeverIsLeft:
        ...     def against(self, partition):
        ...         return "" if partition.reachable else "nobody is here"
        >>> check_downing_strategy(WhoeverIsLeft())
        Traceback (most recent call last):
            ...
        AssertionError: two sides go on: [n1 up] and [n0 up]
    """
    if not 2 <= members <= MEMBERS_MAX:
        raise ValueError(f"members must be from 2 to {MEMBERS_MAX}, got {members!r}")
    judge = CustomStrategy(strategy)
    for count in range(2, members + 1):
        for cluster in _clusters(count, (None, *roles)):
            _check_splits(judge, cluster)


def _clusters(count: int, roles: Sequence[str | None]) -> Iterator[tuple[Member, ...]]:
    for statuses in product(STATUSES, repeat=count):
        for each in product(roles, repeat=count):
            yield tuple(
                Member(
                    NodeAddress(f"n{number}", 2551),
                    status,
                    frozenset() if role is None else frozenset({role}),
                    f"n{number}",
                    incarnation=number + 1,
                    up_number=0 if status is MemberStatus.joining else number + 1,
                )
                for number, (status, role) in enumerate(zip(statuses, each, strict=True))
            )


def _check_splits(judge: CustomStrategy, cluster: tuple[Member, ...]) -> None:
    """Compare each side with each other that has no member of it; both are looked at from the first one's knowledge."""
    sides = [side for side in product((False, True), repeat=len(cluster)) if any(side)]
    going = [side for side in sides if not judge.against(_partition(cluster, side))]
    for side in going:
        for other in sides:
            if any(one and two for one, two in zip(side, other, strict=True)):
                continue
            for known in (cluster, _decided(cluster, other, side)):
                view = _partition(known, other)
                if view.reachable and not judge.against(view):
                    first, second = _partition(cluster, side).reachable, view.reachable
                    raise AssertionError(f"two sides go on: [{_shown(first)}] and [{_shown(second)}]")


def _decided(cluster: tuple[Member, ...], side: Sequence[bool], other: Sequence[bool]) -> tuple[Member, ...]:
    """Return the cluster once a side has promoted its joining members, and let go the leaving ones of the other.

    A side of joining members alone has nobody who promotes.
    """
    if not any(is_mine and member.status in VOTING for member, is_mine in zip(cluster, side, strict=True)):
        return cluster
    latest = max(member.up_number for member in cluster)
    known = list[Member]()
    for member, is_mine, is_theirs in zip(cluster, side, other, strict=True):
        if is_mine and member.status is MemberStatus.joining:
            latest += 1
            known.append(replace(member, status=MemberStatus.up, up_number=latest))
        elif not (is_theirs and member.status is MemberStatus.leaving):
            known.append(member)
    return tuple(known)


def _partition(cluster: Sequence[Member], side: Sequence[bool]) -> Partition:
    """Return the view of the members of a cluster that are on a side, by the numbers in their addresses."""
    mine = {f"n{number}" for number, is_mine in enumerate(side) if is_mine}
    return Partition(
        tuple(member for member in cluster if member.id in mine),
        tuple(member for member in cluster if member.id not in mine),
    )


def _shown(members: Sequence[Member]) -> str:
    return ", ".join(
        f"{one.id} {one.status.name}{''.join(f' {role}' for role in sorted(one.roles))}" for one in members
    )
