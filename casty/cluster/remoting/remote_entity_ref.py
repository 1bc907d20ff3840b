"""Ref to an entity at one owner of its shard: as to an actor there, with a head alike for all entities of its kind."""

from __future__ import annotations

from collections.abc import Callable
from threading import get_ident
from typing import TypeVar

import trio

from casty.address import WireRef
from casty.cluster.remoting.remote_ref import RefNode, RemoteRef, UnsentFrame
from casty.runtime.messaging.mailbox import Request
from casty.runtime.messaging.ref import UnsentRequest, refuse_thread
from casty.transport.manager.link_handle import LinkHandle
from casty.wire.envelope import encode_wait
from casty.wire.framing import Write

M_contra = TypeVar("M_contra", contravariant=True)

EntityWriter = Callable[[object, bool], Write]
"""Gives the maker of frames for a message's class to entities of one kind, with a tail or without."""


class RemoteEntityRef(RemoteRef[M_contra]):
    """Ref to an entity at one owner, under one epoch of its shard: the number in its place.

    Parameters:
        entity: Entity as it stands in a frame, with that epoch.
        writer: Source of the makers of frames, shared by all entities of the kind.
    """

    __slots__ = ("_entity_writer",)

    def __init__(
        self, node: RefNode, place: WireRef, route: LinkHandle | None, entity: bytes, writer: EntityWriter
    ) -> None:
        super().__init__(node, place, route, None)
        self._tail = entity
        self._entity_writer = writer

    @trio.lowlevel.enable_ki_protection
    def request(self, request: Request) -> UnsentRequest | None:
        node, message, (cls, write) = self._node, request.message, self._asked
        if get_ident() != node.thread:
            refuse_thread(self)
        request.far += (self,)
        if cls is not type(message):
            write = self._entity_writer(message, True)
            self._asked = type(message), write
        remaining = request.timeout
        if remaining is None or request.cell is not None:
            remaining = max(request.deadline - node.kernel.now(), 0.0)
        frame, route = write(message, encode_wait(remaining, request.ask) + self._tail, self), self._route
        if not frame:
            return None
        holds = node.paused_sends
        if route is None or holds is None or holds.by_actor or len(frame) > node.frame_bytes_max:
            is_taken = route is not None and not self.has_to_wait(frame) and route.put_request(frame)
        else:
            is_taken = route.put_request(frame)
        return None if is_taken else UnsentFrame(self, request, frame)

    def _writer(self, message: object) -> Write:
        write = self._entity_writer(message, False)
        self._told = type(message), write
        return write
