"""Node of ``casty demo``: the program of the processes started by the driver.

``python -m casty.cli.demo.worker_process PORT NODE_ID MEMBERS`` joins the node at 127.0.0.1:PORT, waits
until MEMBERS nodes are up, and counts words. It leaves on SIGTERM, and when its stdin ends, because
then the driver is gone.
"""

from __future__ import annotations

import logging
import os
import sys
from dataclasses import dataclass, replace

import trio

from casty import ClusterSettings, SystemConfig
from casty.cli.demo.demo_certificates import tls_of_a_process
from casty.cli.demo.words import word_counter
from casty.cli.exits import ExitCode, run_until_signal
from casty.cli.hosting import HostedActor, NodePlan, host

SYSTEM_NAME = "casty-demo"
HOST = "127.0.0.1"
COUNTER_ROLE = "counter"
JOIN_TIMEOUT = 30.0
SETTINGS = replace(ClusterSettings.local(), leave_timeout=0.5, on_downed="stop")
"""A node leaving while another one is dead waits in vain for agreement, and the user at the terminal with it: so not
for long.
"""


def plan_of(node_id: str, port: int, members: int) -> NodePlan:
    """Return how one node of the demo is made."""
    return NodePlan(
        node_id=node_id,
        name=SYSTEM_NAME,
        host=HOST,
        seed_nodes=((HOST, port),),
        roles=frozenset({COUNTER_ROLE}),
        required_quorum=members,
        join_timeout=JOIN_TIMEOUT,
        settings=SETTINGS,
    )


@dataclass(frozen=True, slots=True)
class Worker:
    """One run of the program."""

    plan: NodePlan
    guest: HostedActor

    async def run(self) -> ExitCode:
        """Be a node until the driver is gone or somebody asks it to end."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_at_end_of_stdin, nursery.cancel_scope)
            ending = await host(self.plan, self.guest)
            nursery.cancel_scope.cancel()
            return ending
        return ExitCode.ok


async def _cancel_at_end_of_stdin(scope: trio.CancelScope) -> None:
    async with trio.lowlevel.FdStream(os.dup(sys.stdin.fileno())) as stdin:
        while await stdin.receive_some():
            continue
    scope.cancel()


def run_worker(guest: HostedActor, config: SystemConfig | None = None) -> None:
    """Run the program, as the arguments of the process say; ``config`` is the default one unless given."""
    port, node_id, members = sys.argv[1:]
    logging.basicConfig(level=logging.WARNING, format=f"{node_id} %(levelname)s %(message)s")
    plan = replace(
        plan_of(node_id, int(port), int(members)), config=config or SystemConfig(), tls=tls_of_a_process(os.environ)
    )
    sys.exit(trio.run(run_until_signal, Worker(plan, guest).run))


if __name__ == "__main__":
    run_worker(HostedActor("word-counter", word_counter))
