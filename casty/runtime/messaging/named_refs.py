"""Refs of the own system beside those to one actor: by name, to a function, and to an actor in other words."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import trio

from casty.runtime.annotations import annotated
from casty.runtime.events import NO_SUCH_ACTOR
from casty.runtime.messaging.ask import refuse_asks
from casty.runtime.messaging.channel import ChannelStatistics
from casty.runtime.messaging.mailbox import NOTHING, Request
from casty.runtime.messaging.ref import LocalRef, OwnRef, check_thread
from casty.runtime.ports import KernelPort, Recipient

M_contra = TypeVar("M_contra", contravariant=True)
N = TypeVar("N")


class PathRef(OwnRef[M_contra]):
    """Ref by name: uid 0 reaches any holder of the path at the time, another uid only that actor."""

    __slots__ = ("_kernel", "_path", "_uid")

    def __init__(self, kernel: KernelPort, path: str, uid: int) -> None:
        self._kernel = kernel
        self._path = path
        self._uid = uid

    @property
    def kernel(self) -> KernelPort:
        return self._kernel

    @property
    def path(self) -> str:
        return self._path

    @property
    def uid(self) -> int:
        return self._uid

    def owner(self) -> Recipient | None:
        target = self._target()
        return None if target is None else target.owner()

    def tell(self, message: M_contra) -> None:
        check_thread(self)
        target = self._target()
        if target is None:
            self._kernel.dead_letter(message, self, NO_SUCH_ACTOR)
        else:
            target.tell(message)

    def put_nowait(self, message: M_contra) -> None:
        check_thread(self)
        self._found().put_nowait(message)

    async def put_wait(self, message: M_contra) -> None:
        check_thread(self)
        await self._found().put_wait(message)

    def channel_statistics(self) -> ChannelStatistics | None:
        target = self._target()
        return None if target is None else target.channel_statistics()

    def _target(self) -> OwnRef[M_contra] | None:
        """Return the present holder of the path; None for nobody."""
        return cast("OwnRef[M_contra] | None", self._kernel.target(self._path, self._uid))

    def _found(self) -> OwnRef[M_contra]:
        target = self._target()
        if target is None:
            raise trio.BrokenResourceError(f"there is no actor at {self._path}")
        return target

    def request(self, request: Request) -> None:
        target = self._target()
        if target is None:
            self._kernel.dead_letter(request, self, NO_SUCH_ACTOR)
        else:
            target.request(request)

    def request_of_stranger(self, request: Request) -> None:
        target = self._target()
        if target is None:
            self._kernel.dead_letter(request, self, NO_SUCH_ACTOR)
        else:
            target.request_of_stranger(request)

    async def send(self, message: M_contra) -> None:
        target = self._target()
        if target is not None:
            await target.send(message)
        else:
            self._kernel.dead_letter(message, self, NO_SUCH_ACTOR)
            await trio.lowlevel.checkpoint()


class InlineRef(PathRef[M_contra]):
    """Ref without an actor: ``tell`` calls a function that never blocks."""

    __slots__ = ("_function",)

    def __init__(self, kernel: KernelPort, path: str, uid: int, function: Callable[[M_contra], None]) -> None:
        super().__init__(kernel, path, uid)
        self._function = function

    def owner(self) -> Recipient | None:
        return None

    def tell(self, message: M_contra) -> None:
        check_thread(self)
        self._function(message)

    def put_nowait(self, message: M_contra) -> None:
        self.tell(message)

    async def put_wait(self, message: M_contra) -> None:
        await self.send(message)

    def channel_statistics(self) -> None:
        return None

    def request(self, request: Request) -> None:
        cast("InlineRef[object]", self).tell(request.message)

    def request_of_stranger(self, request: Request) -> None:
        self.request(request)

    async def send(self, message: M_contra) -> None:
        self.tell(message)
        await trio.lowlevel.checkpoint()


class AdapterRef(PathRef[N]):
    """A second ref of an actor, for another message type: maps, then hands over to the actor."""

    __slots__ = ("_actor", "_adapt", "_message_type")

    def __init__(
        self,
        actor: LocalRef[object],
        path: str,
        uid: int,
        adapt: Callable[[N], object],
        message_type: object | None = None,
    ) -> None:
        super().__init__(actor.kernel, path, uid)
        self._actor = actor
        self._adapt = adapt
        self._message_type = message_type

    def message_type(self) -> object | None:
        return annotated(self._adapt, position=0) if self._message_type is None else self._message_type

    def owner(self) -> Recipient | None:
        return self._actor.owner()

    def tell(self, message: N) -> None:
        check_thread(self)
        adapted = self.adapted(message)
        if adapted is not NOTHING:
            self._actor.tell(adapted)

    def put_nowait(self, message: N) -> None:
        check_thread(self)
        mailbox = self._actor.mailbox
        if mailbox.is_full and not mailbox.make_room():  # before the function, which is called once for a message
            raise trio.WouldBlock
        adapted = self._adapted_for_channel(message)
        if adapted is not NOTHING:
            self._actor.put_nowait(adapted)

    async def put_wait(self, message: N) -> None:
        check_thread(self)
        adapted = self._adapted_for_channel(message)
        if adapted is not NOTHING:
            await self._actor.put_wait(adapted)

    def channel_statistics(self) -> ChannelStatistics:
        return self._actor.channel_statistics()

    def _adapted_for_channel(self, message: N) -> object:
        if self._actor.mailbox.closed:
            raise trio.BrokenResourceError(f"{self._actor.path}, which {self.path} leads to, has stopped")
        return self.adapted(message)

    def request(self, request: Request) -> None:
        request.message = self.adapted(request.message)
        if request.message is not NOTHING:
            self._actor.request(request)

    def request_of_stranger(self, request: Request) -> None:
        request.message = self.adapted(request.message)
        if request.message is not NOTHING:
            self._actor.request_of_stranger(request)

    async def send(self, message: N) -> None:
        adapted = self.adapted(message)
        if adapted is NOTHING:
            await trio.lowlevel.checkpoint()
        else:
            await self._actor.send(adapted)

    def deliver(self, message: object) -> bool:
        adapted = self.adapted(message)
        if adapted is NOTHING:
            return True
        taken = self._actor.deliver(adapted)
        if taken is None:
            self._actor.drop_full(adapted)
        return taken is not False

    def deliver_request(self, request: Request) -> bool | None:
        request.message = self.adapted(request.message)
        if request.message is NOTHING:
            return True
        taken = self._actor.deliver_request(request)
        if taken is None:
            self._actor.drop_full(request)
        return taken is not False

    def adapted(self, message: object) -> object:
        """Return the message for the actor; NOTHING when the function has failed, a failure of the actor."""
        try:
            return self._adapt(cast("N", message))
        except Exception as error:  # not the sender's; who asked is told, as when the handler fails
            self._actor.cell.fail_from_outside(error)
            refuse_asks(self._kernel, message, error)
            return NOTHING
