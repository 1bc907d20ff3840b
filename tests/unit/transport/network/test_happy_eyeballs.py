"""Which of several addresses of a host a dial ends at, and what becomes of the other attempts."""

from __future__ import annotations

from collections.abc import Sequence

import anyio
import pytest
import trio

from casty.transport.network.happy_eyeballs import ADDRESSES_MAX, ATTEMPT_DELAY, connect_first


class Attempts:
    """In the place of ``anyio.connect_tcp``: an address is the seconds that it takes, or an error after them."""

    def __init__(self) -> None:
        self.begun: dict[str, float] = {}
        self.open = 0

    async def connect_tcp(self, address: str, port: int) -> Stream:
        self.begun[address] = trio.current_time()
        await trio.sleep(float(address.removeprefix("error")))
        if address.startswith("error"):
            raise OSError(address)
        self.open += 1
        return Stream(address, self)


class Stream:
    def __init__(self, address: str, attempts: Attempts) -> None:
        self.address = address
        self._attempts = attempts

    async def aclose(self) -> None:
        self._attempts.open -= 1
        await trio.lowlevel.checkpoint()


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch) -> Attempts:
    attempts = Attempts()
    monkeypatch.setattr(anyio, "connect_tcp", attempts.connect_tcp)
    return attempts


@pytest.mark.parametrize(
    ("addresses", "winner", "after"),
    [
        (["3"], "3", 3.0),
        (["0.1", "0"], "0.1", 0.1),
        (["9", "0.1"], "0.1", ATTEMPT_DELAY + 0.1),
        (["error0", "0.1"], "0.1", 0.1),
        (["0.5", "error0", "0.4"], "0.5", 0.5),
    ],
)
async def test_the_first_that_connects_is_taken(
    autojump_clock, attempts: Attempts, addresses: Sequence[str], winner: str, after: float
) -> None:
    begun = trio.current_time()
    stream = await connect_first(addresses, 9)
    assert stream.address == winner  # type: ignore[attr-defined]  # a fake
    assert trio.current_time() - begun == pytest.approx(after)
    assert attempts.open == 1


async def test_all_errors_are_told_when_all_fail(autojump_clock, attempts: Attempts) -> None:
    with pytest.raises(OSError, match="all attempts") as caught:
        await connect_first(["error0.3", "error0"], 9)
    assert isinstance(caught.value.__cause__, ExceptionGroup)
    assert [str(error) for error in caught.value.__cause__.exceptions] == ["error0", "error0.3"]


async def test_two_that_connect_at_one_moment_leave_one_connection(autojump_clock, attempts: Attempts) -> None:
    await connect_first(["0.25", "0", "0"], 9)
    assert attempts.open == 1


async def test_no_more_addresses_are_tried_than_may_be(autojump_clock, attempts: Attempts) -> None:
    with pytest.raises(OSError, match="all attempts"):
        await connect_first([f"error0.{number}" for number in range(3 * ADDRESSES_MAX)], 9)
    assert len(attempts.begun) == ADDRESSES_MAX


@pytest.mark.parametrize("step", range(1, 16))
async def test_whoever_gives_up_leaves_no_connection_behind(
    autojump_clock, attempts: Attempts, cancel_at, step: int
) -> None:
    stream = None
    with trio.CancelScope() as scope, cancel_at(step, scope):
        stream = await connect_first(["0", "0"], 9)
    assert attempts.open == (0 if stream is None else 1)
