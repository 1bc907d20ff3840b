"""Reports of the transport to the layer above, made without being re-entered."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import ParamSpec, Protocol

from casty.address import NodeAddress, UniqueAddress
from casty.wire.frame import FrameKind, Lane
from casty.wire.handshake import Hello, Refused

P = ParamSpec("P")

logger = logging.getLogger("casty.transport")


class InboundHandler(Protocol):
    """Receiver of all events on links; synchronous but for `report`, and it must not block.

    The methods may call the transport. Their errors are logged; only `frame` and `envelopes` can close a link by
    raising.
    """

    def envelopes(self, peer: UniqueAddress, frames: Sequence[tuple[FrameKind, bytes]], start: int) -> int:
        """Take consecutive ENVELOPE frames from ``start`` on, at least one; return the next place."""
        ...

    def frame(self, peer: UniqueAddress, lane: Lane, kind: FrameKind, body: bytes | memoryview) -> None:
        """Take one frame of any other kind, or a large one: its body is a view, valid until this returns."""
        ...

    def asking(self) -> int:
        """Return the number of replies awaited by this node."""
        ...

    def link_up(self, peer: UniqueAddress, lane: Lane) -> None:
        """A link is established; always followed by one `link_lost`."""
        ...

    def link_lost(self, peer: UniqueAddress, lane: Lane, reason: str, graceful: bool) -> None:
        """A link is over. ``graceful``: the peer said goodbye, or this node closed it on purpose."""
        ...

    def dial_failed(self, address: NodeAddress, lane: Lane, refused: bool, reason: str) -> None:
        """One attempt to connect failed; ``refused``: the host answered that nobody listens."""
        ...

    def self_dialled(self, address: NodeAddress) -> None:
        """The address leads back to this node; `dial_failed` was called for it too."""
        ...

    def mistrusted(self, address: NodeAddress, reason: str) -> None:
        """An attempt ended in TLS: one end does not believe the other. `dial_failed` follows."""
        ...

    def dial_refused(self, address: NodeAddress, refusal: Refused) -> None:
        """The node there does not want this one; ``refusal.final``: asking again cannot help."""
        ...

    def peer_refused(self, host: str, hello: Hello | None, refusal: Refused) -> None:
        """This node turned a peer away, after ``hello`` or, where that is None, before it."""
        ...

    def incarnation_seen(self, node: UniqueAddress) -> None:
        """A hello or its acknowledgement came from this run: an older run there is over."""
        ...

    async def report(self) -> bytes:
        """Return the frames of a status report for a stranger. CastyError when there can be none now."""
        ...

    def undelivered(self, to: UniqueAddress, body_frames: Sequence[bytes], reason: str) -> None:
        """These frames, as they were given to the transport, will never be written."""
        ...


class Reports:
    """Calls of the handler, made in order and never inside a half-done change of the transport.

    A change runs ``with reports:`` and adds its reports; the calls are made when the outermost change is complete. When
    a handler calls the transport, the reports of that change come after the current one.
    """

    __slots__ = ("_depth", "_pending")

    def __init__(self) -> None:
        self._pending: deque[Callable[[], None]] = deque()
        self._depth = 0

    def add(self, method: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
        """Keep a call until the current change is complete."""
        self._pending.append(partial(method, *args, **kwargs))

    def __enter__(self) -> None:
        self._depth += 1

    def __exit__(self, *_: object) -> None:
        if self._depth == 1:
            self._flush()
        self._depth -= 1

    def _flush(self) -> None:
        while self._pending:
            call = self._pending.popleft()
            try:
                call()
            except Exception:
                logger.exception("a handler of the transport failed")
