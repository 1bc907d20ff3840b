"""Other names of nodes: addresses that were dialled, and what the nodes that answered there call their own.

Owns which answers lead on to another address. Who answers at an address may say that it is any node, so it could have
frames brought to a node that they are not for, and choose what this node dials. Hence

- what is for a certain run of a node is for its address as well, and goes nowhere else. A ref in a message of who is
  no member names a run (`casty.cluster.access`), so incarnation 0 is named by this node itself and by members alone;
- what is for whoever is at an address goes where it leads, unless a member calls that address its own;
- and that is where it ends: the second address is answered by the node that the first one has named, or by nobody.
"""

from __future__ import annotations

from casty.address import NodeAddress
from casty.transport.links.link_table import LinkTable
from casty.transport.manager.dialling import Dial
from casty.transport.manager.untrusted_peers import UntrustedPeers

ALIASES_MAX = 1_024
"""Addresses that are remembered as another name of a node; refs that members send can add to them."""


class Aliases:
    """What one run of a node knows of other names."""

    __slots__ = ("_links", "_missed", "_own", "_strangers")

    def __init__(self, links: LinkTable, strangers: UntrustedPeers) -> None:
        self._links = links
        self._strangers = strangers
        self._own: dict[NodeAddress, NodeAddress] = {}
        self._missed: dict[NodeAddress, int] = {}
        """How often in a row an address has led to a node without a link."""

    def own_of(self, address: NodeAddress) -> NodeAddress:
        """Return what the node at an address calls its own, as far as that is known."""
        own = self._own.get(address)
        return address if own is None or self._strangers.is_member_at(address) else own

    def may_redirect(self, dial: Dial) -> bool:
        """Whether it is followed that another address answers to a dial."""
        address = dial.address
        if dial.is_redirected or self._strangers.is_member_at(address):
            return False
        return address in self._own or any(not link.peer.incarnation for link in self._links.at(address))

    def missed(self, address: NodeAddress) -> int:
        """Return how often in a row an address has led to a node without a link: it is asked again later and later."""
        own = self.own_of(address)
        if own == address or any(link.session is not None for link in self._links.at(own)):
            return 0
        return 1 + self._missed.get(address, 0)

    def note(self, address: NodeAddress, own: NodeAddress) -> None:
        """Take note of what the node at an address calls its own; the one noted first goes where there are too many."""
        missed = self.missed(address)
        self.settle(address)
        while len(self._own) >= ALIASES_MAX:
            self.settle(next(iter(self._own)))
        self._own[address] = own
        if missed:
            self._missed[address] = missed

    def settle(self, address: NodeAddress) -> None:
        """Take note that the node at an address calls just that its own."""
        self._own.pop(address, None)
        self._missed.pop(address, None)

    def forget(self, own: NodeAddress) -> None:
        """Forget all other names of the node at an address."""
        for address in [address for address, other in self._own.items() if other == own]:
            self.settle(address)

    def __repr__(self) -> str:
        return f"<Aliases {len(self._own)}>"
