"""Children and tasks below one actor, and their nursery.

An idle leaf has no family. The first spawn starts a host task beside the actor's own, in the same nursery, to open the
nursery of the children: so ``spawn`` stays synchronous, and a child runs while its spawner's handler still waits for
something.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from casty.errors import ActorStoppedError
from casty.runtime.actor.actor_ports import ActorKernel
from casty.runtime.behavior.signatures import expect_awaitable
from casty.runtime.ports import Recipient


class Children:
    """The children of one actor, or of the system itself when ``parent`` is None."""

    __slots__ = (
        "_childless",
        "_keeps",
        "_nursery",
        "_pending",
        "_released",
        "_tasks",
        "children",
        "closed",
        "kernel",
        "parent",
    )

    def __init__(self, kernel: ActorKernel, parent: Recipient | None) -> None:
        self.kernel = kernel
        self.parent = parent
        self._nursery: trio.Nursery | None = None
        self._pending: list[tuple[Callable[..., Awaitable[object]], tuple[object, ...], str]] = []
        self._released: trio.Event | None = None
        self._childless: trio.Event | None = None
        self._keeps = False
        self._tasks: dict[int, trio.CancelScope] = {}
        self.children: dict[str, Recipient] = {}
        self.closed = False
        """Whether the actor is stopping, so nobody new is taken in."""

    def open(self, nursery: trio.Nursery) -> None:
        """Use ``nursery``, and start the children waiting for it."""
        self._nursery = nursery
        for async_fn, args, name in self._pending:
            self.kernel.start(nursery, async_fn, args, name)
        self._pending.clear()

    def open_beside(self, parent: Recipient, siblings: Children) -> None:
        """Start a host task to open the nursery, next to the parent's task."""
        self._released = trio.Event()
        siblings.start(self._host, (), f"{parent.path} (host)")

    def add(self, child: Recipient, run: Callable[[], Awaitable[object]]) -> None:
        """Take a child in and start ``run``, its task."""
        self.children[child.path] = child
        self.start(run, (), child.path)

    def start_task(self, async_fn: Callable[..., Awaitable[object]], args: tuple[object, ...]) -> None:
        """Run a function beside the actor, cancelled when the actor stops."""
        parent = self.parent
        if parent is None:
            raise RuntimeError("only actors have tasks: this is a bug in casty")
        self.check_open(f"start a task of {parent.path}")
        serial = self.kernel.next_serial()
        self._tasks[serial] = trio.CancelScope()
        name = f"{parent.path} ({getattr(async_fn, '__qualname__', repr(async_fn))})"
        self.start(self.run_task, (parent, serial, async_fn, args), name)

    def remove(self, child: Recipient) -> None:
        """Forget an ended child; whoever was told of its end first may have given its name to another."""
        if self.children.get(child.path) is child:
            del self.children[child.path]
        self._note_end()

    async def stop(self) -> None:
        """Stop all children and tasks, and wait until they have ended."""
        self.closed = True
        for scope in self._tasks.values():
            scope.cancel()
        for child in list(self.children.values()):
            child.stop()
        await self.wait_childless()

    async def clear(self, *, keep_children: bool) -> None:
        """Stop all tasks and, unless they are kept, all children, and wait until they have ended."""
        self.closed, self._keeps = True, keep_children
        for scope in self._tasks.values():
            scope.cancel()
        if not keep_children:
            for child in list(self.children.values()):
                child.stop()
        await self.wait_childless()
        self.closed = self._keeps = False

    async def stop_users(self) -> None:
        """Take in nobody new; stop the children whose names do not begin with ``_``, and wait."""
        self.closed = True
        users = [child for child in self.children.values() if not child.is_internal]
        for child in users:
            child.stop()
        for child in users:
            if not child.ended:
                await child.until_ended()

    async def wait_childless(self) -> None:
        """Wait until there is no task, and no child apart from kept ones."""
        if not self._is_clear():
            self._childless = trio.Event()
            await self._childless.wait()

    def release(self) -> None:
        """Let the host task end."""
        if self._released is not None:
            self._released.set()

    def check_open(self, what: str) -> None:
        """Raise when nobody new can be taken in: the actor is stopping, or the caller in a foreign thread.

        A nursery cancelled by SystemExit or its kin would never start anybody, and somebody would wait for it later.
        """
        self.kernel.check_thread(what)
        if self.closed or (self._nursery is not None and self._nursery.cancel_scope.cancel_called):
            raise ActorStoppedError(f"cannot {what}: it is stopping")

    def start(self, async_fn: Callable[..., Awaitable[object]], args: tuple[object, ...], name: str) -> None:
        """Start a task of the children, once there is their nursery."""
        if self._nursery is None:
            self._pending.append((async_fn, args, name))
        else:
            self.kernel.start(self._nursery, async_fn, args, name)

    def _is_clear(self) -> bool:
        return not self._tasks and (self._keeps or not self.children)

    def _note_end(self) -> None:
        if self._childless is not None and self._is_clear():
            self._childless.set()

    @trio.lowlevel.enable_ki_protection
    async def _host(self) -> None:
        released = self._released
        async with trio.open_nursery() as nursery:
            self.open(nursery)
            if released is not None:
                await released.wait()

    @trio.lowlevel.enable_ki_protection
    async def run_task(
        self, parent: Recipient, serial: int, async_fn: Callable[..., Awaitable[object]], args: tuple[object, ...]
    ) -> None:
        """Be a task beside the actor's own."""
        try:
            with self._tasks[serial]:
                await expect_awaitable(async_fn(*args), async_fn, "start_soon")
        except Exception as error:  # the task's failure is its actor's failure
            parent.fail_from_outside(error)
        finally:
            del self._tasks[serial]
            self._note_end()
