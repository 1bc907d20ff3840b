"""Faults of the path inside of a link with TLS: what arrives is the beginning of what was sent, and the link ends.

A relay between two ends changes one record: a bit flips, the record is lost, comes twice, later, cut short, or again at
the end. `python tests/simulation/tls_faults.py --seeds 0:100000` plays many in memory, `--tcp` over sockets.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from typing import Final

import trio
import trio.testing

sys.path.insert(0, str(Path(__file__).parents[1]))  # for the helpers, from wherever it is started

from helpers.certificates import TestCa

from casty import CastyError, MemoryNetwork, TlsConfig, TlsNetwork
from casty.config import TransportLimits
from casty.transport.network.interface import Connection, ConnectionLost, Network
from casty.transport.network.tcp import TcpNetwork
from casty.transport.network.tls import TlsConnection

KINDS: Final = ("flip", "drop", "double", "delay", "truncate", "replay")
HEADER: Final = 5
CHANGE_CIPHER_SPEC: Final = 0x14
"""Records for the eyes of middle boxes alone; whatever becomes of one says nothing about what is encrypted."""
HANDSHAKE: Final = 0x16
MESSAGES: Final = 12
LIMITS: Final = TransportLimits()
"""Bounds of a node for a handshake. A changed length inside its first message has both ends wait for the other."""
PATIENCE: Final = 30.0
SILENCE: Final = 0.5


@dataclass
class Tampering:
    """One change of one record of a direction."""

    kind: str
    at: int
    """Number of the record."""
    rng: Random
    records: int = 0
    is_hit: bool = False
    is_done: bool = False
    """Whether what is protected was touched; no end may then take the whole for what was sent."""
    waits: trio.Event = field(default_factory=trio.Event)
    """Set when an end may wait for bytes that do not come, as it does for those of a silent peer."""
    held: list[bytes] = field(default_factory=list)

    def change(self, record: bytes) -> Sequence[bytes] | None:
        """Return what is passed on in place of a record; None ends the connection."""
        number, self.records = self.records, self.records + 1
        if number != self.at:
            held, self.held = self.held, []
            if held and record[0] == CHANGE_CIPHER_SPEC:
                self.is_done = False
            return [record, *held]
        self.is_hit, self.is_done = True, record[0] != CHANGE_CIPHER_SPEC
        if self.kind in ("drop", "delay"):
            self.waits.set()
        if self.kind == "flip":
            place = self.rng.randrange(len(record))
            if place in (3, 4):  # its length
                self.waits.set()
            if record[0] == HANDSHAKE and place in (1, 2):
                self.is_done = False  # the version of a record in the clear says nothing
            changed = bytearray(record)
            changed[place] ^= 1 << self.rng.randrange(8)
            return [bytes(changed)]
        if self.kind == "drop":
            return []
        if self.kind == "double":
            return [record, record]
        if self.kind == "delay":
            self.held = [record]
            return []
        if self.kind == "replay":
            self.held, self.at = [record], -1
            return [record]
        return None


async def records_of(connection: Connection) -> AsyncGenerator[bytes]:
    """Yield the records of a direction, and a rest that is none."""
    data = b""
    while True:
        while len(data) >= HEADER and len(data) >= (end := HEADER + int.from_bytes(data[3:5], "big")):
            yield data[:end]
            data = data[end:]
        more = await connection.receive(65_536)
        if not more:
            break
        data += more
    if data:
        yield data


async def relay(source: Connection, target: Connection, tampering: Tampering | None) -> None:
    """Pass one direction on."""
    try:
        async with aclosing(records_of(source)) as records:
            async for record in records:
                passed = [record] if tampering is None else tampering.change(record)
                if passed is None:
                    cut = tampering.rng.randrange(len(record)) if tampering else 0
                    await target.send(record[:cut])
                    break
                for each in passed:
                    await target.send(each)
    except ConnectionLost:
        pass
    await target.aclose()
    await source.aclose()


@dataclass
class End:
    """What one end sends and gets."""

    sends: bytes
    gets: bytes = b""
    error: BaseException | None = None

    async def talk(self, connection: Connection, rng: Random) -> None:
        """Send all, read all, and close."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.send, connection, rng)
                while len(self.gets) < len(self.sends):
                    data = await connection.receive(4_096)
                    if not data:
                        break
                    self.gets += data
        except* (ConnectionLost, CastyError) as group:
            self.error = group
        finally:
            await connection.aclose()

    async def send(self, connection: Connection, rng: Random) -> None:
        """Send all, in pieces."""
        rest = self.sends
        while rest:
            size = rng.randrange(1, len(self.sends) // MESSAGES * 2)
            await connection.send(rest[:size])
            rest = rest[size:]


async def play(seed: int, ends: Sequence[TlsNetwork], middle: Network, hosts: Sequence[str]) -> tuple[str, str]:
    """Play one fault, and return its kind, and what is wrong; empty when nothing is."""
    client, server = ends
    rng = Random(seed)
    tampering = Tampering(rng.choice(KINDS), rng.randrange(10), Random(rng.random()))
    is_upwards = rng.random() < 0.5
    near, far = End(rng.randbytes(3_000)), End(rng.randbytes(3_000))
    listener = await server.listen(hosts[0], 0)
    port = await middle.listen(hosts[1], 0)
    problems: list[str] = []

    async def accept(connection: Connection) -> None:
        assert isinstance(connection, TlsConnection)
        try:
            with trio.fail_after(LIMITS.hello_timeout):
                await connection.shake_hands()
            await far.talk(connection, Random(seed))
        except (ConnectionLost, CastyError, trio.TooSlowError) as error:
            far.error = error
            await connection.aclose()
        except Exception as error:
            problems.append(f"the accepting end has failed: {error!r}")

    async def pass_on(up: Connection) -> None:
        down = await middle.connect(listener.address)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(relay, up, down, tampering if is_upwards else None)
                nursery.start_soon(relay, down, up, None if is_upwards else tampering)
        finally:
            with trio.CancelScope(shield=True):
                await down.aclose()
                await up.aclose()

    async def give_up(scope: trio.CancelScope) -> None:
        await tampering.waits.wait()
        await trio.sleep(SILENCE)
        scope.cancel()

    with trio.move_on_after(PATIENCE) as patience:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(listener.serve, accept)
            nursery.start_soon(port.serve, pass_on)
            nursery.start_soon(give_up, nursery.cancel_scope)
            try:
                with trio.fail_after(LIMITS.dial_timeout):
                    connection = await client.connect(port.address)
                await near.talk(connection, Random(seed))
            except (ConnectionLost, trio.TooSlowError) as error:
                near.error = error
            nursery.cancel_scope.cancel()
    for bound in (listener, port):
        await bound.aclose()
    if patience.cancelled_caught:
        problems.append(f"hung: {near.error!r} {far.error!r}")
    for name, end, other in (("near", near, far), ("far", far, near)):
        if not other.sends.startswith(end.gets):
            problems.append(f"{name} got what was not sent")
    victim, sender = (far, near) if is_upwards else (near, far)
    if tampering.is_done and tampering.kind != "replay" and victim.gets == sender.sends:
        problems.append("all has arrived in spite of it")
    if not tampering.is_hit and (near.gets, far.gets) != (far.sends, near.sends):
        problems.append(f"not all has arrived of a link that nobody touched: {near.error!r} {far.error!r}")
    return tampering.kind if tampering.is_hit else "none", "; ".join(problems)


def play_all(seeds: range, *, over_tcp: bool = False) -> tuple[Counter[str], list[str]]:
    """Play the faults of seeds; return how many of each kind, and what was wrong."""
    played: Counter[str] = Counter()
    wrong: list[str] = []

    async def main(files: Sequence[TlsConfig]) -> None:
        memory = MemoryNetwork()
        networks: list[Network] = [TcpNetwork() if over_tcp else memory.host(name) for name in "bam"]
        ends = [
            TlsNetwork(own, system_name="shop", node_id=name, network=network)
            for name, own, network in zip("ba", files, networks, strict=False)
        ]
        for seed in seeds:
            kind, problem = await play(seed, ends, networks[2], ("127.0.0.1",) * 2 if over_tcp else ("a", "m"))
            played[kind] += 1
            if problem:
                wrong.append(f"seed {seed}, {kind}: {problem}")

    with tempfile.TemporaryDirectory() as folder:
        ca = TestCa.make()
        files = [ca.node(Path(folder), name) for name in "ba"]
        clock = None if over_tcp else trio.testing.MockClock(autojump_threshold=0)
        trio.run(partial(main, files), clock=clock)
    return played, wrong


def main() -> int:
    """Play seeds, and tell what was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default="0:1000", help="FROM:TO")
    parser.add_argument("--tcp", action="store_true")
    options = parser.parse_args()
    first, last = (int(text) for text in options.seeds.split(":"))
    began = time.monotonic()
    played, wrong = play_all(range(first, last), over_tcp=options.tcp)
    told = [f"{dict(played)}: {len(wrong)} wrong, {time.monotonic() - began:.0f} s", *wrong[:50]]
    sys.stdout.write("\n".join(told) + "\n")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
