"""Notices among the messages of an actor without being one: the end of another, and a place."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING

from casty.address import UniqueAddress
from casty.runtime.messaging.queueing.fair_queue import FairQueue

if TYPE_CHECKING:
    from casty.runtime.events import Terminated


class TerminatedNotice:
    """The end of a watched actor, in its place among the messages.

    Without one it marks a place: later messages from other nodes wait in queues of their own.
    """

    __slots__ = ("terminated",)

    def __init__(self, terminated: Terminated | None) -> None:
        self.terminated = terminated

    def __repr__(self) -> str:
        return f"<TerminatedNotice {self.terminated!r}>"


def sender_of(notice: TerminatedNotice, flows: FairQueue[object]) -> Hashable | None:
    """Return behind whose messages the end of an actor of another node has to wait; None where none of it wait."""
    address = None if notice.terminated is None else notice.terminated.ref.address
    if address is None or address.node is None:
        return None
    named = UniqueAddress(address.node, address.incarnation)
    crowd = flows.crowd
    for run in (*flows.senders(), *(crowd.senders if crowd is not None else ())):
        if isinstance(run, UniqueAddress) and run.is_named(named):
            return run
    return None
