"""A thousand strangers at the port of a node with TLS, while the others ask it and it asks them."""

from __future__ import annotations

import random
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio
from helpers.certificates import TestCa
from processes import HANG, Rig, show
from siege import Siege

from casty.config import TransportLimits

STRANGERS = 1_000
HOSTS = 8
READ_BYTES = 65_536
CHAIN_LENGTH = 150
CHAIN_BYTES = 12 * 1024
STRANGER_BYTES_MAX = 128 * 1024
"""OpenSSL takes up 60 KiB for a begun handshake, and as much again for what has come of a long chain."""
LATE = 10.0
"""Seconds beyond the bound of a handshake: until a connection is accepted, on a machine with other things to do."""
SEED = 29

Attack = Callable[[trio.SocketStream, random.Random], Awaitable[None]]


class Strangers:
    """Many who have no certificate that anybody believes."""

    def __init__(self, address: tuple[str, int], folder: Path) -> None:
        self.address = address
        self.closed: list[float] = []
        foreign = TestCa.make("foreign").node(folder, "stranger", system="integration")
        with open(foreign.certificate, "ab") as chain:
            chain.writelines(TestCa.make().pem for _ in range(CHAIN_LENGTH))
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.context.check_hostname = False
        self.context.verify_mode = ssl.CERT_NONE
        self.context.load_cert_chain(foreign.certificate, foreign.private_key)

    async def silence(self, stream: trio.SocketStream, rng: random.Random) -> None:
        """Say nothing."""

    async def garbage(self, stream: trio.SocketStream, rng: random.Random) -> None:
        """Say what is no TLS, or begins like it."""
        first = rng.choice([b"", b"\x16", b"\x16\x03\x01\x02\x00\x01", b"GET / HTTP/1.1\r\n"])
        await stream.send_all(first + rng.randbytes(rng.randrange(1, 8_192)))

    async def foreign_certificate(self, stream: trio.SocketStream, rng: random.Random) -> None:
        """Shake hands with the certificate of another CA, and say something."""
        await trio.SSLStream(stream, self.context).send_all(b"let me in")

    async def half_a_handshake(self, stream: trio.SocketStream, rng: random.Random) -> None:
        """Begin, and leave it at that: in the middle of the first message, or behind it."""
        outgoing = ssl.MemoryBIO()
        with pytest.raises(ssl.SSLWantReadError):
            self.context.wrap_bio(ssl.MemoryBIO(), outgoing).do_handshake()
        first = outgoing.read()
        await stream.send_all(first if rng.random() < 0.5 else first[: rng.randrange(1, len(first))])

    async def endless_chain(self, stream: trio.SocketStream, rng: random.Random) -> None:
        """Shake hands with more certificates than are read, and stop before the end of that."""
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        hands = self.context.wrap_bio(incoming, outgoing)
        while True:
            try:
                hands.do_handshake()
                break
            except ssl.SSLWantReadError:
                await stream.send_all(outgoing.read())
                incoming.write(await stream.receive_some(READ_BYTES))
        await stream.send_all(outgoing.read()[:CHAIN_BYTES])

    async def come(self, number: int, attack: Attack) -> None:
        """Do as said, and wait until the node has had enough."""
        host = f"127.0.1.{1 + number % HOSTS}"
        stream = await trio.open_tcp_stream(*self.address, local_address=host)
        began = trio.current_time()
        async with stream:
            try:
                await attack(stream, random.Random(SEED + number))
                while await stream.receive_some(READ_BYTES):
                    pass
            except trio.BrokenResourceError:
                pass  # a reset ends it as well
        self.closed.append(trio.current_time() - began)

    async def come_all(self, *attacks: Attack) -> None:
        """Come a thousand times, all at once, each in one of these ways."""
        async with trio.open_nursery() as nursery:
            for number in range(STRANGERS):
                nursery.start_soon(self.come, number, attacks[number % len(attacks)])


async def test_a_thousand_strangers_disturb_no_asks_and_are_ended_in_time(rig: Rig, ca: TestCa, tmp_path: Path) -> None:
    for name in "abc":
        ca.node(tmp_path, name, system="integration")
    target, *others = await rig.cluster("a", "b", "c", tls=str(tmp_path))
    siege = Siege(target, others)
    await siege.begin()
    strangers = Strangers(target.address, tmp_path / "strangers")
    with trio.fail_after(2 * HANG):
        await strangers.come_all(
            strangers.silence, strangers.garbage, strangers.foreign_certificate, strangers.half_a_handshake
        )
    show(f"{STRANGERS} strangers, the last was ended after {max(strangers.closed):.2f} s")
    assert max(strangers.closed) < TransportLimits().hello_timeout + LATE
    await siege.end()


@pytest.mark.parametrize("kind", ["silence", "half_a_handshake", "endless_chain"])
async def test_a_stranger_takes_bounded_memory(rig: Rig, ca: TestCa, tmp_path: Path, kind: str) -> None:
    """Hold a thousand at once, on a node with so many slots: one more or less is far below what a heap wobbles."""
    slots = {"unauthenticated_max": STRANGERS, "unauthenticated_per_host_max": STRANGERS}
    ca.node(tmp_path, "a", system="integration")
    target = await rig.start("a", tls=str(tmp_path), settings={"limits": slots})
    await target.wait_for("entered")
    strangers, before, peak = Strangers(target.address, tmp_path / "strangers"), target.resident_bytes(), 0
    with trio.fail_after(2 * HANG):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(strangers.come_all, getattr(strangers, kind))
            while len(strangers.closed) < STRANGERS:
                await trio.sleep(0.05)
                peak = max(peak, target.resident_bytes() - before)
    show(f"{kind}: {peak / STRANGERS / 1024:.1f} KiB for each of {STRANGERS} held at once")
    assert 0 < peak < STRANGERS * STRANGER_BYTES_MAX
