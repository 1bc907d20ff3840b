"""Start of each member's knowledge of an accusation, as far as this node can tell.

Owns one note for each accused or downed run: the members known to have seen a state that says so, each with the time
since. It does not know what follows from it (`resolver`, `serving_lease`).

How it works: a member has seen the accusations of every version it has seen. The time of a note is the one at which
this node learned of it, never too early. An accusation can be retracted and raised again between two states on their
way here, and somebody may have acted in the gap. So a note holds only as long as one of its first accusers still
accuses, in a row changed by at most one version at a time: one version either retracts an accusation or is about
something else. A down member stays down, so knowledge of it needs no such care.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from casty.address import UniqueAddress
from casty.protocol.state.member import MemberStatus
from casty.protocol.state.membership_state import Gossip

Times = dict[UniqueAddress, float]


def _no_times() -> Times:
    return {}


@dataclass(slots=True)
class _Accused:
    """First accusers, by their rows' versions, and those who know, each with the time since."""

    rows: dict[UniqueAddress, int]
    known: Times = field(default_factory=_no_times)

    def continues(self, rows: Mapping[UniqueAddress, int]) -> bool:
        """Take the versions of the rows with the accusation now; return whether one of them had it all the time."""
        self.rows = {
            observer: rows[observer]
            for observer, version in self.rows.items()
            if observer in rows and rows[observer] <= version + 1
        }
        return bool(self.rows)


@dataclass(slots=True)
class SeenTracker:
    """The notes of one node; call `observe` with each state."""

    _accused: dict[UniqueAddress, _Accused] = field(default_factory=lambda: dict[UniqueAddress, _Accused]())
    _down: dict[UniqueAddress, Times] = field(default_factory=lambda: dict[UniqueAddress, Times]())

    def observe(self, state: Gossip, now: float) -> None:
        """Take note of the versions seen by each member."""
        accusers = _accusers(state)
        self._accused = {
            node: case
            for node, case in self._accused.items()
            if node in accusers and case.continues(accusers[node])
        }  # fmt: skip
        for node, rows in accusers.items():
            _note(self._accused.setdefault(node, _Accused(rows)).known, state, now)
        down = [member.unique for member in state.ordered if member.status is MemberStatus.down]
        self._down = {node: self._down.get(node, {}) for node in down}
        for times in self._down.values():
            _note(times, state, now)

    def know_down(self, node: UniqueAddress) -> Collection[UniqueAddress]:
        """Return the members known to know that ``node`` is down."""
        return self._down.get(node, {}).keys()

    def known_since(self, node: UniqueAddress, by: Collection[UniqueAddress]) -> float | None:
        """Return since when all of ``by`` have known that ``node`` is accused or down, None while one may not."""
        accused = self._accused[node].known if node in self._accused else {}
        down = self._down.get(node, {})
        latest = None
        for member in by:
            times = [known[member] for known in (accused, down) if member in known]
            if not times:
                return None
            latest = min(times) if latest is None else max(latest, min(times))
        return latest


def _note(known: Times, state: Gossip, now: float) -> None:
    for member in state.seen - known.keys():
        known[member] = now


def _accusers(state: Gossip) -> dict[UniqueAddress, dict[UniqueAddress, int]]:
    found: dict[UniqueAddress, dict[UniqueAddress, int]] = {}
    for observer, row in state.rows.items():
        if not row.accused or observer in state.unheeded:
            continue
        for node in row.accused:
            if node in state.members:
                found.setdefault(node, {})[observer] = row.version
    return found
