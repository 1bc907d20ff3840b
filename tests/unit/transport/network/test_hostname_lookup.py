"""Who may take how many threads for the names of hosts, and which hosts take none."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from casty import SqliteLease
from casty.address import NodeAddress, UniqueAddress
from casty.transport.manager.peers import RemoteTransport
from casty.transport.network.hostname_lookup import LOOKUPS_EACH_MAX, LOOKUPS_MAX, STRANGERS_LOOKUPS_MAX, HostnameLookup
from casty.transport.network.interface import ConnectFailed, Connection, Network
from casty.transport.network.tcp import TcpNetwork
from casty.wire.frame import FrameKind, Lane, frame
from casty.wire.handshake import PROTOCOL_MAX, PROTOCOL_MIN, Hello, encode_hello

real_getaddrinfo = socket.getaddrinfo

HANG = 10.0
"""Seconds after which a test that waits has failed."""


class Resolver:
    """The system's resolver: names in ``.slow`` take until `release`, others have the addresses that they are given."""

    def __init__(self) -> None:
        self.release = threading.Event()
        self.asked: list[str] = []
        self.waiting = 0
        self.addresses: dict[str, list[str]] = {}

    def getaddrinfo(self, host: bytes | str, *args: Any, **kwargs: Any) -> list[Any]:
        name = host if isinstance(host, str) else host.decode()
        self.asked.append(name)
        if name[:1].isdigit() or ":" in name:
            return real_getaddrinfo(host, *args, **kwargs)
        if name.endswith(".slow"):
            self.waiting += 1
            self.release.wait(HANG)
            raise socket.gaierror(socket.EAI_AGAIN, "temporary failure in name resolution")
        found = self.addresses.get(name, ["127.0.0.1"])
        return [(socket.AF_INET6 if ":" in ip else socket.AF_INET, 1, 6, "", (ip, args[0] or 0)) for ip in found]

    async def wait_asked(self, count: int) -> None:
        """Return once so many threads wait for a slow name."""
        with trio.fail_after(HANG):
            while self.waiting < count:
                await trio.lowlevel.checkpoint()


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Resolver]:
    resolver = Resolver()
    monkeypatch.setattr(socket, "getaddrinfo", resolver.getaddrinfo)
    yield resolver
    resolver.release.set()


async def give_up_on(lookup: HostnameLookup, count: int, named_by: str | None, resolver: Resolver) -> None:
    """Look so many slow names up, and give up once each has a thread or waits for one."""
    before, most = resolver.waiting, min(count, LOOKUPS_EACH_MAX)
    async with trio.open_nursery() as nursery:
        for number in range(count):
            nursery.start_soon(lookup.resolve, f"h{number}-{named_by}.slow", named_by)
        await resolver.wait_asked(before + most)
        nursery.cancel_scope.cancel()


async def test_names_of_strangers_leave_all_other_threads_to_others(resolver: Resolver, tmp_path: Path) -> None:
    network, lookup = TcpNetwork(), HostnameLookup()
    threads = trio.to_thread.current_default_thread_limiter()
    async with trio.open_nursery() as nursery:
        for number in range(int(threads.total_tokens) + 1):
            nursery.start_soon(fail_to_connect, network, f"h{number}.slow")
        await resolver.wait_asked(LOOKUPS_MAX)
        assert threads.borrowed_tokens == 0
        with trio.fail_after(HANG):
            assert await SqliteLease(tmp_path / "lease.db").identify()
            assert await lookup.resolve("localhost") == ["127.0.0.1"]
        resolver.release.set()


async def fail_to_connect(network: TcpNetwork, host: str) -> None:
    with pytest.raises(ConnectFailed):
        await network.connect(NodeAddress(host, 9))


async def test_a_lease_does_not_wait_for_the_threads_of_the_program(tmp_path: Path) -> None:
    threads = trio.to_thread.current_default_thread_limiter()
    held = [object() for _ in range(int(threads.total_tokens))]
    for holder in held:
        threads.acquire_on_behalf_of_nowait(holder)
    try:
        with trio.fail_after(HANG):
            assert await SqliteLease(tmp_path / "lease.db").identify()
    finally:
        for holder in held:
            threads.release_on_behalf_of(holder)


async def test_strangers_keep_no_name_waiting_that_this_node_knows(resolver: Resolver) -> None:
    lookup = HostnameLookup()
    for host in range(STRANGERS_LOOKUPS_MAX // LOOKUPS_EACH_MAX):
        await give_up_on(lookup, 3, f"10.0.0.{host}", resolver)
    assert resolver.waiting == STRANGERS_LOOKUPS_MAX
    assert await lookup.resolve("web-1") == ["127.0.0.1"]
    with trio.move_on_after(0):
        await lookup.resolve("web-2", "10.0.1.1")
    assert "web-2" not in resolver.asked


async def test_strangers_of_one_host_do_not_keep_those_of_another_waiting(resolver: Resolver) -> None:
    lookup = HostnameLookup()
    await give_up_on(lookup, 20, "10.0.0.1", resolver)
    assert resolver.waiting == LOOKUPS_EACH_MAX
    assert await lookup.resolve("web-1", "10.0.0.2") == ["127.0.0.1"]


async def test_a_slow_name_does_not_keep_other_names_waiting(resolver: Resolver) -> None:
    lookup = HostnameLookup()
    async with trio.open_nursery() as nursery:
        for _ in range(LOOKUPS_MAX):
            nursery.start_soon(lookup.resolve, "web-9.slow")
        await resolver.wait_asked(LOOKUPS_EACH_MAX)
        assert await lookup.resolve("web-1") == ["127.0.0.1"]
        nursery.cancel_scope.cancel()
    assert resolver.waiting == LOOKUPS_EACH_MAX


async def test_a_thread_is_free_again_when_it_ends_and_not_when_it_was_given_up(resolver: Resolver) -> None:
    lookup = HostnameLookup()
    await give_up_on(lookup, LOOKUPS_EACH_MAX, "10.0.0.1", resolver)
    with trio.move_on_after(0.01) as scope:
        await lookup.resolve("web-1", "10.0.0.1")
    assert scope.cancelled_caught
    assert "strangers=2" in repr(lookup)
    resolver.release.set()
    with trio.fail_after(HANG):
        assert await lookup.resolve("web-1", "10.0.0.1") == ["127.0.0.1"]


async def test_an_ip_address_is_not_looked_up(resolver: Resolver) -> None:
    lookup = HostnameLookup()
    for host in ("127.0.0.1", "::1", "fe80::1%lo"):
        assert await lookup.resolve(host) == [host]
    assert resolver.asked == []


async def test_the_families_of_a_name_take_turns(resolver: Resolver) -> None:
    resolver.addresses["web-1"] = ["10.0.0.1", "10.0.0.2", "10.0.0.1", "::1"]
    assert await HostnameLookup().resolve("web-1") == ["::1", "10.0.0.1", "10.0.0.2"]


async def test_a_name_without_an_address_is_a_failed_connect(resolver: Resolver) -> None:
    resolver.addresses["web-1"] = []
    with pytest.raises(ConnectFailed, match="no address of a family"):
        await TcpNetwork().connect(NodeAddress("web-1", 9))


async def test_a_host_that_is_not_ascii_is_neither_encoded_nor_looked_up(resolver: Resolver) -> None:
    sys.modules.pop("idna.uts46data", None)
    with pytest.raises(ConnectFailed, match="A-labels"):
        await TcpNetwork().connect(NodeAddress("b\u00fccher.example", 9))
    assert resolver.asked == []
    assert "idna.uts46data" not in sys.modules


async def test_an_address_that_does_not_answer_does_not_keep_the_next_one_waiting(resolver: Resolver) -> None:
    listener = await TcpNetwork().listen("127.0.0.1", 0)
    resolver.addresses["web-1"] = ["127.9.9.9", "127.0.0.1"]  # nobody listens at the first
    connection = await TcpNetwork().connect(NodeAddress("web-1", listener.address.port))
    assert connection.remote == "127.0.0.1"
    await connection.aclose()
    await listener.aclose()


async def test_a_node_that_calls_itself_by_a_name_is_let_in_while_strangers_name_slow_hosts(
    resolver: Resolver, world, nursery: trio.Nursery
) -> None:
    a = await world.node("127.0.0.1", 1, network=TcpNetwork(), port=0)
    b = await world.node("localhost", 2, network=TcpNetwork(), port=0)
    for number in range(2 * LOOKUPS_EACH_MAX):
        nursery.start_soon(say_hello, a.me.address.port, f"h{number}.slow")
    await resolver.wait_asked(LOOKUPS_EACH_MAX)
    b.transport.dial(a.me.address, Lane.control)
    await b.told.wait("link_up")
    assert resolver.waiting == LOOKUPS_EACH_MAX


class RecordingNetwork:
    """A network that notes who named each address that is dialled."""

    def __init__(self, inner: Network) -> None:
        self.inner = inner
        self.listen = inner.listen
        self.dialled: list[tuple[str, str | None]] = []

    async def connect(self, address: NodeAddress, *, named_by: str | None = None) -> Connection:
        self.dialled.append((address.host, named_by))
        return await self.inner.connect(address, named_by=named_by)


async def test_a_name_counts_as_a_strangers_until_it_is_that_of_a_member_or_a_seed(
    autojump_clock, world, nursery: trio.Nursery
) -> None:
    network = RecordingNetwork(world.network.host("a"))
    transport = RemoteTransport(network)
    transport.add_seeds([NodeAddress("alias", 2551)])
    address = await transport.bind("a", 2551)
    a = type(await world.node("b"))(UniqueAddress(address, 1), transport)
    await nursery.start(a.run, "shop")
    c = await world.node("c", 3)
    await world.network.host("alias").listen("alias", 2551)
    transport.dial(NodeAddress("alias", 2551), Lane.control)
    transport.send(UniqueAddress(NodeAddress("b", 2551), 0), Lane.ordinary, frame(FrameKind.ENVELOPE, b"x"))
    await a.told.wait("link_up")
    c.transport.dial(address, Lane.control)
    await a.told.wait("link_up", 2)
    a.transport.keep([c.me])
    transport.send(c.me, Lane.large, frame(FrameKind.SLICE, b"y"))
    await a.told.wait("link_up", 3)
    assert sorted(network.dialled, key=str) == [("alias", None), ("b", "refs"), ("c", "c"), ("c", None)]


async def say_hello(port: int, host: str) -> None:
    """Say a hello in the name of a node on that host, and stay."""
    async with await trio.open_tcp_stream("127.0.0.1", port, local_address="127.0.0.2") as stream:
        liar = UniqueAddress(NodeAddress(host, 9), 5)
        await stream.send_all(encode_hello(Hello(PROTOCOL_MIN, PROTOCOL_MAX, "shop", liar, Lane.ordinary, 5)))
        await stream.receive_some()
