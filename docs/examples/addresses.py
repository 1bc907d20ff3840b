"""Names of places. Look at what travels: an actor's address is text that any node can read back."""

from __future__ import annotations

from casty import ActorAddress, NodeAddress


def main() -> None:
    """Write an address, read it back, and order two nodes."""
    cart = ActorAddress("shop", "/cart", "10.0.0.1", 2551)
    print(cart.to_uri())
    assert ActorAddress.from_uri(cart.to_uri()) == cart
    print(min(NodeAddress("10.0.0.2", 2551), NodeAddress("10.0.0.1", 2551)), "comes first")


if __name__ == "__main__":
    main()
