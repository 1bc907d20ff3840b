"""A connection and a handler for tests of links, to be given what a test is about."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import trio

from casty.address import NodeAddress, UniqueAddress
from casty.config import TransportLimits
from casty.transport.limits.rate_limited_log import RateLimitedLog
from casty.transport.links.link_table import LinkTable
from casty.transport.links.owner import SessionOwner
from casty.transport.manager.untrusted_peers import UntrustedPeers
from casty.wire.frame import FrameKind, Lane
from casty.wire.handshake import Hello, Refused


class QuietConnection:
    """A connection that takes whatever it is given to send, slowly, and over which nothing comes."""

    remote = "b"
    is_eager = is_done = False

    def processor_time(self) -> float:
        return 0.0

    def bound_silence(self, seconds: float) -> None:
        pass

    def send_nowait(self, data: bytes | memoryview, *more: bytes | memoryview) -> int:
        return 0

    async def send(self, data: bytes | memoryview) -> None:
        await trio.lowlevel.checkpoint()

    async def receive(self, max_bytes: int) -> bytes:
        await trio.sleep_forever()
        raise AssertionError

    def receive_into_nowait(self, place: memoryview) -> int:
        return 0

    async def receive_into(self, place: memoryview) -> int:
        data = await self.receive(len(place))
        place[: len(data)] = data
        return len(data)

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


class QuietHandler:
    """An InboundHandler to which nothing matters."""

    def envelopes(self, peer: UniqueAddress, frames: Sequence[tuple[FrameKind, bytes]], start: int) -> int:
        self.frame(peer, Lane.ordinary, *frames[start])
        return start + 1

    def frame(self, peer: UniqueAddress, lane: Lane, kind: FrameKind, body: bytes) -> None:
        pass

    def asking(self) -> int:
        return 0

    def link_up(self, peer: UniqueAddress, lane: Lane) -> None:
        pass

    def link_lost(self, peer: UniqueAddress, lane: Lane, reason: str, graceful: bool) -> None:
        pass

    def dial_failed(self, address: NodeAddress, lane: Lane, refused: bool, reason: str) -> None:
        pass

    def mistrusted(self, address: NodeAddress, reason: str) -> None:
        pass

    def dial_refused(self, address: NodeAddress, refusal: Refused) -> None:
        pass

    def peer_refused(self, host: str, hello: Hello | None, refusal: Refused) -> None:
        pass

    def self_dialled(self, address: NodeAddress) -> None:
        pass

    def incarnation_seen(self, node: UniqueAddress) -> None:
        pass

    def undelivered(self, to: UniqueAddress, body_frames: Sequence[bytes], reason: str) -> None:
        pass

    async def report(self) -> bytes:
        return b""


def quiet_owner(limits: TransportLimits) -> SessionOwner:
    """Return the owner of a session whose frames and end matter to nobody."""
    return SessionOwner(
        frame=lambda *_: None,
        envelopes=lambda *_: 0,
        ended=lambda *_: None,
        bounds=UntrustedPeers(limits, LinkTable(), (), ()),
        asking=lambda: 0,
        complaints=RateLimitedLog(logging.getLogger("test"), trio.current_time),
        moved=lambda _: None,
    )
