"""Node of ``casty demo-cart``: the program of the processes started by the driver.

``python -m casty.cli.demo_cart.cart_process PORT NODE_ID MEMBERS`` joins the node at 127.0.0.1:PORT, waits until
MEMBERS nodes are up, and hosts carts, stored ones where the environment names a journal. It leaves on SIGTERM, and when
its stdin ends, because then the driver is gone.
"""

from __future__ import annotations

import os

from casty import SystemConfig
from casty.cli.demo.worker_process import run_worker
from casty.cli.demo_cart.cart_journals import journal_of
from casty.cli.demo_cart.carts import carts
from casty.cli.demo_cart.stored_carts import stored_carts
from casty.cli.hosting import HostedActor

if __name__ == "__main__":
    journal = journal_of(os.environ)
    guest = HostedActor("carts", carts) if journal is None else HostedActor("carts", stored_carts)
    run_worker(guest, SystemConfig(journal=journal))
