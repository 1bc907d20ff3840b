"""Other names of nodes: dialled addresses, each with the own address of the node that answered there.

Owns which answers lead on to another address. A node answering at an address may say that it is any node, so it could
have frames brought to a node they are not for, and choose the next address to dial. Hence

- frames for a certain run of a node are for its address as well, and go nowhere else. A ref in a stranger's message
  names a run (`casty.cluster.access`), so incarnation 0 is named by this node itself and by members alone;
- frames for any run at an address go where it leads, unless a member calls that address its own;
- and there it ends: the second address is answered by the node named at the first one, or by nobody.
"""

from __future__ import annotations

from casty.address import NodeAddress
from casty.transport.links.link_table import LinkTable
from casty.transport.manager.dialling import DialTask
from casty.transport.manager.untrusted_peers import UntrustedPeers

ALIASES_MAX = 1_024
"""Addresses remembered as another name of a node; refs sent by members can add to them."""


class Aliases:
    """Other names known to one run of a node."""

    __slots__ = ("_links", "_missed", "_own", "_strangers")

    def __init__(self, links: LinkTable, strangers: UntrustedPeers) -> None:
        self._links = links
        self._strangers = strangers
        self._own: dict[NodeAddress, NodeAddress] = {}
        self._missed: dict[NodeAddress, int] = {}
        """Number of times in a row an address has led to a node without a link."""

    def own_of(self, address: NodeAddress) -> NodeAddress:
        """Return the own address of the node at an address, as far as it is known."""
        own = self._own.get(address)
        return address if own is None or self._strangers.is_member_at(address) else own

    def may_redirect(self, dial: DialTask) -> bool:
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
        """Take note of the own address of the node at an address; the one noted first goes where there are too many."""
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
