"""Node of ``casty demo-cart``: the program of the processes started by the driver.

``python -m casty.cli.demo_cart.cart_process PORT NODE_ID MEMBERS`` joins the node at 127.0.0.1:PORT, waits until
MEMBERS nodes are up, and hosts carts. It leaves on SIGTERM, and when its stdin ends, because then the driver is gone.
"""

from __future__ import annotations

from casty.cli.demo.worker_process import run_worker
from casty.cli.demo_cart.carts import carts
from casty.cli.hosting import HostedActor

if __name__ == "__main__":
    run_worker(HostedActor("carts", carts))
