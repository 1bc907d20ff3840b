"""Ref for the reply to an ask of an entity, made on another node: a reply waits for the serving lease of this one.

So nobody is told by an entity whose node may have lost it meanwhile. An error in place of a reply does not wait: it
acknowledges nothing.
"""

from __future__ import annotations

from functools import partial
from typing import TypeVar

import trio

from casty.cluster.remoting.remote_ref import RemoteRef
from casty.refs import ActorRef
from casty.runtime.messaging.ask import ErrorReply

M_contra = TypeVar("M_contra", contravariant=True)
T = TypeVar("T")


class GatedReplyRef(RemoteRef[M_contra]):
    """Ref of an ask of an entity on another node."""

    __slots__ = ()

    def of(self: ActorRef[M_contra], message_type: type[T]) -> ActorRef[T]:
        if not isinstance(self, GatedReplyRef):
            return ActorRef.of(self, message_type)
        self._node.codec.register(message_type)
        return GatedReplyRef(self._node, self._place, self._route, message_type)

    def tell(self, message: M_contra) -> None:
        if not self._is_held(message):
            super().tell(message)

    async def send(self, message: M_contra) -> None:
        if self._is_held(message):
            await trio.lowlevel.checkpoint()
        else:
            await super().send(message)

    def put_nowait(self, message: M_contra) -> None:
        if not self._is_held(message):
            super().put_nowait(message)

    async def put_wait(self, message: M_contra) -> None:
        if self._is_held(message):
            await trio.lowlevel.checkpoint()
        else:
            await super().put_wait(message)

    def _is_held(self, message: M_contra) -> bool:
        """Whether a message is a reply that waits now, and is given later."""
        gate = self._node.kernel.hooks.reply_gate
        if gate is None or gate.is_open or type(message) is ErrorReply:
            return False
        gate.hold(partial(super().tell, message), message, self)
        return True
