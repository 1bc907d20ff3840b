"""Tasks shared by actors of one family: each has the task for its turn, as long as its handler does not wait.

Owns the actors with something to do, in order, and two tasks: one serves them, and the deputy looks whether the first
hangs in a handler. It does not know what an actor does with the task: `SharingCell.be_served` is a turn, and its end is
either a rest until the next message, or something in need of a task of its own.

How it works: waking a task costs half of a message between two nodes, so one waking serves all actors with messages. A
waiting handler keeps the task: from then on it belongs to that actor for its whole life, and the deputy serves the
others. So locks, cancel scopes and nurseries, with Trio's note of the task in them, are used by one actor alone as soon
as it waits; so is a task with changed context variables. An actor failing, stopping, restarting or reading an inbox
keeps the task too, and goes on as every other actor. The plain twin is a task for each actor: `Cell.run`.
"""

from __future__ import annotations

from collections import deque
from contextvars import Context, copy_context
from typing import Final, Protocol, cast

import trio

from casty.config import Mailbox
from casty.runtime.actor.children import Children
from casty.runtime.messaging.mailbox import BATCH_MESSAGES, BATCH_SECONDS, MessageQueue
from casty.runtime.ports import Recipient
from casty.runtime.waking import WOKEN

RESTING: Final = cast("trio.lowlevel.Task", object())
"""In place of the sleeping task of an actor that has none."""


class SharingActor(Recipient, Protocol):
    """An actor, for the tasks shared by it."""

    @property
    def is_failing(self) -> bool:
        """Whether the present life has failed already and only has to end."""
        ...

    def rests_with(self, tasks: SharedTasks) -> bool:
        """Whether it has no task but these, and none of them now."""
        ...

    def note_failure(self, error: Exception) -> None:
        """Judge the failure of the present life."""
        ...

    async def be_served(self, task: trio.lowlevel.Task | None, scope: trio.CancelScope, started: float) -> bool:
        """Take a turn with a task, at work since ``started``; False once it is its own, and a life in it over."""
        ...

    async def go_on(self) -> None:
        """Go on in a task kept, behind the life in it; the last step of the task."""
        ...

    async def end(self) -> None:
        """End for good, whatever is raised on the way; the last step of a task."""
        ...


class SharedQueue(MessageQueue):
    """Messages of an actor without a task of its own, as long as it has none."""

    __slots__ = ("_cell", "_tasks")

    def __init__(self, settings: Mailbox, tasks: SharedTasks) -> None:
        super().__init__(settings)
        self._tasks = tasks
        self._cell: SharingActor | None = None

    def belong_to(self, cell: SharingActor) -> None:
        """Take note of the actor."""
        self._cell = cell

    def rest(self) -> None:
        """Take note of the actor's rest: the next message has it served."""
        self.parked, self.sleeper = True, RESTING

    def wake(self) -> None:
        if self.sleeper is not RESTING:
            super().wake()
        elif self._cell is not None:
            self.sleeper = None
            self._tasks.serve(self._cell)


class SharedTask:
    """One of the tasks."""

    __slots__ = ("context", "in_hand", "is_parked", "scope", "task")

    def __init__(self) -> None:
        self.task: trio.lowlevel.Task | None = None
        self.context: Context | None = None
        """Context variables at its start."""
        self.in_hand: SharingActor | None = None
        """Actor with the task: for a turn, or for its whole life."""
        self.is_parked = False
        self.scope = trio.CancelScope()
        """Kill scope of the actor in hand."""

    async def park(self) -> None:
        """Sleep until it is woken."""
        self.is_parked = True
        await trio.lowlevel.wait_task_rescheduled(self._abort)

    def wake(self) -> None:
        """Wake it if it sleeps."""
        if self.is_parked and self.task is not None:
            self.is_parked = False
            trio.lowlevel.reschedule(self.task, WOKEN)

    def _abort(self, _: trio.lowlevel.RaiseCancelT) -> trio.lowlevel.Abort:
        self.is_parked = False
        return trio.lowlevel.Abort.SUCCEEDED


class SharedTasks:
    """The shared tasks of one family.

    Parameters:
        home: The family; its nursery has the tasks.
    """

    def __init__(self, home: Children) -> None:
        self._home = home
        self._ready: deque[SharingActor] = deque()
        self._count = 0
        """Actors without a task of their own."""
        self._server: SharedTask | None = None
        self._deputy: SharedTask | None = None

    def __repr__(self) -> str:
        return f"<SharedTasks actors={self._count} ready={len(self._ready)}>"

    def adopt(self, cell: SharingActor) -> None:
        """Serve a new actor of the family, now for its beginning."""
        cast("SharedQueue", cell.mailbox).belong_to(cell)
        self._home.children[cell.path] = cell
        self._count += 1
        self.serve(cell)

    def serve(self, cell: SharingActor) -> None:
        """Give an actor the task in its turn."""
        self._ready.append(cell)
        server = self._server
        if server is None or server.in_hand is not None:
            self._call_deputy()
        elif server.is_parked:
            server.wake()

    def may_rest(self, cell: Recipient) -> bool:
        """Let an actor without anything to do rest without a task; False where it is to sleep in its own."""
        server = self._server
        held = None if server is None else server.in_hand
        if server is None or held is None or held is not cell or held.stop_requested or held.is_failing:
            return False  # of a stop or a failure from outside, its scope may be cancelled
        if copy_context() != server.context:
            self._give_away(server)
            return False
        cast("SharedQueue", cell.mailbox).rest()
        return True

    def keep(self, cell: SharingActor) -> None:
        """Let an actor keep the task that it has."""
        server = self._server
        if server is not None and server.in_hand is cell:
            self._give_away(server)

    def _call_deputy(self) -> None:
        """Wake the deputy, to look whether the serving task hangs in a handler."""
        deputy = self._deputy
        if deputy is None:
            self._deputy = SharedTask()
            self._home.start(self._run, (self._deputy,), f"{self._path()} (shared)")
        else:
            deputy.wake()

    def _path(self) -> str:
        return "" if self._home.parent is None else self._home.parent.path

    def _give_away(self, server: SharedTask) -> None:
        """Leave a task to the actor in its hand."""
        if server.task is not None and server.in_hand is not None:
            server.task.name = server.in_hand.path
        self._server = None
        self._count -= 1
        if self._ready:
            self._call_deputy()
        elif not self._count and self._deputy is not None:
            self._deputy.wake()

    @trio.lowlevel.enable_ki_protection
    async def _run(self, one: SharedTask) -> None:
        one.task, one.context = trio.lowlevel.current_task(), copy_context()
        try:
            with one.scope:
                await self._work(one)
        except Exception as error:  # the supervisor's boundary, as in `Cell`
            if one.in_hand is None:
                raise
            one.in_hand.note_failure(error)
        except BaseException:
            await self._leave(one, is_cut=True)
            raise
        await self._leave(one, is_cut=False)

    async def _work(self, one: SharedTask) -> None:
        """Look as the deputy, and then serve, until nobody is left or one actor keeps the task."""
        while one is not self._server:
            server = self._server
            if server is not None and server.in_hand is not None:  # it hangs: another task than this one would run
                self._give_away(server)
            if self._server is None and self._count:
                self._server, self._deputy = one, None
            elif not self._count:
                return
            else:
                await one.park()
        while await self._serve_all(one) and self._count:
            await one.park()

    async def _serve_all(self, one: SharedTask) -> bool:
        """Serve who has something to do; False once one actor keeps the task."""
        ready, now = self._ready, self._home.kernel.now
        count, started = 0, now()
        while ready:
            cell = ready.popleft()
            if ready and ((deputy := self._deputy) is None or deputy.is_parked):
                self._call_deputy()
            one.in_hand = cell
            if not await cell.be_served(one.task, one.scope, started):
                return False
            one.in_hand = None
            count += 1
            if not count & 7 and (count >= BATCH_MESSAGES or now() - started > BATCH_SECONDS):
                await trio.lowlevel.checkpoint()
                count, started = 0, now()
        return True

    async def _leave(self, one: SharedTask, *, is_cut: bool) -> None:
        """End a task's service: it goes on as the own one of the actor in hand, if there is any."""
        if self._deputy is one:
            self._deputy = None
        if self._server is one:
            self._server = None
            if one.in_hand is not None:
                self._give_away(one)
            elif self._deputy is not None:
                self._deputy.wake()
        try:
            if one.in_hand is not None:
                await (one.in_hand.end() if is_cut else one.in_hand.go_on())
        finally:
            if is_cut and self._count:
                await self._end_all()

    async def _end_all(self) -> None:
        """End the actors without a task, whose tasks were cancelled from outside, as each of them would."""
        family = cast("list[SharingActor]", list(self._home.children.values()))
        left = [cell for cell in family if cell.rests_with(self)]
        self._count -= len(left)
        self._ready.clear()
        with trio.CancelScope(shield=True):
            async with trio.open_nursery() as nursery:
                for cell in left:
                    nursery.start_soon(cell.end)
