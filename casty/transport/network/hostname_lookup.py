"""Name resolution: from the host of an address to IP addresses to dial.

Owns the threads of name look-ups, and their division. The system's resolver blocks a thread for as long as it likes, 30
s or more where a name server is silent, and a thread cannot be cancelled: its place is free again when it ends, not
when its waiter gave up. So names have threads of their own, apart from those of the program and of the lease; names
from strangers have threads apart from those known to this node by itself; and within both nobody has more than a few,
so that the slow name of one does not keep that of another waiting.

An IP address needs no thread. A host is ASCII: international names are dialled as registries keep them, in A-labels
(RFC 5890, section 2.3.2.1). To encode them here would read tables for 0.15 s on the loop, for every hello.
"""

from __future__ import annotations

import socket
from ipaddress import ip_address
from itertools import chain, zip_longest
from typing import Final, cast

import trio

LOOKUPS_MAX: Final = 16
"""Threads for the names of members, seeds and commands."""
STRANGERS_LOOKUPS_MAX: Final = 32
"""Threads for names said only by strangers: it takes 16 of their hosts to have them all."""
LOOKUPS_EACH_MAX: Final = 2
"""Threads for one name of the first kind, or for all names from the strangers of one host."""

NOT_ASCII: Final = "a host name is ASCII here: write an international one in A-labels, such as 'xn--bcher-kva.example'"


class HostnameLookup:
    """The lookups of one network.

    >>> lookup = HostnameLookup()
    >>> trio.run(lookup.resolve, "127.0.0.1"), trio.run(lookup.resolve, "::1")
    (['127.0.0.1'], ['::1'])
    """

    __slots__ = ("_known", "_shares", "_strangers")

    def __init__(self) -> None:
        self._known = trio.CapacityLimiter(LOOKUPS_MAX)
        self._strangers = trio.CapacityLimiter(STRANGERS_LOOKUPS_MAX)
        self._shares: dict[tuple[trio.CapacityLimiter, str], _Share] = {}

    async def resolve(self, host: str, named_by: str | None = None) -> list[str]:
        """Return the IP addresses of a host in the order in which to try them. Bound it in time.

        ``named_by``: host of the stranger that named this one; None where this node knows it by itself. Raises OSError
        or ValueError with the reason where there is none.
        """
        if not host.isascii():
            raise ValueError(NOT_ASCII)
        if _is_ip_address(host):
            await trio.lowlevel.checkpoint()
            return [host]
        share = self._share(self._known, host) if named_by is None else self._share(self._strangers, named_by)
        limiter = cast("trio.CapacityLimiter", share)  # Trio asks for the two methods only
        return await trio.to_thread.run_sync(_look_up, host, abandon_on_cancel=True, limiter=limiter)

    def _share(self, all_threads: trio.CapacityLimiter, of: str) -> _Share:
        share = self._shares.get((all_threads, of))
        if share is None:
            self._shares = {key: other for key, other in self._shares.items() if not other.is_idle}
            share = self._shares[all_threads, of] = _Share(all_threads)
        return share

    def __repr__(self) -> str:
        return f"<HostnameLookup known={self._known.borrowed_tokens} strangers={self._strangers.borrowed_tokens}>"


class _Share:
    """Limiter of threads out of those of another limiter."""

    __slots__ = ("_all", "_own")

    def __init__(self, all_threads: trio.CapacityLimiter) -> None:
        self._own = trio.CapacityLimiter(LOOKUPS_EACH_MAX)
        self._all = all_threads

    async def acquire_on_behalf_of(self, borrower: object) -> None:
        """Wait for a thread of this share, then for one of all."""
        await self._own.acquire_on_behalf_of(borrower)
        try:
            await self._all.acquire_on_behalf_of(borrower)
        except BaseException:
            self._own.release_on_behalf_of(borrower)
            raise

    def release_on_behalf_of(self, borrower: object) -> None:
        """Give the thread back after its end."""
        self._all.release_on_behalf_of(borrower)
        self._own.release_on_behalf_of(borrower)

    @property
    def is_idle(self) -> bool:
        """Whether nobody has a thread of it or waits for one."""
        return not self._own.borrowed_tokens and not self._own.statistics().tasks_waiting


def _is_ip_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _look_up(host: str) -> list[str]:
    """Ask the system; addresses of the two families take turns, IPv6 first (RFC 8305, section 4)."""
    found = socket.getaddrinfo(host.encode("ascii"), None, type=socket.SOCK_STREAM)
    by_family: dict[int, list[str]] = {socket.AF_INET6: [], socket.AF_INET: []}
    for family, _, _, _, place in found:
        if isinstance(place[0], str) and place[0] not in by_family.setdefault(family, []):
            by_family[family].append(place[0])
    turns = zip_longest(*by_family.values())
    addresses = [address for address in chain.from_iterable(turns) if address is not None]
    if not addresses:
        raise OSError("the host has no address of a family that this machine speaks")
    return addresses
