"""Choice of the surviving side of a partition.

Owns the strategies, as judgements of one side over both. It does not know when a side judges (`downing`) or how a
decision travels (`gossip`). The rules are those of Akka's split brain resolver; deviations: each strategy judges a
second time, with the possible decisions of the other side in the meantime, and of two nodes `KeepOldest` keeps the
oldest however alone it is.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Protocol, cast

from casty.address import NodeAddress, UniqueAddress
from casty.config import ClusterSettings, DowningStrategy
from casty.config.downing import strategy_text
from casty.errors import ConfigError
from casty.protocol.state.member import GOING, VOTING, Member, MemberStatus, by_age
from casty.protocol.state.membership_state import Gossip


@dataclass(frozen=True, slots=True)
class Votes:
    """The voters of this side and of the other."""

    mine: tuple[Member, ...]
    theirs: tuple[Member, ...]
    at_worst: bool = False
    """This side's leaving members are counted as gone and the other side's joining ones as up.

    Only up or leaving members promote, whatever their roles: a side of joining members alone stays one, and has no
    votes.
    """

    @property
    def count(self) -> str:
        """Voters here of all voters, in words."""
        return f"saw {len(self.mine)} of {len(self.mine) + len(self.theirs)}{' at worst' if self.at_worst else ''}"


@dataclass(frozen=True, slots=True)
class Partition:
    """Members heard and not heard by this side, without those going anyway."""

    reachable: tuple[Member, ...]
    unreachable: tuple[Member, ...]
    indirect: tuple[Member, ...] = ()
    """Those of the unreachable heard of all the same: they accuse each other. They are on no side."""

    @classmethod
    def of(
        cls,
        state: Gossip,
        self_node: UniqueAddress,
        indirect: Collection[UniqueAddress] = frozenset(),
        down: Sequence[Member] = (),
    ) -> Partition:
        """Return the two sides as ``self_node`` sees them; it counts itself as reachable unless ``indirect``.

        ``down`` are down members that count all the same (`down_commit`), on the other side.
        """
        lost = state.lost_to(self_node).union(indirect)
        members = [member for member in state.ordered if member.status not in GOING]
        if not lost:
            return cls(tuple(members), tuple(down))
        return cls(
            tuple(member for member in members if member.unique not in lost),
            (*(member for member in members if member.unique in lost), *down),
            tuple(member for member in members if member.unique in indirect),
        )

    def votes(self, role: str | None = None) -> tuple[Votes, Votes]:
        """Return the voters as this side knows them, and as they may be at worst."""

        def having(members: Sequence[Member], statuses: Collection[MemberStatus]) -> tuple[Member, ...]:
            if role is None:
                return tuple([m for m in members if m.status in statuses])
            return tuple([m for m in members if m.status in statuses and role in m.roles])

        known = Votes(having(self.reachable, VOTING), having(self.unreachable, VOTING))
        has_promoter = any(member.status in VOTING for member in self.unreachable)
        joined = (*VOTING, MemberStatus.joining) if has_promoter else VOTING
        worst = Votes(having(self.reachable, (MemberStatus.up,)), having(self.unreachable, joined), at_worst=True)
        return known, worst


class Strategy(Protocol):
    """Judge of one side. ``str()`` of it is the same on all nodes that agree."""

    def against(self, partition: Partition) -> str:
        """Return the objection to this side, in words; "" when it may go on."""
        ...

    def rules_out_others(self, partition: Partition) -> bool:
        """Whether this side, with members on the other, is reason enough for no other side to go on."""
        ...


class _Judgement(Strategy, Protocol):
    """A side without objections rules out all others: it is the purpose of a judgement."""

    __slots__ = ()

    def rules_out_others(self, partition: Partition) -> bool:
        return not self.against(partition)


@dataclass(frozen=True, slots=True)
class KeepMajority(_Judgement):
    """The side with more than half of the voters; of two halves the one with the lowest address."""

    role: str | None = None

    def against(self, partition: Partition) -> str:
        for votes in partition.votes(self.role):
            if len(votes.mine) < len(votes.theirs) or not votes.mine:
                return f"could not reach a majority ({votes.count})"
            if len(votes.mine) > len(votes.theirs):
                continue
            mine, theirs = ([member.unique for member in side] for side in (votes.mine, votes.theirs))
            if min(theirs) < min(mine):
                rule = "of two halves the one with the lowest address goes on"
                return f"could not reach a majority ({votes.count}), and {rule}"
        return ""

    def __str__(self) -> str:
        return "keep_majority" + _role(self.role)


@dataclass(frozen=True, slots=True)
class StaticQuorum(_Judgement):
    """The side with at least ``size`` voters, in a cluster with fewer than twice as many."""

    size: int
    role: str | None = None

    def against(self, partition: Partition) -> str:
        for votes in partition.votes(self.role):
            if len(votes.mine) < self.size:
                return f"could not reach a quorum of {self.size} ({votes.count})"
            voters = len(votes.mine) + len(votes.theirs)
            if voters >= 2 * self.size:
                return f"cannot know that it is the only one: {voters} voters are two quorums of {self.size}"
        return ""

    def __str__(self) -> str:
        return f"static_quorum of {self.size}" + _role(self.role)


@dataclass(frozen=True, slots=True)
class KeepOldest(_Judgement):
    """The side with the member that has been up for longest.

    ``down_if_alone``: unless that one is alone on its side, and the other side has more than one.
    """

    down_if_alone: bool = True
    role: str | None = None

    def against(self, partition: Partition) -> str:
        for votes in partition.votes(self.role):
            settled = [member for member in (*votes.mine, *votes.theirs) if member.up_number]
            if not settled:
                return f"could not tell which member is the oldest ({votes.count})"
            oldest = min(settled, key=by_age)
            is_here = oldest in votes.mine
            side, other = (votes.mine, votes.theirs) if is_here else (votes.theirs, votes.mine)
            is_left = self.down_if_alone and len(side) == 1 < len(other)
            if is_here and is_left:
                return f"was left alone with the oldest member ({votes.count})"
            if not is_here and not is_left:
                return f"could not reach the oldest member, {oldest.unique.address}"
        return ""

    def __str__(self) -> str:
        alone = ", down_if_alone" if self.down_if_alone else ""
        return f"keep_oldest{alone}" + _role(self.role)


@dataclass(frozen=True, slots=True)
class DownAll(_Judgement):
    """No side: every node that loses somebody stops. For clusters restarted from outside."""

    def against(self, partition: Partition) -> str:
        lost = ", ".join(str(member.unique.address) for member in partition.unreachable)
        return f"could not reach {lost}, and downing is down_all"

    def __str__(self) -> str:
        return "down_all"


@dataclass(frozen=True, slots=True)
class LeaseMajority:
    """The side with the lease; the one without a majority asks for it later."""

    lease: str
    """Its identity, as returned by `casty.Lease.identify`."""
    minority_delay: float = 2.0
    role: str | None = None

    def against(self, partition: Partition) -> str:
        return KeepMajority(self.role).against(partition)

    def rules_out_others(self, partition: Partition) -> bool:
        return False  # the smaller side may get the lease

    def __str__(self) -> str:
        return f"lease_majority of {self.lease}" + _role(self.role)


@dataclass(frozen=True, slots=True)
class CustomStrategy(_Judgement):
    """A user's strategy, whose answers are checked. Its text is that of the moment at which it was taken.

    Raises ConfigError where it does not judge a node that is alone, with nobody lost and with one.
    """

    strategy: DowningStrategy
    text: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", f"custom {strategy_text(self.strategy)}")
        for partition in (Partition(TRIED[:1], ()), Partition(TRIED[:1], TRIED[1:])):
            try:
                self.against(partition)
            except Exception as error:  # the user's code
                raise ConfigError(
                    f"ClusterSettings.downing: {self.text} cannot judge a partition: {error!r}"
                ) from error

    def against(self, partition: Partition) -> str:
        found = cast("object", self.strategy.against(partition))
        if not isinstance(found, str):
            raise TypeError(
                f"{self.text}: against() must return the reason why a side goes down, '' where it goes on, "
                f"got {found!r}"
            )
        return found

    def __str__(self) -> str:
        return self.text


TRIED = tuple(
    Member(NodeAddress(name, 1), MemberStatus.up, frozenset(), name, incarnation=number, up_number=number)
    for number, name in enumerate(("a", "b"), 1)
)


def _role(role: str | None) -> str:
    return "" if role is None else f" by role {role}"


def strategy_of(settings: ClusterSettings, lease: str = "") -> Strategy | None:
    """Return the strategy of a node's settings, None for "none"; ``lease`` identifies its lease."""
    role = settings.downing_role
    match settings.downing:
        case "keep_majority":
            return KeepMajority(role)
        case "static_quorum":
            return StaticQuorum(settings.quorum_size or 0, role)
        case "keep_oldest":
            return KeepOldest(settings.down_if_alone, role)
        case "lease_majority":
            return LeaseMajority(lease, settings.lease_minority_delay, role)
        case "down_all":
            return DownAll()
        case "none":
            return None
        case strategy:
            return CustomStrategy(strategy)
