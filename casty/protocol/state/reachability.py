"""Accusations of members that do not answer, by their observers.

Owns one row per observer: its accusations and a version increased only by its owner, so that the newer row wins a merge
and nobody retracts another's accusation. It does not know why an observer accuses (`monitor`) or what follows
(`downing`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from casty.address import UniqueAddress


@dataclass(frozen=True, slots=True)
class ObserverRow:
    """The accusations of one observer."""

    version: int = 0
    accused: frozenset[UniqueAddress] = frozenset()

    def accusing(self, *subjects: UniqueAddress) -> ObserverRow:
        """Return the row with accusations of the ``subjects`` too, or this row when it has them already."""
        return (
            self if self.accused.issuperset(subjects) else ObserverRow(self.version + 1, self.accused.union(subjects))
        )

    def absolving(self, subject: UniqueAddress) -> ObserverRow:
        """Return the row without an accusation of ``subject``, or this row when there is none."""
        return self if subject not in self.accused else ObserverRow(self.version + 1, self.accused - {subject})


Rows = Mapping[UniqueAddress, ObserverRow]


def merge_rows(one: Rows, other: Rows) -> dict[UniqueAddress, ObserverRow]:
    """Return the newer row of each observer. Equal versions hold equal rows: one owner wrote both."""
    merged = dict(one)
    for observer, row in other.items():
        mine = merged.get(observer)
        if mine is None or _order(row) > _order(mine):
            merged[observer] = row
    return merged


def _order(row: ObserverRow) -> tuple[int, list[UniqueAddress]]:
    # The second part only decides between rows forged by a faulty peer under one version, so that the merge stays
    # commutative for them too.
    return row.version, sorted(row.accused)


def kept_rows(rows: Rows, members: Collection[UniqueAddress]) -> dict[UniqueAddress, ObserverRow]:
    """Return the rows of present observers; accusations of absent subjects are masked at reading."""
    return {observer: row for observer, row in rows.items() if observer in members}


def unreachable_in(
    rows: Rows, members: Collection[UniqueAddress], void: Collection[UniqueAddress]
) -> frozenset[UniqueAddress]:
    """Return the members accused by somebody; accusations by the ``void`` observers do not count."""
    accused = (row.accused for observer, row in rows.items() if observer not in void)
    return frozenset(subject for subjects in accused for subject in subjects if subject in members)


def accusing_each_other(rows: Rows, among: Collection[UniqueAddress]) -> frozenset[UniqueAddress]:
    """Return the members in mutual accusation with another one, both of them ``among`` the given."""
    return frozenset(
        observer
        for observer, row in rows.items()
        if observer in among
        for subject in row.accused
        if subject in among and subject in rows and observer in rows[subject].accused
    )
