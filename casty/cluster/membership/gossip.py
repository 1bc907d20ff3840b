"""Driver of gossip: the actor ``_gossip``; it tells peers the knowledge of this node."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, assert_never

from casty.address import UniqueAddress
from casty.cluster.commands import GossipCmd, WriteTable
from casty.cluster.extension_tables import ClusterTable
from casty.cluster.node import ClusterNode
from casty.cluster.peer_queue import PeerReady
from casty.protocol.effects import Send, StartTimer, TimerFired
from casty.protocol.gossip.handover import (
    GossipCame,
    GossipEffect,
    GossipEvent,
    HandOver,
    RegistryChanged,
    TableChanged,
    TableWritten,
    UnknownTables,
)
from casty.protocol.gossip.machine import GOSSIP, Dissemination
from casty.protocol.membership.inputs import Received
from casty.protocol.messages.membership import GossipState
from casty.protocol.state.member import Member, MemberStatus
from casty.protocol.state.registry import Registry
from casty.protocol.state.rows import RowTable
from casty.runtime.behavior.behavior import Behavior, task
from casty.runtime.drive import drive
from casty.runtime.messaging.inbox import Inbox
from casty.runtime.system.context import ActorContext

GOSSIP_ROUND = TimerFired(GOSSIP)
WRITE_INTERVAL = 0.05
"""A change of a table costs every node a message, so a burst of them makes at most 20 of them a second."""


class GossipDriver:
    """Driver of the machine: the performance of its effects."""

    def __init__(
        self,
        node: ClusterNode,
        machine: Dissemination,
        ctx: ActorContext[GossipCmd],
        tables: Sequence[ClusterTable[Any]],
    ) -> None:
        self._node = node
        self._tables = {table.replicated.name: table for table in tables}
        self._written_at: dict[str, float] = {}
        self._living: tuple[Mapping[UniqueAddress, Member], frozenset[UniqueAddress]] = {}, frozenset()
        """Members at the last event, and those of them that are not down."""
        self._machine = machine
        self._ctx = ctx

    def handle(self, event: GossipCmd, now: float) -> Sequence[GossipEffect]:
        """Take an event of the machine, or the next message of a peer."""
        if isinstance(event, PeerReady):
            came = self._node.gossip_mail.take(event)
            return () if came is None else self._take(came, now)
        if isinstance(event, WriteTable):
            return self._write(event, now)
        self._node.cluster_metrics.gossip_rounds += event == GOSSIP_ROUND
        return self._handle(event, now)

    def _handle(self, event: GossipEvent, now: float) -> Sequence[GossipEffect]:
        effects = self._machine.handle(event, now)
        if self._tables:
            self._show_tables()
        return effects

    def _write(self, order: WriteTable, now: float) -> Sequence[GossipEffect]:
        """Tell the own rows of a table, or let them wait where they were told a moment ago."""
        wait = self._written_at.get(order.table, -math.inf) + WRITE_INTERVAL - now
        if wait > 0:
            self._ctx.schedule_once(order, wait)
            return ()
        self._written_at[order.table] = now
        return self._handle(TableWritten(order.table, self._tables[order.table].take_own()), now)

    def _show_tables(self) -> None:
        """Show the tables of extensions the rows of the members that are not down."""
        state = self._machine.state
        members, living = self._living
        if state is not None and state.members is not members:
            now = frozenset(n for n, member in state.members.items() if member.status is not MemberStatus.down)
            living = living if now == living else now  # most changes are of statuses and numbers
            self._living = state.members, living
        for name, table in self._tables.items():
            known = self._machine.tables.get(name)
            if isinstance(known, RowTable):
                table.show(known, living)

    def _take(self, came: GossipCame, now: float) -> Sequence[GossipEffect]:
        """Take a peer's message."""
        if self._machine.state is not None and came.sender in self._machine.state.members:
            self._node.gossip_heard[came.sender] = now
        return self._node.within_boundary(came.sender, came.message, lambda: self._handle(came, now))

    def perform(self, effect: GossipEffect) -> None:
        """Perform an effect of the machine."""
        match effect:
            case Send(to, GossipState() as state):
                self._node.send_state(to, state)
            case Send(to, message):
                self._node.send_control(to, message)
            case StartTimer(key, delay):
                self._ctx.schedule_once(TimerFired(key), delay, key=key)
            case TableChanged(Registry() as registry):
                self._node.subsystems.topology.tell(RegistryChanged(registry))
            case TableChanged():
                pass  # shown already
            case UnknownTables(_, names):
                for name in names:
                    self._node.cluster_metrics.note_unknown_table(name)
            case HandOver(sender, message):
                self._node.subsystems.topology.tell(Received(sender, message))
            case _ as never:
                assert_never(never)


def gossip_behavior(
    node: ClusterNode, machine: Dissemination, tables: Sequence[ClusterTable[Any]] = ()
) -> Behavior[GossipCmd]:
    """Return the behaviour of ``_gossip``; ``tables`` are those of the extensions."""

    async def main(ctx: ActorContext[GossipCmd], inbox: Inbox[GossipCmd]) -> None:
        driver = GossipDriver(node, machine, ctx, tables)
        await drive(driver, inbox, driver.perform)

    return task(main)
