"""Cutting of content too large for one frame into pages.

Owns the bounds of a page and the weights of its content. A page of a slot names its first and its last version, so
pages need not be put together again: each is taken as it comes, in order, and a lost one is asked for again. It does
not know who sends pages or when (`anti_entropy`).

How it works: a weight is an upper bound of the size of a value on the wire, by bytes and by msgpack values, calculated
and not measured: this layer knows nothing of bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from casty.address import UniqueAddress
from casty.protocol.state.registry import Change, Kind, Registry, ServiceEntry, Slot, SlotPage

PAGE_BYTES_MAX = 256 * 1024
PAGE_ELEMENTS_MAX = 16_384
"""Decoding a page of so many values holds the loop for some milliseconds."""

NUMBER_BYTES = 9
HEAD_BYTES = 5
"""Bytes before the content of a text or a container."""
FRAME_BYTES = 1_024
"""For the frame, the name of its type and the fields around the pages."""


@dataclass(slots=True)
class Room:
    """Room left in one page."""

    bytes: int = field(default_factory=lambda: PAGE_BYTES_MAX - FRAME_BYTES)
    elements: int = field(default_factory=lambda: PAGE_ELEMENTS_MAX - FRAME_BYTES)

    def takes(self, weight: Weight) -> bool:
        """Take up room if there is enough of it, and return whether there was."""
        if weight.bytes > self.bytes or weight.elements > self.elements:
            return False
        self.bytes -= weight.bytes
        self.elements -= weight.elements
        return True


@dataclass(frozen=True, slots=True)
class Weight:
    """Upper bound of the size of a value on the wire."""

    bytes: int
    elements: int

    def __add__(self, other: Weight) -> Weight:
        return Weight(self.bytes + other.bytes, self.elements + other.elements)


def text_bytes(*texts: str) -> int:
    """Return at most how many bytes these texts take."""
    return sum(HEAD_BYTES + (len(text) if text.isascii() else 4 * len(text)) for text in texts)


def run_weight(node: UniqueAddress) -> Weight:
    """Return the weight of a run: two records, of two fields each, and their names."""
    return Weight(64 + text_bytes(node.address.host), 10)


def extra_weight(extra: tuple[tuple[str, bytes], ...]) -> Weight:
    """Return the weight of the fields added by later versions to a member or a service."""
    said = sum(text_bytes(name) + HEAD_BYTES + len(value) + 1 for name, value in extra)
    return Weight(HEAD_BYTES + said, 1 + 3 * len(extra))


@dataclass(slots=True)
class _Cut:
    """One slot on its way into pages: its part in the current page."""

    owner: UniqueAddress
    slot: Slot
    after: int
    upto: int = field(init=False)
    kinds: dict[Kind, int] = field(default_factory=lambda: dict[Kind, int]())
    changes: list[Change] = field(default_factory=lambda: list[Change]())

    def __post_init__(self) -> None:
        self.upto = self.after

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

    def add(self, version: int, entry: ServiceEntry, offered: bool) -> None:
        """Put one more change into the page."""
        kind = self.kinds.setdefault((entry.accepts, entry.extra), len(self.kinds))
        self.changes.append((version, entry.key, entry.path, entry.uid, kind, offered))
        self.upto = version

    def page(self) -> SlotPage:
        """Return a page of the added changes, without ending the slot."""
        return SlotPage(self.owner, self.after, self.upto, 0, tuple(self.kinds), tuple(self.changes))

    def last_page(self) -> SlotPage:
        """Return a page of the added changes, ending the slot."""
        slot = self.slot
        return SlotPage(self.owner, self.after, slot.version, slot.floor, tuple(self.kinds), tuple(self.changes))


def slot_pages(registry: Registry, versions: Mapping[UniqueAddress, int]) -> Iterator[tuple[SlotPage, ...]]:
    """Yield the news for a node with ``versions``, each tuple small enough for one frame."""
    pages: list[SlotPage] = []
    room = Room()
    for owner, slot in registry.newer_than(versions).items():
        head = run_weight(owner) + Weight(64 + 4 * NUMBER_BYTES, 13)
        cut = _Cut(owner, slot, versions.get(owner, 0))
        if not room.takes(head):
            yield tuple(pages)
            pages, room = [], _room_after(head)
        for version, entry, offered in slot.changes_after(cut.after):
            if not room.takes(cut.weight_of(entry)):
                yield (*pages, cut.page()) if cut.changes else tuple(pages)
                cut = _Cut(owner, slot, cut.upto)
                pages, room = [], _room_after(head + cut.weight_of(entry))
            cut.add(version, entry, offered)
        pages.append(cut.last_page())
    if pages:
        yield tuple(pages)


def _room_after(weight: Weight) -> Room:
    """Return the room of a new page after its first content, taken whatever it weighs."""
    return Room(PAGE_BYTES_MAX - FRAME_BYTES - weight.bytes, PAGE_ELEMENTS_MAX - FRAME_BYTES - weight.elements)
