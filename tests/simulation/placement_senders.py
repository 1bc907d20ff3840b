"""Messages to shards beside the placement by hand: each node sends numbered ones, holds them back, and sets markers.

Owns the way of a message by the tables that a node has taken: to the owner of an owned row, under its epoch; else into
a buffer. Messages and markers of two nodes keep their order, as on one connection, and get lost only as it breaks. It
holds these rules: numbers handled of one sender for one shard grow, and without faults everything sent is handled.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from casty.protocol.messages.shard_rows import Owned
from casty.protocol.messages.sharding import Marker
from casty.protocol.sharding.placement_events import PlacementCame, SendMarker
from casty.protocol.sharding.shard_table import ShardTable
from casty.testing.simulation import InvariantBroken

if TYPE_CHECKING:
    from placement_by_hand import ByHand

HELD_MAX = 1_000


@dataclass(frozen=True)
class Told:
    """A message of a user under way."""

    sender: str
    shard: int
    number: int


@dataclass
class Senders:
    """The senders of all nodes."""

    world: ByHand
    passes: Callable[[str, str], bool] = lambda sender, to: True
    travels: Callable[[], float] = lambda: 0.001
    tables: dict[str, ShardTable] = field(default_factory=dict)
    sent: Counter[tuple[str, int]] = field(default_factory=Counter)
    handled: dict[tuple[str, int], int] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    held: dict[str, dict[int, list[int]]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(list)))
    _suspended: dict[str, list[tuple[Told, int]]] = field(default_factory=lambda: defaultdict(list))
    _arrives: dict[tuple[str, str], float] = field(default_factory=dict)

    def send(self, sender: str, shard: int) -> None:
        """Send the next message of a node to a shard."""
        number = self.sent[sender, shard] = self.sent[sender, shard] + 1
        waiting = self.held[sender][shard]
        if len(waiting) < HELD_MAX:
            waiting.append(number)
        else:
            self.counts["dead"] += 1
        self._let_go(sender, shard)

    def changed(self, sender: str, table: ShardTable) -> None:
        """Take a table, and let go of what was held for shards that have an owner."""
        self.tables[sender] = table
        for shard in list(self.held[sender]):
            self._let_go(sender, shard)

    def mark(self, sender: str, effect: SendMarker) -> None:
        """Send a marker behind all messages to that owner."""
        came = PlacementCame(self.world.nodes[sender].run, Marker(effect.key, effect.shard, effect.move))
        to = self.world.names[effect.to]
        self._travel(sender, to, partial(self.world.tell, to, came))

    def resume(self, name: str) -> None:
        """Handle what came while a node did not serve."""
        for told, epoch in self._suspended.pop(name, []):
            self._take(name, told, epoch)

    @property
    def is_done(self) -> bool:
        """Whether everything sent was handled."""
        return self.counts["handled"] == self.sent.total()

    def _let_go(self, sender: str, shard: int) -> None:
        table = self.tables.get(sender)
        row = None if table is None else table.row(shard)
        if isinstance(row, Owned):
            for number in self.held[sender].pop(shard, []):
                to = self.world.names[row.owner]
                take = partial(self._take, to, Told(sender, shard, number), row.epoch)
                if not self._travel(sender, to, take):
                    self.counts["unknown"] += 1

    def _travel(self, sender: str, to: str, arrive: Callable[[], None]) -> bool:
        if not self.passes(sender, to):
            return False
        travels = self.travels() if sender != to else 0.0
        at = max(self.world.now + travels, self._arrives.get((sender, to), 0.0))
        self._arrives[sender, to] = at
        if sender == to:
            arrive()
        else:
            self.world.later(at - self.world.now, arrive)
        return True

    def _take(self, name: str, told: Told, epoch: int) -> None:
        node = self.world.nodes[name]
        if not node.alive:
            self.counts["unknown"] += 1
            return
        held = node.machine.region.held.get((self.world.key, told.shard))
        if held is None or held.epoch != epoch or held.is_stopping:
            self.counts["refused"] += 1
            return
        if self._suspended[name] or node.paused or not node.serves:
            self._suspended[name].append((told, epoch))
            return
        last = self.handled.get((told.sender, told.shard), 0)
        if told.number <= last:
            text = f"{told} after {last}, at {name}"
            raise InvariantBroken("messages of one sender to one shard are handled in order", text)
        self.handled[told.sender, told.shard] = told.number
        self.counts["handled"] += 1
