"""The node processes of ``casty demo`` and ``casty demo-cart``: started, killed and ended by their driver alone."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import IO

import trio

from casty.cli.demo.demo_certificates import DemoCertificates

STOP_TIMEOUT = 1.0
"""Seconds for the nodes to leave before they are killed; Ctrl-C has two seconds in all."""
LOG_BYTES_MAX = 4_000
PROGRAM = "casty.cli.demo.worker_process"


@dataclass(slots=True)
class Fleet:
    """Processes by node id, each in a session of its own: Ctrl-C at the terminal reaches the driver alone."""

    members: int
    """Nodes, the driver among them, for each process to wait for."""
    program: str = ""
    """Module run by each process; empty for `PROGRAM`."""
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    """Variables of each process, beside those of this one."""
    certificates: DemoCertificates | None = None
    """None for nodes without TLS."""
    _processes: dict[str, trio.Process] = field(init=False, default_factory=dict[str, trio.Process])
    _log: IO[bytes] = field(init=False, default_factory=tempfile.TemporaryFile)

    @property
    def node_ids(self) -> tuple[str, ...]:
        """The nodes started, in their order."""
        return tuple(self._processes)

    async def start(self, node_id: str, seed_port: int) -> None:
        """Start one node; it joins through the port of the driver."""
        command = [sys.executable, "-m", self.program or PROGRAM, str(seed_port), node_id, str(self.members)]
        tls: Mapping[str, str] = {} if self.certificates is None else self.certificates.variables_of(node_id)
        self._processes[node_id] = await trio.lowlevel.open_process(
            command,
            stdin=subprocess.PIPE,  # its end tells the node that the driver is gone
            stdout=subprocess.DEVNULL,
            stderr=self._log,
            env={**os.environ, **self.environment, **tls},
            start_new_session=True,
        )

    def kill(self, node_id: str) -> None:
        """Kill a node with SIGKILL."""
        self._processes[node_id].kill()

    async def wait(self, node_id: str) -> int:
        """Wait until a node's process has ended; return its exit code, negative for a signal."""
        return await self._processes[node_id].wait()

    async def stop(self) -> None:
        """Let every node leave; kill those still running after `STOP_TIMEOUT`. Returns when all have ended."""
        processes = list(self._processes.values())
        for process in processes:
            process.terminate()
        with trio.move_on_after(STOP_TIMEOUT):
            for process in processes:
                await process.wait()
        for process in processes:
            process.kill()
            await process.wait()
            if process.stdin is not None:
                await process.stdin.aclose()
        self._log.close()

    def last_words(self) -> str:
        """Return the end of the nodes' output on stderr."""
        size = self._log.seek(0, 2)
        self._log.seek(max(0, size - LOG_BYTES_MAX))
        return self._log.read().decode(errors="replace").strip()
