"""Asks of this node without a reply to come, since the run with their requests was removed.

Owns up to which ask requests can lie with each member without a link now. A request names a run, or any run at an
address; of the latter, those begun before the last link to the run was lost went to it, if they went anywhere: later
ones wait for the next link, or another run has them.
"""

from __future__ import annotations

from collections.abc import Callable

from casty.address import UniqueAddress
from casty.cluster.remoting.remote_ref import RemoteRef
from casty.errors import AskFailed
from casty.runtime.messaging.mailbox import Request
from casty.runtime.ports import FarRef
from casty.runtime.system.kernel import Kernel


class OpenAsks:
    """Asks of one node, made or handed on by it. ``is_member`` says of which runs to remember anything."""

    def __init__(self, kernel: Kernel, is_member: Callable[[UniqueAddress], bool]) -> None:
        self._kernel = kernel
        self._is_member = is_member
        self._latest: dict[UniqueAddress, int] = {}
        """The serial number of the latest ask when the last link to a member was lost; gone with the member."""

    def link_lost(self, peer: UniqueAddress) -> None:
        """Take note of the end of a link for messages between actors."""
        if self._is_member(peer):
            self._latest[peer] = self._kernel.counters.asks

    def fail(self, gone: UniqueAddress) -> None:
        """End the asks whose requests went to a removed run, and to nobody else able to answer.

        A request never written has become a dead letter by now, and its ask has ended as not sent.
        """
        latest = self._latest.pop(gone, 0)
        failed = AskFailed(f"no reply from {gone.address}: the node was removed", "node_removed")
        for serial, slot in list(self._kernel.asks.items()):
            if slot.asked is not None and self._is_lost(slot.asked, gone, serial <= latest):
                slot.refuse(AskFailed(f"{failed}{slot.asked.sent_to()}", failed.failure))
        # Of those for any run at the address, nobody knows whether this run had them, or the next one.
        self._kernel.fail_relayed(lambda ref: isinstance(ref, RemoteRef) and ref.run == gone, failed)

    def _is_lost(self, request: Request, gone: UniqueAddress, is_early: bool) -> bool:
        if request.waits or not request.far:
            return False  # an actor of this node has it
        is_there = [self._led_to(ref, gone, is_early) for ref in request.far]
        others = [ref for ref, was_there in zip(request.far, is_there, strict=True) if not was_there]
        return any(is_there) and not any(ref.is_known() for ref in others)

    def _led_to(self, ref: FarRef, gone: UniqueAddress, is_early: bool) -> bool:
        run = ref.run if isinstance(ref, RemoteRef) else None
        return run == gone or (is_early and run == UniqueAddress(gone.address, 0))

    def __repr__(self) -> str:
        return f"<OpenAsks members={len(self._latest)}>"
