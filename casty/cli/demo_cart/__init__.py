"""``casty demo-cart``: shopping carts as entities on a cluster of processes, under load, a kill and a newcomer."""
