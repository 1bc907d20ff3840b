"""Refs of the own system beside those to one actor: by name, to a function, and to an actor in other words."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar, cast

import trio

from casty.runtime.annotations import annotated
from casty.runtime.events import NO_SUCH_ACTOR
from casty.runtime.messaging.ask import refuse_asks
from casty.runtime.messaging.channel import ChannelStatistics
from casty.runtime.messaging.mailbox import NOTHING
from casty.runtime.messaging.ref import OwnRef, check_thread

if TYPE_CHECKING:
    from casty.runtime.actor.cell import Cell
    from casty.runtime.messaging.mailbox import Request
    from casty.runtime.system.kernel import Kernel

M_contra = TypeVar("M_contra", contravariant=True)
N = TypeVar("N")


class PathRef(OwnRef[M_contra]):
    """A ref by name: uid 0 reaches whoever has the path at the time, another uid only that actor."""

    __slots__ = ("_kernel", "_path", "_uid")

    def __init__(self, kernel: Kernel, path: str, uid: int) -> None:
        self._kernel = kernel
        self._path = path
        self._uid = uid

    @property
    def kernel(self) -> Kernel:
        return self._kernel

    @property
    def path(self) -> str:
        return self._path

    @property
    def uid(self) -> int:
        return self._uid

    def owner(self) -> Cell | None:
        target = self._kernel.target(self._path, self._uid)
        return None if target is None else target.owner()

    def tell(self, message: M_contra) -> None:
        check_thread(self)
        target = self._kernel.target(self._path, self._uid)
        if target is None:
            self._kernel.dead_letter(message, self, NO_SUCH_ACTOR)
        else:
            cast("OwnRef[M_contra]", target).tell(message)

    def put_nowait(self, message: M_contra) -> None:
        check_thread(self)
        self._found().put_nowait(message)

    async def put_wait(self, message: M_contra) -> None:
        check_thread(self)
        await self._found().put_wait(message)

    def channel_statistics(self) -> ChannelStatistics | None:
        target = self._kernel.target(self._path, self._uid)
        return None if target is None else target.channel_statistics()

    def _found(self) -> OwnRef[M_contra]:
        target = self._kernel.target(self._path, self._uid)
        if target is None:
            raise trio.BrokenResourceError(f"there is no actor at {self._path}")
        return cast("OwnRef[M_contra]", target)

    def request(self, request: Request) -> None:
        target = self._kernel.target(self._path, self._uid)
        if target is None:
            self._kernel.dead_letter(request, self, NO_SUCH_ACTOR)
        else:
            target.request(request)

    def request_of_stranger(self, request: Request) -> None:
        target = self._kernel.target(self._path, self._uid)
        if target is None:
            self._kernel.dead_letter(request, self, NO_SUCH_ACTOR)
        else:
            target.request_of_stranger(request)

    async def send(self, message: M_contra) -> None:
        target = self._kernel.target(self._path, self._uid)
        if target is not None:
            await cast("OwnRef[M_contra]", target).send(message)
        else:
            self._kernel.dead_letter(message, self, NO_SUCH_ACTOR)
            await trio.lowlevel.checkpoint()


class InlineRef(PathRef[M_contra]):
    """A ref without an actor: ``tell`` calls a function that never blocks."""

    __slots__ = ("_function",)

    def __init__(self, kernel: Kernel, path: str, uid: int, function: Callable[[M_contra], None]) -> None:
        super().__init__(kernel, path, uid)
        self._function = function

    def owner(self) -> Cell | None:
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

    __slots__ = ("_adapt", "_cell", "_message_type")

    def __init__(
        self, cell: Cell, path: str, uid: int, adapt: Callable[[N], object], message_type: object | None = None
    ) -> None:
        super().__init__(cell.kernel, path, uid)
        self._cell = cell
        self._adapt = adapt
        self._message_type = message_type

    def message_type(self) -> object | None:
        return annotated(self._adapt, position=0) if self._message_type is None else self._message_type

    def owner(self) -> Cell | None:
        return self._cell.ref.owner()

    def tell(self, message: N) -> None:
        check_thread(self)
        adapted = self.adapted(message)
        if adapted is not NOTHING:
            self._cell.ref.tell(adapted)

    def put_nowait(self, message: N) -> None:
        check_thread(self)
        mailbox = self._cell.mailbox
        if mailbox.is_full and not mailbox.make_room():  # before the function, which is called once for a message
            raise trio.WouldBlock
        adapted = self._adapted_for_channel(message)
        if adapted is not NOTHING:
            self._cell.ref.put_nowait(adapted)

    async def put_wait(self, message: N) -> None:
        check_thread(self)
        adapted = self._adapted_for_channel(message)
        if adapted is not NOTHING:
            await self._cell.ref.put_wait(adapted)

    def channel_statistics(self) -> ChannelStatistics:
        return self._cell.ref.channel_statistics()

    def _adapted_for_channel(self, message: N) -> object:
        if self._cell.mailbox.closed:
            raise trio.BrokenResourceError(f"{self._cell.path}, which {self.path} leads to, has stopped")
        return self.adapted(message)

    def request(self, request: Request) -> None:
        request.message = self.adapted(request.message)
        if request.message is not NOTHING:
            self._cell.ref.request(request)

    def request_of_stranger(self, request: Request) -> None:
        request.message = self.adapted(request.message)
        if request.message is not NOTHING:
            self._cell.ref.request_of_stranger(request)

    async def send(self, message: N) -> None:
        adapted = self.adapted(message)
        if adapted is NOTHING:
            await trio.lowlevel.checkpoint()
        else:
            await self._cell.ref.send(adapted)

    def deliver(self, message: object) -> bool:
        adapted = self.adapted(message)
        if adapted is NOTHING:
            return True
        taken = self._cell.ref.deliver(adapted)
        if taken is None:
            self._cell.drop_full(adapted)
        return taken is not False

    def deliver_request(self, request: Request) -> bool | None:
        request.message = self.adapted(request.message)
        if request.message is NOTHING:
            return True
        taken = self._cell.ref.deliver_request(request)
        if taken is None:
            self._cell.drop_full(request)
        return taken is not False

    def adapted(self, message: object) -> object:
        """Return what the actor gets; NOTHING when the function has failed, which is the actor's failure."""
        try:
            return self._adapt(cast("N", message))
        except Exception as error:  # not the sender's; who asked is told, as when the handler fails
            self._cell.fail_from_outside(error)
            refuse_asks(self._kernel, message, error)
            return NOTHING
