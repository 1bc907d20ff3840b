"""Events of the placement machine, and its effects beside those of all machines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from casty.address import UniqueAddress
from casty.protocol.effects import Note, PublishEvent, Send, StartTimer, TimerFired
from casty.protocol.messages.shard_rows import Row
from casty.protocol.messages.sharding import PlacementMessage
from casty.protocol.sharding.allocation import LEAST_SHARDS, Allocation
from casty.protocol.sharding.shard_table import ShardTable
from casty.protocol.state.membership_state import Gossip
from casty.schema.names import message

Slot = tuple[str, int]
"""A shard, by its key and number."""


@dataclass(frozen=True, slots=True)
class MembersSeen:
    """Event: the membership is this now."""

    state: Gossip


@dataclass(frozen=True, slots=True)
class ServesUntil:
    """Event: this node has the serving lease until then, by its own clock."""

    until: float


@dataclass(frozen=True, slots=True)
class WorkIsFree:
    """Event: the work of this removed run is free from then on; comes before the state without the run."""

    node: UniqueAddress
    at: float


@dataclass(frozen=True, slots=True)
class PlacementCame:
    """Event: a message from another run."""

    sender: UniqueAddress
    message: PlacementMessage


@dataclass(frozen=True, slots=True)
class HostsSeen:
    """Event: these runs have announced to host this key, with so many shards."""

    key: str
    num_shards: int
    hosts: frozenset[UniqueAddress]
    allocation: Allocation = LEAST_SHARDS
    """Strategy of placement, as far as it is known to this node."""


@dataclass(frozen=True, slots=True)
class NodesDrained:
    """Event: these runs are to have no shards as long as other hosts can, until the next such event."""

    runs: frozenset[UniqueAddress]


@dataclass(frozen=True, slots=True)
class RegionStarted:
    """Event: this node hosts the key from now on."""

    key: str


@dataclass(frozen=True, slots=True)
class RegionEnded:
    """Event: this node hosts the key no more; it takes no message for any shard of it."""

    key: str


@dataclass(frozen=True, slots=True)
class ShardClosed:
    """Event: the last task of the last entity of this shard has ended."""

    key: str
    shard: int
    epoch: int


@dataclass(frozen=True, slots=True)
class OpenShard:
    """Effect: take messages for this shard, under this epoch."""

    key: str
    shard: int
    epoch: int


@dataclass(frozen=True, slots=True)
class CloseShard:
    """Effect: take no message for this shard any more, stop its entities, and say `ShardClosed` then."""

    key: str
    shard: int
    epoch: int


@dataclass(frozen=True, slots=True)
class ShardTableChanged:
    """Effect: the way of messages changes.

    The table is the one of the region, and may have changed again before this effect is performed: its rows may name an
    owner told to open by the effects in between.
    """

    table: ShardTable
    changed: Mapping[int, Row | None] | None = None
    """Rows other than before, as they are by this change, None for a free shard; without it all rows of the table."""


@dataclass(frozen=True, slots=True)
class SendMarker:
    """Effect: say to this owner, behind all messages of this node for the shard, that none follows."""

    to: UniqueAddress
    key: str
    shard: int
    move: int


@dataclass(frozen=True, slots=True)
class TermBegun:
    """Effect, for the owner of the membership: this number of a term is given, and no newcomer may give it again.

    The coordinator leads once the membership says so too.
    """

    number: int


@dataclass(frozen=True, slots=True)
class HandedOver:
    """Effect: this node is leaving, and has retired; it holds no shard any more, or nobody stays to take them."""


@message("casty.CoordinatorChanged")
@dataclass(frozen=True, slots=True)
class CoordinatorChanged:
    """Published on every node: this run places the shards from now on. Others tell so with its first table."""

    node: UniqueAddress
    """Run of the coordinator."""
    number: int
    """Number of its term, above those of all earlier ones."""


@message("casty.EnlistBlocked")
@dataclass(frozen=True, slots=True)
class EnlistBlocked:
    """Published by the next coordinator: it waits for these runs, and until then no shard is placed anew."""

    waiting: tuple[UniqueAddress, ...]
    """Runs without an answer, and not removed."""


@message("casty.ShardConflict")
@dataclass(frozen=True, slots=True)
class ShardConflict:
    """Published by the coordinator: these runs have reported one shard; each is told to close it."""

    key: str
    """Name of the `EntityKey`."""
    shard: int
    """Number of the shard, from 0."""
    owners: tuple[UniqueAddress, ...]
    """Runs with the shard."""


@message("casty.ShardStuck")
@dataclass(frozen=True, slots=True)
class ShardStuck:
    """Published by the node concerned: entities of this shard have not ended for long, and nobody else may open it."""

    key: str
    """Name of the `EntityKey`."""
    shard: int
    """Number of the shard, from 0."""


PlacementEvent = (
    MembersSeen | ServesUntil | WorkIsFree | PlacementCame | HostsSeen | NodesDrained | RegionStarted | RegionEnded
    | ShardClosed | TimerFired
)  # fmt: skip
PlacementEffect = (
    Send | StartTimer | Note | PublishEvent | OpenShard | CloseShard | ShardTableChanged | SendMarker | TermBegun
    | HandedOver
)  # fmt: skip
