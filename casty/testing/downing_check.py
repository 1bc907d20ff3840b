"""A check of a strategy of downing against what two sides of a split may know: `check_downing_strategy`.

Owns which clusters are drawn, and how the knowledge of their sides may differ. It does not know how a cluster comes to
be split.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

from casty.address import NodeAddress, UniqueAddress
from casty.config import DowningStrategy
from casty.protocol.split_brain.strategies import CustomStrategy, Partition
from casty.protocol.state.member import GOING, VOTING, Member, MemberStatus

MEMBERS_MAX = 12
"""Members of the largest cluster that may be drawn: beyond, a pair of views says little that a smaller one does not."""
ADDRESSES = 100
"""Places that members are drawn from, so that those let in later come before, between and behind the others."""
DRAWN = (MemberStatus.up, MemberStatus.up, MemberStatus.leaving, MemberStatus.joining)
JOINERS = (0, 0, 1, 2)
LEAVES = 0.15


def check_downing_strategy(
    strategy: DowningStrategy, *, roles: Sequence[str] = (), members: int = 5, pairs: int = 10_000, seed: int = 1
) -> None:
    """Try a strategy on pairs of views that two sides of a split can have: at most one of them may go on.

    Each pair comes from one cluster, drawn with addresses, ages, statuses and roles. Right before the split its leader
    has moved some members, and the side without the leader may not have heard of it: joining ones came up, leaving ones
    have left. Afterwards each side by itself asks members to leave, and lets others in, of which the other side knows
    nothing. A third side may be there, too. Small clusters are drawn first.

    It finds faults and proves nothing: where a strategy is to hold a large cluster together, raise ``pairs``. Ten
    thousand take some seconds.

    Parameters:
        strategy: Strategy to try.
        roles: Roles that it decides by.
        members: Members of the largest cluster, from 2 to 12; joiners come on top.
        pairs: Pairs of views, at least 1.
        seed: Seed of the draws. The same one draws the same pairs.

    Raises:
        AssertionError: Both sides of a pair go on. The message has what each of them knows.
        ConfigError: The strategy cannot judge, or answers something else than text.
        TypeError: It answers something else than text now and then.
        ValueError: ``members`` is not from 2 to 12, or ``pairs`` not at least 1.

    Example:
        >>> class WhoeverIsLeft:
        ...     def against(self, partition):
        ...         return "" if partition.reachable else "nobody is here"
        ...     def __str__(self):
        ...         return "whoever is left"
        >>> check_downing_strategy(WhoeverIsLeft())
        Traceback (most recent call last):
            ...
        AssertionError: two sides go on: [n1 up] against [n0 up], and [n0 up] against [n1 up]
    """
    if not 2 <= members <= MEMBERS_MAX:
        raise ValueError(f"members must be from 2 to {MEMBERS_MAX}, got {members!r}")
    if pairs < 1:
        raise ValueError(f"pairs must be at least 1, got {pairs!r}")
    judge = CustomStrategy(strategy)
    rng = random.Random(seed)
    sizes = range(2, members + 1)
    for number in range(pairs):
        views = _views(rng, sizes[number * len(sizes) // pairs], (None, *roles))
        if all(view.reachable and not judge.against(view) for view in views):
            names = {one: f"n{place}" for place, one in enumerate(sorted({*_runs(views)}))}
            told = (f"{_shown(view.reachable, names)} against {_shown(view.unreachable, names)}" for view in views)
            raise AssertionError(f"two sides go on: {', and '.join(told)}")


def _views(rng: random.Random, count: int, roles: Sequence[str | None]) -> tuple[Partition, Partition]:
    places = rng.sample(range(ADDRESSES), count + 2 * max(JOINERS))
    before = _cluster(rng, places[:count], roles)
    after = _moved(rng, before)
    sides = [0, 1, *(rng.choice((0, 1, 2)) for _ in before[2:])]
    rng.shuffle(sides)
    leader = min((member.unique for member in before if member.status in VOTING), default=None)
    strangers = iter(places[count:])

    def view(side: int) -> Partition:
        own = {member.unique for member, where in zip(before, sides, strict=True) if where == side}
        known = after if leader in own else rng.choice((before, after))
        known = [_left(member) if rng.random() < LEAVES else member for member in known]
        if any(member.unique in own and member.status in VOTING for member in known):
            let_in = [_member(rng, next(strangers), MemberStatus.joining, 0, roles) for _ in range(rng.choice(JOINERS))]
            known += let_in
            own.update(member.unique for member in let_in)
        return _partition(known, own)

    return view(0), view(1)


def _cluster(rng: random.Random, places: Sequence[int], roles: Sequence[str | None]) -> list[Member]:
    """Draw members; one of them is up, or there would be no cluster to be split."""
    ages = rng.sample(range(1, len(places) + 1), len(places))
    statuses = [MemberStatus.up, *(rng.choice(DRAWN) for _ in places[1:])]
    return [
        _member(rng, place, status, 0 if status is MemberStatus.joining else age, roles)
        for place, status, age in zip(places, statuses, ages, strict=True)
    ]


def _member(rng: random.Random, place: int, status: MemberStatus, age: int, roles: Sequence[str | None]) -> Member:
    role, name = rng.choice(roles), f"n{place:02}"
    has = frozenset[str]() if role is None else frozenset({role})
    return Member(NodeAddress(name, 2551), status, has, name, incarnation=place + 1, up_number=age)


def _moved(rng: random.Random, cluster: Sequence[Member]) -> list[Member]:
    """Return the cluster once its leader has moved some members."""
    latest, moved = max(member.up_number for member in cluster), list[Member]()
    for member in cluster:
        if member.status is MemberStatus.joining and rng.random() < 0.5:
            latest += 1
            moved.append(replace(member, status=MemberStatus.up, up_number=latest))
        elif member.status is MemberStatus.leaving and rng.random() < 0.5:
            moved.append(replace(member, status=MemberStatus.exiting))
        else:
            moved.append(member)
    return moved


def _left(member: Member) -> Member:
    return replace(member, status=MemberStatus.leaving) if member.status is MemberStatus.up else member


def _partition(known: Sequence[Member], own: Collection[UniqueAddress]) -> Partition:
    here = sorted((member for member in known if member.status not in GOING), key=lambda member: member.unique)
    return Partition(
        tuple(member for member in here if member.unique in own),
        tuple(member for member in here if member.unique not in own),
    )


def _runs(views: Sequence[Partition]) -> Iterator[UniqueAddress]:
    return (member.unique for view in views for member in (*view.reachable, *view.unreachable))


def _shown(members: Sequence[Member], names: dict[UniqueAddress, str]) -> str:
    told = (
        f"{names[one.unique]} {one.status.name}{''.join(f' {role}' for role in sorted(one.roles))}" for one in members
    )
    return f"[{', '.join(told)}]"
