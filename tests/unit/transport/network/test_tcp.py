"""What is particular to sockets: where they may listen, and what the system's errors become."""

from __future__ import annotations

import errno
import logging

import anyio
import pytest
import trio

from casty.address import NodeAddress
from casty.errors import BindError, ConfigError
from casty.transport.network.interface import ConnectFailed, Connection
from casty.transport.network.tcp import TcpListener, TcpNetwork, is_loopback

SOMEWHERE = NodeAddress("10.0.0.9", 2551)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "example.org", "::ffff:10.0.0.1"])
async def test_beyond_loopback_needs_to_be_allowed(host: str) -> None:
    with pytest.raises(ConfigError, match="insecure=True") as caught:
        await TcpNetwork().listen(host, 0)
    assert host in str(caught.value) and "127.0.0.1" in str(caught.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.3.2.1", "::1", "localhost", "LocalHost"])
def test_loopback_is_recognised(host: str) -> None:
    assert is_loopback(host)


async def test_an_allowed_bind_beyond_loopback_is_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    listener = await TcpNetwork(insecure=True).listen("0.0.0.0", 0)
    assert listener.address.host == "0.0.0.0"
    assert "without encryption" in caplog.text
    await listener.aclose()


async def test_an_address_of_another_machine_cannot_be_bound() -> None:
    with pytest.raises(BindError, match=r"192\.0\.2\.7:4711.*address of this machine"):
        await TcpNetwork(insecure=True).listen("192.0.2.7", 4711)


@pytest.mark.parametrize("port", [0, -1, 65_536, 10**9])
async def test_a_port_that_no_dial_can_have_is_a_failed_connect(port: int) -> None:
    with pytest.raises(ConnectFailed, match="port") as caught:
        await TcpNetwork().connect(NodeAddress("127.0.0.1", port))
    assert not caught.value.refused


def raising(error: BaseException):
    async def connect_tcp(*_: object) -> object:
        await trio.lowlevel.checkpoint()
        raise error

    return connect_tcp


def grouped(*codes: int) -> OSError:
    """What anyio raises after it tried several addresses of one name."""
    error = OSError("All connection attempts failed")
    error.__cause__ = ExceptionGroup("several", [OSError(code, errno.errorcode[code]) for code in codes])
    return error


def caused(code: int) -> OSError:
    """What anyio raises after it tried the only address."""
    error = OSError("All connection attempts failed")
    error.__cause__ = OSError(code, errno.errorcode[code])
    return error


@pytest.mark.parametrize(
    ("error", "refused"),
    [
        (caused(errno.ECONNREFUSED), True),
        (grouped(errno.ECONNREFUSED, errno.ECONNREFUSED), True),
        (grouped(errno.EADDRNOTAVAIL, errno.ECONNREFUSED), True),
        (grouped(errno.ETIMEDOUT, errno.ECONNREFUSED), False),
        (caused(errno.EHOSTUNREACH), False),
        (caused(errno.EADDRNOTAVAIL), False),
        (OSError("no name"), False),
        (UnicodeError("label too long"), False),
    ],
)
async def test_every_error_of_a_dial_is_one_kind(
    monkeypatch: pytest.MonkeyPatch, error: Exception, refused: bool
) -> None:
    monkeypatch.setattr(anyio, "connect_tcp", raising(error))
    with pytest.raises(ConnectFailed, match=r"10\.0\.0\.9:2551") as caught:
        await TcpNetwork().connect(SOMEWHERE)
    assert caught.value.refused is refused


async def test_a_name_with_two_families_is_refused_when_nobody_listens() -> None:
    listener = await TcpNetwork().listen("localhost", 0)
    await listener.aclose()
    with pytest.raises(ConnectFailed) as caught:
        await TcpNetwork().connect(listener.address)
    assert caught.value.refused


class FlakyListener:
    """Runs out of descriptors a few times, then is closed."""

    def __init__(self, failures: int) -> None:
        self.failures = failures

    async def accept(self) -> object:
        await trio.lowlevel.checkpoint()
        if not self.failures:
            raise anyio.ClosedResourceError
        self.failures -= 1
        error = anyio.BrokenResourceError()
        error.__cause__ = OSError(errno.EMFILE, "too many open files")
        raise error


async def test_a_failing_accept_pauses_and_goes_on(autojump_clock, caplog: pytest.LogCaptureFixture) -> None:
    async def never(connection: Connection) -> None:
        raise AssertionError(connection)

    await TcpListener(SOMEWHERE, [FlakyListener(3)]).serve(never)  # type: ignore[list-item]  # a fake
    assert trio.current_time() == pytest.approx(0.3)
    assert caplog.text.count("too many open files") == 3


async def test_segments_are_not_held_back() -> None:
    arrived, accepted = trio.open_memory_channel[Connection](1)

    async def keep(connection: Connection) -> None:
        arrived.send_nowait(connection)
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        listener = await TcpNetwork().listen("127.0.0.1", 0)
        nursery.start_soon(listener.serve, keep)
        near = await TcpNetwork().connect(listener.address)
        for end in (near, await accepted.receive()):
            raw = end._stream.extra(anyio.abc.SocketAttribute.raw_socket)
            assert raw.getsockopt(6, 1), "TCP_NODELAY"
        nursery.cancel_scope.cancel()
    await near.aclose()
    await listener.aclose()
