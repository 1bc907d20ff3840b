"""A lease for simulated clusters, in memory: two plays of one scenario know nothing of each other.

Owns the claims of one play. The protocol alone asks the model instead (`ModelCluster`), by the same rule.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from casty.lease import LeaseClaim
from casty.schema.names import message


@message("casty.testing.simulation.SimulatedLease")
@dataclass(frozen=True)
class SimulatedLease:
    """For the field ``lease`` of `ClusterSettings` in a `Scenario`: a node once ruled out never gets it.

    >>> from casty import ClusterSettings
    >>> ClusterSettings(downing="lease_majority", lease=SimulatedLease()).lease
    SimulatedLease()
    """

    _lost: set[str] = field(default_factory=set[str], init=False, repr=False, compare=False)

    async def identify(self) -> str:
        """Name this store.

        Returns:
            The name, its identity among others.
        """
        return "simulated"

    async def acquire(self, claim: LeaseClaim) -> bool:
        """Grant a claim unless one of its side was ruled out before.

        Parameters:
            claim: The claim of a side.

        Returns:
            Whether it is granted.
        """
        if self._lost & claim.side:
            return False
        self._lost.update(claim.others)
        return True
