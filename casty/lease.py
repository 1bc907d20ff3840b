"""Interface of a lease: the decision between the sides of a partition, from outside of the cluster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from casty.schema.names import message


@message("casty.LeaseClaim")
@dataclass(frozen=True, slots=True)
class LeaseClaim:
    """Request of one side of a partition to go on without the others.

    Members are runs of nodes, as ``host:port#incarnation``. A run that ends never comes back under that
    name: a node that starts again is another one.
    """

    cluster: str
    """The id of the cluster: one lease may serve several."""
    side: frozenset[str]
    """The members that claim, all that can reach each other."""
    others: frozenset[str]
    """The members that they have lost, and that must not go on if this side does."""


@runtime_checkable
class Lease(Protocol):
    """A store outside of the cluster that lets one side of a partition go on, and no other.

    It remembers who lost. A claim is granted when none of its ``side`` has ever been among the
    ``others`` of a granted claim of that cluster; the ``others`` are written down in the same
    transaction. So two sides that rule each other out never both get it, however late one of them asks,
    and nothing depends on a clock, a time to live or a renewal. A side that was granted and asks again
    is granted again.

    `casty.SqliteLease` is one for the nodes of one host. Another one needs a store with transactions, in
    which this is one:

        select the runs of the cluster that lost; if one of them is in claim.side, answer False;
        else insert claim.others, and answer True.
    """

    async def identify(self) -> str:
        """Tell this store from others; nodes with different stores refuse each other.

        Called once, before the node joins; what it raises keeps the node from starting.

        Returns:
            The store's identity, up to 32 characters.
        """
        ...

    async def acquire(self, claim: LeaseClaim) -> bool:
        """Claim the right to go on without the others. What it raises, and silence, count as a refusal.

        It may be cancelled. A claim that is granted after that is safe: it rules out the others, while this
        side has given itself up.

        Parameters:
            claim: The side that claims, and the members it has lost.

        Returns:
            Whether the claim is granted.
        """
        ...
