"""Pages of a state too large for one frame, and their assembly.

Owns the cutting at the sender and the waiting parts at the receiver. A state is applied whole or not at all, so a page
lost or out of order ends its state; the next round of gossip sends another. It does not know what a state means
(`receive`) or how a page becomes bytes.

How it works: the pages of one state follow each other on one link, numbered, with a serial to tell them from those of
the sender's next state. Most states fit into one frame and stay as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from casty.address import UniqueAddress
from casty.errors import DecodeError
from casty.protocol.messages.membership import GossipState, StatePage
from casty.protocol.state.member import Member
from casty.protocol.state.paging import NUMBER_BYTES, Room, Weight, extra_weight, run_weight, text_bytes

ACCUSED_PER_PART = 64
"""A row of more accusations is split, so none is larger than a page."""
PARTS_MAX = 256
STATE_BYTES_MAX = 16 * 1024 * 1024
"""Of one state on its way in; the largest of an honest cluster, with the longest names, is half of it."""
ASSEMBLIES_MAX = 8
"""States on their way in at one time; of more the oldest is given up."""

Row = tuple[UniqueAddress, int, tuple[UniqueAddress, ...]]
_CLOCK_ENTRY = Weight(2 * NUMBER_BYTES + 1, 3)
_TOMBSTONE = Weight(NUMBER_BYTES + 1, 2)
_ROW = Weight(NUMBER_BYTES + 8, 4)


@dataclass(slots=True)
class _Part:
    """Content of one page."""

    room: Room = field(default_factory=Room)
    members: list[Member] = field(default_factory=lambda: list[Member]())
    tombstones: list[tuple[UniqueAddress, float]] = field(default_factory=lambda: list[tuple[UniqueAddress, float]]())
    rows: list[Row] = field(default_factory=lambda: list[Row]())
    version: list[tuple[int, int]] = field(default_factory=lambda: list[tuple[int, int]]())


@dataclass(slots=True)
class StateCutter:
    """Maker of the messages that bring a state to a peer; remembers the last, as it goes to several."""

    _serial: int = 0
    _state: GossipState | None = None
    _messages: Sequence[GossipState | StatePage] = ()

    def messages(self, state: GossipState) -> Sequence[GossipState | StatePage]:
        """Return the state itself when it fits into one frame, else its pages, in order."""
        if state is not self._state:
            self._serial += 1
            parts = _cut(state)
            pages = [
                StatePage(self._serial, index, len(parts), _content(state, part)) for index, part in enumerate(parts)
            ]
            self._state, self._messages = state, pages if len(pages) > 1 else [state]
        return self._messages


@dataclass(slots=True)
class _Assembly:
    """Pages of one state received so far."""

    serial: int
    count: int
    parts: list[GossipState] = field(default_factory=lambda: list[GossipState]())
    bytes: int = 0


@dataclass(slots=True)
class StateAssembler:
    """Puts the pages of states together, one state of each sender at a time."""

    _open: dict[UniqueAddress, _Assembly] = field(default_factory=lambda: dict[UniqueAddress, _Assembly]())

    def take(self, sender: UniqueAddress, page: StatePage, size: int) -> GossipState | None:
        """Return the state completed by this page of ``size`` bytes, or None. DecodeError for a wrong count."""
        if not 0 <= page.index < page.count <= PARTS_MAX:
            raise DecodeError(f"gossip: page {page.index} of {page.count}; a state has at most {PARTS_MAX}")
        assembly = self._open.pop(sender, None)
        if page.index == 0:
            assembly = _Assembly(page.serial, page.count)
        if assembly is None or (page.serial, page.index) != (assembly.serial, len(assembly.parts)):
            return None
        assembly.parts.append(page.part)
        assembly.bytes += size
        if assembly.bytes > STATE_BYTES_MAX:
            raise DecodeError(f"gossip: a state of more than {STATE_BYTES_MAX} bytes")
        if len(assembly.parts) == assembly.count:
            return _joined(assembly.parts)
        while len(self._open) >= ASSEMBLIES_MAX:
            del self._open[next(iter(self._open))]
        self._open[sender] = assembly
        return None

    def forget(self, sender: UniqueAddress) -> None:
        """Drop the received pages of a state: the link is gone."""
        self._open.pop(sender, None)


def _cut(state: GossipState) -> list[_Part]:
    parts = [_Part()]

    def part_for(weight: Weight) -> _Part:
        if not parts[-1].room.takes(weight):
            parts.append(_Part())
            parts[-1].room.takes(weight)
        return parts[-1]

    for member in state.members:
        part_for(_member_weight(member)).members.append(member)
    for node, age in state.tombstones:
        part_for(run_weight(node) + _TOMBSTONE).tombstones.append((node, age))
    for row in state.rows:
        for piece in _pieces(row):
            part_for(_row_weight(piece)).rows.append(piece)
    for entry in state.version:
        part_for(_CLOCK_ENTRY).version.append(entry)
    return parts


def _content(state: GossipState, part: _Part) -> GossipState:
    return replace(
        state,
        members=tuple(part.members),
        tombstones=tuple(part.tombstones),
        rows=tuple(part.rows),
        version=tuple(part.version),
    )


def _joined(parts: Sequence[GossipState]) -> GossipState:
    return replace(
        parts[0],
        members=tuple(member for part in parts for member in part.members),
        tombstones=tuple(tombstone for part in parts for tombstone in part.tombstones),
        rows=_whole_rows([row for part in parts for row in part.rows]),
        version=tuple(entry for part in parts for entry in part.version),
    )


def _pieces(row: Row) -> list[Row]:
    node, version, accused = row
    starts = range(0, max(len(accused), 1), ACCUSED_PER_PART)
    return [(node, version, accused[start : start + ACCUSED_PER_PART]) for start in starts]


def _whole_rows(pieces: Sequence[Row]) -> tuple[Row, ...]:
    rows: list[Row] = []
    for node, version, accused in pieces:
        if rows and rows[-1][:2] == (node, version):
            rows[-1] = node, version, rows[-1][2] + accused
        else:
            rows.append((node, version, accused))
    return tuple(rows)


def _member_weight(member: Member) -> Weight:
    texts = text_bytes(member.address.host, member.id, member.version, *member.roles)
    return Weight(208 + texts, 22 + len(member.roles)) + extra_weight(member.extra)


def _row_weight(row: Row) -> Weight:
    node, _, accused = row
    weight = run_weight(node) + _ROW
    for subject in accused:
        weight += run_weight(subject)
    return weight
