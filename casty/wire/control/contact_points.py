"""Contact points told to a client: the nodes of the cluster that it may turn to.

The body is a msgpack array of a mark and of pairs of host and port. It comes each second, so it tells as well that the
node is there.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgpack

from casty.address import HOST_LENGTH_MAX, NodeAddress
from casty.config.validation import PORT_MAX
from casty.errors import DecodeError
from casty.wire.envelope import FOREIGN
from casty.wire.frame import FrameKind, frame
from casty.wire.limits import ARRAY

MARK: Final = "casty.client.contacts"
CONTACTS_MAX: Final = 256
"""Addresses in one list; of a larger cluster, a client knows so many."""


def contacts_frame(addresses: Iterable[NodeAddress]) -> bytes:
    """Return the frame with these addresses; the first `CONTACTS_MAX` of them."""
    pairs = [[address.host, address.port] for address in addresses][:CONTACTS_MAX]
    return frame(FrameKind.CONTROL, msgpack.packb([MARK, pairs]))


def decode_contacts(body: bytes) -> list[NodeAddress]:
    """Return the addresses in the body of CONTROL. Raises DecodeError.

    >>> decode_contacts(contacts_frame([NodeAddress("10.0.0.1", 2551)])[5:])
    [NodeAddress(host='10.0.0.1', port=2551)]
    """
    try:
        said: Any = msgpack.unpackb(body)
    except FOREIGN as error:
        raise DecodeError(f"contact points: not valid msgpack ({type(error).__name__})") from None
    if type(said) is not ARRAY or len(said) != 2 or said[0] != MARK or type(said[1]) is not ARRAY:
        raise DecodeError(f"contact points: expected {MARK!r} and a list of addresses")
    if len(said[1]) > CONTACTS_MAX:
        raise DecodeError(f"contact points: expected at most {CONTACTS_MAX} addresses, got {len(said[1])}")
    return [_address(pair) for pair in said[1]]


def _address(pair: Any) -> NodeAddress:
    if type(pair) is not ARRAY or len(pair) != 2:
        raise DecodeError("contact points: expected pairs of host and port")
    host, port = pair
    if type(host) is not str or not 0 < len(host) <= HOST_LENGTH_MAX:
        raise DecodeError(f"contact points: expected a host of at most {HOST_LENGTH_MAX} characters")
    if type(port) is not int or not 0 < port <= PORT_MAX:
        raise DecodeError(f"contact points: expected a port of 1 to {PORT_MAX}")
    return NodeAddress(host, port)
