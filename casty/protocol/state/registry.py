"""Registry of the services of all nodes, replicated to every one.

Owns the services offered by each run, as a table of slots (`slots`). It does not know who subscribes (`listings`), or
who is sent a page and when (`gossip`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import ClassVar, Final, cast

from casty.address import NodeAddress, UniqueAddress
from casty.config.validation import EXTRA_BYTES_MAX, EXTRA_MAX, NAME_LENGTH_MAX, is_extra
from casty.errors import DecodeError
from casty.protocol.state.paging import HEAD_BYTES, NUMBER_BYTES, Weight, extra_weight, text_bytes
from casty.protocol.state.slots import REMOVED_SPARE, Cut, PageSource, Slot, SlotTable, check_part
from casty.schema.names import message

REGISTRY: Final = "registry"
"""Name of the table."""
SERVICES_PER_NODE_MAX = 10_000
SLOT_CHANGES_MAX = 4 * SERVICES_PER_NODE_MAX + 4 * REMOVED_SPARE
"""Two generations of services and removals: one on its way out, one on its way in."""
PATH_LENGTH_MAX = 1_024
TYPES_LENGTH_MAX = 16_384
"""Characters of the names of all types taken by one service; four times as many bytes fit into a page."""


@message("casty.ServiceEntry")
@dataclass(frozen=True, slots=True)
class ServiceEntry:
    """One registered service: the name of its key, its node, and the path of its actor there."""

    key: str
    """Name of the service's key."""
    node: NodeAddress
    """Node of its actor."""
    path: str
    """Path of its actor."""
    incarnation: int = field(default=0, kw_only=True)
    """Run of the node."""
    uid: int = field(default=0, kw_only=True)
    """Number of the actor with that path."""
    accepts: tuple[str, ...] = field(default=(), kw_only=True)
    """Wire names of the types of message promised by its key; sorted."""
    extra: tuple[tuple[str, bytes], ...] = field(default=(), kw_only=True)
    """Fields added by nodes of later versions, by name: kept and passed on, not read."""

    def __hash__(self) -> int:
        # A third of the time of hashing all fields; registering a service hashes it a dozen times.
        return hash((self.key, self.path, self.uid, self.incarnation))


Change = tuple[int, str, str, int, int, bool]
"""Version, key, path, uid, the place of its kind in the page's table, and whether it is offered."""

Kind = tuple[tuple[str, ...], tuple[tuple[str, bytes], ...]]
"""The part of services common to many as a rule: accepted types, and fields of later versions."""


@dataclass(frozen=True, slots=True)
class SlotPage:
    """All changes of one slot with versions after ``after`` and up to ``upto``, as they travel.

    ``floor`` is 0 but in the last page of a slot: only a node with everything may forget the changes below.
    """

    owner: UniqueAddress
    after: int
    upto: int
    floor: int
    kinds: tuple[Kind, ...]
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class RegistrySlots:
    """Service slots missing at the receiver, or a page of them."""

    cluster_id: int
    pages: tuple[SlotPage, ...]
    table: ClassVar[str] = REGISTRY


@dataclass(slots=True)
class _ServicesCut(Cut[ServiceEntry, SlotPage]):
    """Services of one slot on their way into a page."""

    kinds: dict[Kind, int] = field(default_factory=dict[Kind, int])
    changes: list[Change] = field(default_factory=list[Change])

    def weight_of(self, entry: ServiceEntry) -> Weight:
        """Return the weight of one more change, with its kind if the table of this page lacks it."""
        key, path = entry.key, entry.path
        characters = len(key) + len(path)  # as text_bytes says, in a third of the time
        bytes_most = characters if key.isascii() and path.isascii() else 4 * characters
        weight = Weight(3 * NUMBER_BYTES + 3 + 2 * HEAD_BYTES + bytes_most, 7)
        if (entry.accepts, entry.extra) in self.kinds:
            return weight
        types = Weight(2 * HEAD_BYTES + text_bytes(*entry.accepts), 2 + len(entry.accepts))
        return weight + types + extra_weight(entry.extra)

    def put(self, version: int, entry: ServiceEntry, there: bool) -> None:
        """Put one more change into the page."""
        kind = self.kinds.setdefault((entry.accepts, entry.extra), len(self.kinds))
        self.changes.append((version, entry.key, entry.path, entry.uid, kind, there))

    def page(self, upto: int, floor: int) -> SlotPage:
        """Return a page of the changes put into it."""
        return SlotPage(self.owner, self.after, upto, floor, tuple(self.kinds), tuple(self.changes))


@dataclass(frozen=True)
class Registry(SlotTable[ServiceEntry, SlotPage]):
    """Services of all nodes of one cluster, as far as this node knows them."""

    @property
    def name(self) -> str:
        """Name of the table on the wire."""
        return REGISTRY

    @property
    def is_everywhere(self) -> bool:
        """Whether each node has it: so it is."""
        return True

    def with_own(self, owner: UniqueAddress, services: AbstractSet[ServiceEntry]) -> Registry:
        """Return the registry with exactly ``services`` offered by ``owner``."""
        slot = self.slot_of(owner)
        # Set operations on sets and dicts use the stored hashes: no entry is hashed again.
        gone = frozenset(slot.entries).difference(services)
        new = frozenset(services).difference(slot.entries)
        changes = [(entry, False) for entry in sorted(gone, key=_place)]
        after = slot.changed([*changes, *((entry, True) for entry in sorted(new, key=_place))])
        return self.with_slot(owner, after.without_old_removals())

    def written(self, owner: UniqueAddress, content: object) -> Registry:
        """Return the registry with exactly the services in ``content`` offered by ``owner``."""
        if not isinstance(content, AbstractSet):
            raise TypeError(f"the registry takes a set of services, got {content!r}")
        return self.with_own(owner, cast("AbstractSet[ServiceEntry]", content))

    def merged(self, source: PageSource, message: object) -> Registry:
        """Return the registry with the news in a peer's pages. DecodeError for pages of another table."""
        if not isinstance(message, RegistrySlots):
            raise DecodeError(f"registry: its pages are RegistrySlots, got {type(message).__name__}")
        return self.taking_from(source, message.pages)

    def messages(self, cluster_id: int, versions: Mapping[int, int]) -> Iterator[RegistrySlots]:
        """Yield the news for a node with ``versions``."""
        return (RegistrySlots(cluster_id, pages) for pages in self.pages_after(versions))

    def entries(self, members: Collection[UniqueAddress]) -> frozenset[ServiceEntry]:
        """Return the services of ``members``."""
        known = (frozenset(slot.entries) for owner, slot in self.slots.items() if owner in members)
        return frozenset[ServiceEntry]().union(*known)

    def cut_of(self, owner: UniqueAddress, after: int) -> _ServicesCut:
        """Return the begin of a page."""
        return _ServicesCut(owner, after)

    def changes_in(self, page: SlotPage) -> Iterator[tuple[int, ServiceEntry, bool]]:
        """Return the changes of a page."""
        place, run = page.owner.address, page.owner.incarnation
        for version, key, path, uid, kind, there in page.changes:
            accepts, extra = page.kinds[kind]
            entry = ServiceEntry(key, place, path, incarnation=run, uid=uid, accepts=accepts, extra=extra)
            yield version, entry, there

    def check_slot(self, owner: UniqueAddress, slot: Slot[ServiceEntry]) -> None:
        """Raise DecodeError for too many changes."""
        if len(slot.entries) + len(slot.removed) > SLOT_CHANGES_MAX:
            raise DecodeError(f"registry: {owner} has more than {SLOT_CHANGES_MAX} changes in its slot")

    def check_page(self, page: SlotPage) -> None:
        """Raise DecodeError for a page in contradiction with itself."""
        check_part("registry", page, [change[0] for change in page.changes])
        if any(sum(map(len, names)) > TYPES_LENGTH_MAX or len(names) > TYPES_LENGTH_MAX for names, _ in page.kinds):
            raise DecodeError(f"registry: the names of a service's types have at most {TYPES_LENGTH_MAX} characters")
        if any(not is_extra(extra) for _, extra in page.kinds):
            raise DecodeError(
                f"registry: a service says at most {EXTRA_MAX} more things, of at most {EXTRA_BYTES_MAX} bytes"
            )
        for _, key, path, uid, kind, _ in page.changes:
            if not 0 < len(key) <= NAME_LENGTH_MAX or not 0 < len(path) <= PATH_LENGTH_MAX:
                raise DecodeError(
                    f"registry: a key or a path is empty, or longer than {NAME_LENGTH_MAX} or {PATH_LENGTH_MAX}"
                )
            if not 0 <= kind < len(page.kinds) or uid < 0:
                raise DecodeError("registry: the changes of a page must be of kinds in its table, in order")


def _place(entry: ServiceEntry) -> tuple[str, str, int, Kind]:
    return entry.key, entry.path, entry.uid, (entry.accepts, entry.extra)
