"""Which services run where, replicated to every node.

Owns one slot per run of a node, written only by that run, so the newer version of a slot wins and a
deregistration can never be undone by an older copy. Slots of removed runs go and never come back.
It does not know who subscribes (`listings`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from casty.address import NodeAddress, UniqueAddress

SERVICES_PER_NODE_MAX = 8_192


@dataclass(frozen=True, slots=True)
class ServiceEntry:
    """One registered service: the name of its key, its node, and the path of its actor there."""

    key: str
    node: NodeAddress
    path: str
    incarnation: int = field(default=0, kw_only=True)
    uid: int = field(default=0, kw_only=True)


LocalService = tuple[str, str, int]
"""Key, path and uid of a service, in the slot of the run that registered it."""


@dataclass(frozen=True, slots=True)
class Slot:
    """What one run has registered, in its ``version``-th form; sorted."""

    version: int = 0
    services: tuple[LocalService, ...] = ()


@dataclass(frozen=True, slots=True)
class Registry:
    """All slots of one cluster, as far as this node knows them."""

    slots: Mapping[UniqueAddress, Slot] = field(default_factory=lambda: dict[UniqueAddress, Slot]())

    def with_own(self, owner: UniqueAddress, services: Collection[LocalService]) -> Registry:
        """Return the registry in which ``owner`` offers exactly ``services``."""
        slot = self.slots.get(owner, Slot())
        wanted = tuple(sorted(set(services)))
        if wanted == slot.services:
            return self
        return Registry({**self.slots, owner: Slot(slot.version + 1, wanted)})

    def merge(self, slots: Mapping[UniqueAddress, Slot], removed: Collection[UniqueAddress]) -> Registry:
        """Return the registry with the newer of each slot, except of ``removed`` runs.

        Slots of runs that are not members yet are taken: their membership may be still on its way.
        """
        newer = {
            owner: slot
            for owner, slot in slots.items()
            if owner not in removed and slot.version > self.slots.get(owner, Slot()).version
        }
        return Registry({**self.slots, **newer}) if newer else self

    def kept(self, members: Collection[UniqueAddress]) -> Registry:
        """Return the registry with the slots of ``members`` only."""
        if all(owner in members for owner in self.slots):
            return self
        return Registry({owner: slot for owner, slot in self.slots.items() if owner in members})

    @property
    def versions(self) -> dict[UniqueAddress, int]:
        """The version of each slot."""
        return {owner: self.slots[owner].version for owner in sorted(self.slots)}

    def newer_than(self, versions: Mapping[UniqueAddress, int]) -> dict[UniqueAddress, Slot]:
        """Return the slots that a node with ``versions`` lacks."""
        return {
            owner: self.slots[owner]
            for owner in sorted(self.slots)
            if self.slots[owner].version > versions.get(owner, 0)
        }

    def lacks(self, versions: Mapping[UniqueAddress, int], members: Collection[UniqueAddress]) -> bool:
        """Return whether a node with ``versions`` knows more about a member than this one."""
        mine = self.versions
        return any(owner in members and version > mine.get(owner, 0) for owner, version in versions.items())

    def entries(self, members: Collection[UniqueAddress]) -> frozenset[ServiceEntry]:
        """Return the services of ``members``."""
        return frozenset(
            ServiceEntry(key, owner.address, path, incarnation=owner.incarnation, uid=uid)
            for owner, slot in self.slots.items()
            if owner in members
            for key, path, uid in slot.services
        )
