"""The settings of a node, as its machines take them.

Owns which setting goes where. It knows no rule itself: those are in the machines. The driver of a
real node and the simulation both come here, so that what is simulated is what runs.
"""

from __future__ import annotations

from collections.abc import Sequence

from casty.address import UniqueAddress
from casty.config import ClusterSettings
from casty.protocol.effects import Rng
from casty.protocol.failure_detector.monitor import Availability
from casty.protocol.gossip.machine import Dissemination
from casty.protocol.gossip.tables import ReplicatedTable, TableSet
from casty.protocol.membership.inputs import TopologySettings
from casty.protocol.messages.membership import WireTypesDigest
from casty.protocol.split_brain.strategies import strategy_of
from casty.protocol.state.registry import Registry


def topology_settings(
    settings: ClusterSettings,
    lease: str = "",
    wire_types: WireTypesDigest | None = None,
    journal: str = "",
    store: str = "",
) -> TopologySettings:
    """Return the settings of a node for its membership machine.

    ``lease`` and ``journal`` identify its stores, ``store`` names the one of the journal.
    """
    return TopologySettings(
        gossip_interval=settings.gossip_interval,
        gossip_fanout=settings.gossip_fanout,
        min_members=settings.min_members,
        min_members_per_role=tuple(sorted(settings.min_members_per_role.items())),
        downing=strategy_of(settings, lease),
        stable_after=settings.stable_after,
        leave_timeout=settings.leave_timeout,
        allow_new_cluster=settings.allow_new_cluster,
        wire_types=wire_types or WireTypesDigest(),
        journal=journal,
        store=store,
    )


def dissemination_of(
    self_node: UniqueAddress, settings: TopologySettings, rng: Rng, tables: Sequence[ReplicatedTable] = ()
) -> Dissemination:
    """Return the gossip of a node with that membership: of the registry, and of further ``tables``."""
    return Dissemination(
        self_node, settings.gossip_interval, settings.gossip_fanout, rng, TableSet((Registry(), *tables))
    )


def availability_of(self_node: UniqueAddress, settings: ClusterSettings) -> Availability:
    """Return the failure detection of a node."""
    return Availability(
        self_node,
        settings.heartbeat_interval,
        settings.availability_interval,
        settings.monitored_max,
        settings.failure_detector,
        settings.stable_after,
        settings.failure_detector_factory,
    )
