"""Cutting of content too large for one frame into pages.

Owns the bounds of a page and the weights of its content. A page of a slot names its first and its last version, so
pages need not be put together again: each is taken as it comes, in order, and a lost one is asked for again. It does
not know who sends pages or when (`anti_entropy`).

How it works: a weight is an upper bound of the size of a value on the wire, by bytes and by msgpack values, calculated
and not measured: this layer knows nothing of bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from casty.address import UniqueAddress

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


def room_after(weight: Weight) -> Room:
    """Return the room of a new page after its first content, taken whatever it weighs."""
    return Room(PAGE_BYTES_MAX - FRAME_BYTES - weight.bytes, PAGE_ELEMENTS_MAX - FRAME_BYTES - weight.elements)
