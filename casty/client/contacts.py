"""Contact points of one client: those it was given, and those that the cluster has told it of.

Owns their order, and no connection. The one that answered last comes first, one that failed comes last; what was given
stays known for good.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from random import Random
from typing import Final

from casty.address import NodeAddress

LEARNED_MAX: Final = 256
"""Addresses kept of those told by nodes."""

AddressMap = Callable[[NodeAddress], NodeAddress]


class ContactPoints:
    """Addresses to try, in turn.

    Parameters:
        given: Those of the program, as the client dials them.
        address_map: Function of an address, as nodes know it, to the one that the client dials; None dials it.
        rng: Source of the order among those learned.
    """

    __slots__ = ("_address_map", "_given", "_learned", "_queue", "_rng")

    def __init__(self, given: Iterable[NodeAddress], address_map: AddressMap | None, rng: Random) -> None:
        self._given = tuple(dict.fromkeys(given))
        self._address_map = address_map
        self._rng = rng
        self._learned: tuple[NodeAddress, ...] = ()
        self._queue: list[NodeAddress] = []

    @property
    def all(self) -> tuple[NodeAddress, ...]:
        """All known ones: first those that the cluster has told, then those given."""
        return tuple(dict.fromkeys((*self._learned, *self._given)))

    def learn(self, addresses: Iterable[NodeAddress]) -> None:
        """Take the members of the cluster in place of those told before."""
        mapped = addresses if self._address_map is None else map(self._address_map, addresses)
        learned = tuple(dict.fromkeys(mapped))[:LEARNED_MAX]
        if learned and set(learned) != set(self._learned):
            self._learned = learned
            self._queue = [address for address in self._queue if address in learned or address in self._given]

    def next(self) -> tuple[NodeAddress, bool]:
        """Return the next one to try, and whether all have been tried since the last success."""
        is_round_over = not self._queue
        if is_round_over:
            self._queue = list(self.all)
            self._rng.shuffle(self._queue)
        return self._queue.pop(0), is_round_over

    def answered(self) -> None:
        """Begin anew with all of them when the one in use fails."""
        self._queue = []

    def __repr__(self) -> str:
        return f"<ContactPoints {', '.join(map(str, self.all))}>"
