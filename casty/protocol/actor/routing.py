"""Choice of the routee for a message: in turn, at random, or by a key.

Owns the choice between names. Must not know what a routee is, or how many routers there are: two
routers that know the same names choose the same one for a key, in every process and on every node.

Consistent hashing: Karger et al. 1997. Each name stands at many places of a ring of 64 bits, and a key
belongs to the next place clockwise, so a name that comes or goes moves only its own share of the keys.
The hash is BLAKE2b, because Python's own differs between processes.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Generic, Protocol, TypeVar

from casty.protocol.effects import Rng

M = TypeVar("M")
M_contra = TypeVar("M_contra", contravariant=True)

HASH_BYTES = 8
VIRTUAL_NODES = 100
"""Places of one name on the ring. With 100 the shares of ten names differ by about a tenth; more is
more even, and takes longer when a routee comes or goes."""


class Routing(Protocol[M_contra]):
    """A way to choose. ``choose`` is called only while there are names."""

    def update(self, names: Sequence[str]) -> None:
        """Choose between these names from now on."""
        ...

    def choose(self, message: M_contra) -> str:
        """Return the name of the receiver of the message."""
        ...


class RoundRobin:
    """Each in turn, in the order of the names."""

    def __init__(self) -> None:
        self._names: Sequence[str] = ()
        self._next = 0

    def update(self, names: Sequence[str]) -> None:
        self._names = tuple(names)

    def choose(self, message: object) -> str:
        self._next = (self._next + 1) % len(self._names)
        return self._names[self._next - 1]


class RandomRouting:
    """Anyone, with the same chance."""

    def __init__(self, rng: Rng) -> None:
        self._rng = rng
        self._names: Sequence[str] = ()

    def update(self, names: Sequence[str]) -> None:
        self._names = tuple(names)

    def choose(self, message: object) -> str:
        return self._names[int(self._rng.random() * len(self._names))]


class ConsistentHashing(Generic[M]):
    """One routee for a key, as long as it is there."""

    def __init__(self, key_of: Callable[[M], str | bytes | int], virtual_nodes: int) -> None:
        self._key_of = key_of
        self._virtual_nodes = virtual_nodes
        self._places: list[int] = []
        self._names: list[str] = []

    def update(self, names: Sequence[str]) -> None:
        ring = sorted((stable_hash(f"{name}#{n}"), name) for name in names for n in range(self._virtual_nodes))
        self._places = [place for place, _ in ring]
        self._names = [name for _, name in ring]

    def choose(self, message: M) -> str:
        place = bisect(self._places, stable_hash(self._key_of(message)))
        return self._names[place % len(self._names)]


def stable_hash(key: str | bytes | int) -> int:
    """Return a number of 64 bits, the same in every process.

    >>> stable_hash("cart-7") == stable_hash("cart-7"), stable_hash(7) == stable_hash("7")
    (True, False)
    """
    if isinstance(key, str):
        data = b"s" + key.encode("utf-8", "surrogatepass")
    elif isinstance(key, bytes):
        data = b"b" + key
    else:
        data = b"i%d" % key
    return int.from_bytes(blake2b(data, digest_size=HASH_BYTES).digest(), "big")
