"""A network of hosts on this machine: one network namespace each, joined by a bridge; cuts are rules of nftables.

Everything lives in namespaces of its own, and goes with them. It needs root, ``ip`` and ``nft``.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from itertools import count
from pathlib import Path

SERIAL = count(1)
PORT = 2551


@cache
def why_not() -> str:
    """Return why this machine cannot make such a network, "" when it can."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return "network namespaces need root"
    missing = [program for program in ("ip", "nft") if shutil.which(program) is None]
    if missing:
        return f"network namespaces need {' and '.join(missing)}"
    try:
        remove_left()
        with lan("probe", names="a") as found:
            found.drop("a", ["a"])
    except subprocess.CalledProcessError as error:
        return f"network namespaces cannot be used here: {error.stderr.strip()}"
    return ""


class Lan:
    """The hosts of one network, by name; the n-th has the address 10.77.0.n."""

    def __init__(self, prefix: str, names: Collection[str]) -> None:
        self._prefix = prefix
        self.addresses = {name: f"10.77.0.{number}" for number, name in enumerate(names, 1)}

    @property
    def seeds(self) -> list[tuple[str, int]]:
        """Where the nodes of all hosts listen."""
        return [(address, PORT) for address in self.addresses.values()]

    def within(self, name: str) -> list[str]:
        """Return what to put before a command that shall run on a host."""
        return ["ip", "netns", "exec", self.namespace(name)]

    def namespace(self, name: str) -> str:
        """Return the name of a host's namespace."""
        return f"{self._prefix}-{name}"

    def drop(self, name: str, sources: Collection[str], *, percent: int = 100) -> None:
        """Let a host lose what comes from others, or a part of it, by chance."""
        addresses = ", ".join(self.addresses[source] for source in sources)
        chance = f"numgen random mod 100 < {percent} " if percent < 100 else ""
        rules = f"""
            table ip fault {{
                chain input {{
                    type filter hook input priority 0;
                    ip saddr {{ {addresses} }} {chance}drop
                }}
            }}
        """
        run([*self.within(name), "nft", "-f", "-"], rules)

    def cut(self, one: Collection[str], other: Collection[str]) -> None:
        """Cut two groups of hosts off each other."""
        for name in one:
            self.drop(name, other)
        for name in other:
            self.drop(name, one)

    def heal(self) -> None:
        """Take all faults back."""
        for name in self.addresses:
            run([*self.within(name), "nft", "flush", "ruleset"])

    def make(self) -> None:
        """Make namespaces, wires and bridge."""
        bridge = self.namespace("lan")
        lines = [f"netns add {bridge}", *(f"netns add {self.namespace(name)}" for name in self.addresses)]
        ip(lines)
        ip(["link add br0 type bridge", "link set br0 up"], bridge)
        for number, name in enumerate(self.addresses):
            ip([f"link add port{number} type veth peer name eth0 netns {self.namespace(name)}"], bridge)
            ip([f"link set port{number} master br0 up"], bridge)
            address = self.addresses[name]
            ip([f"addr add {address}/24 dev eth0", "link set lo up", "link set eth0 up"], self.namespace(name))

    def remove(self) -> None:
        """Remove what was made; whatever still runs in there is cut off."""
        there = run(["ip", "netns", "list"]).split()
        for name in (*self.addresses, "lan"):
            if self.namespace(name) in there:
                run(["ip", "netns", "delete", self.namespace(name)])


def remove_left() -> None:
    """Remove what tests have left that were killed before they could."""
    for namespace in re.findall(r"^casty-\d+-\S+", run(["ip", "netns", "list"]), re.MULTILINE):
        if not Path("/proc", namespace.split("-")[1]).exists():
            with suppress(subprocess.CalledProcessError):  # another worker was faster
                run(["ip", "netns", "delete", namespace])


@contextmanager
def lan(purpose: str, *, names: Collection[str] = "abcde") -> Iterator[Lan]:
    """Give a network, and remove it whatever happens."""
    made = Lan(f"casty-{os.getpid()}-{next(SERIAL)}-{purpose}", names)
    try:
        made.make()
        yield made
    finally:
        made.remove()


def ip(lines: Sequence[str], namespace: str | None = None) -> None:
    """Run lines of ``ip``, in a namespace."""
    inside = [] if namespace is None else ["-netns", namespace]
    run(["ip", *inside, "-batch", "-"], "\n".join(lines) + "\n")


def run(command: Sequence[str], text: str = "") -> str:
    """Run a command that takes a moment and return what it says."""
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=20, check=True)
    return done.stdout
