"""Appends of pure entities in the hands of the store, and one task for all their outcomes.

Owns the appends begun and the line of those with an outcome. It does not know what follows an outcome. The store calls
back between the steps of tasks, where an error would end the event loop: so there an outcome is only put into the line,
and the task, a part of the kind's actor, does the rest. One call of the store for many appends wakes it once.

How it works: an append is begun in the turn of its entity, under a claim known already. The others (no claim yet, no
room, a store that does not call back) are `JournalTasks`' work, as is one to be tried again under a newer claim. When
the task ends, outcomes in the line are settled, and the other appends are given up: nobody knows of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

import trio

from casty.cluster.sharding.pure.pure_entity import PureEntity
from casty.protocol.event_sourcing.machine import AppendEvents
from casty.runtime.messaging.mailbox import BATCH_MESSAGES
from casty.runtime.waking import WOKEN

if TYPE_CHECKING:
    from outcome import Outcome

    from casty.journal import Claim
    from casty.runtime.journaling.append_queue import BegunAppend


class PureAppend:
    """An append of one entity, under a claim."""

    __slots__ = ("begun", "claim", "entity", "outcome", "owner")

    def __init__(self, owner: PureAppends, entity: PureEntity, claim: Claim) -> None:
        self.owner = owner
        self.entity = entity
        self.claim = claim
        self.outcome: Outcome[None] | None = None
        self.begun: BegunAppend | None = None

    def __call__(self, outcome: Outcome[None]) -> None:
        """Take the outcome."""
        self.outcome = outcome
        self.owner.put(self)


class PureAppends:
    """Appends begun for the entities of one kind.

    Parameters:
        settle: Function of an append with its outcome.
        give_up: Function of an append without one.
        most: Bound of the appends.
    """

    def __init__(self, settle: Callable[[PureAppend], None], give_up: Callable[[PureAppend], None], most: int) -> None:
        self._settle = settle
        self._give_up = give_up
        self._most = most
        self._begun: dict[PureEntity, PureAppend] = {}
        self._over: deque[PureAppend] = deque()
        self._task: trio.lowlevel.Task | None = None
        self._is_parked = False

    def __repr__(self) -> str:
        return f"<PureAppends begun={len(self._begun)} over={len(self._over)}>"

    def begin(self, entity: PureEntity) -> bool:
        """Begin the next write of an entity; False where it needs a task. An error is an outcome."""
        write, store = entity.write, entity.store
        claim = store.place.scope.claim.known
        if self._task is None or claim is None or len(self._begun) >= self._most or type(write) is not AppendEvents:
            return False
        append = PureAppend(self, entity, claim)
        try:
            append.begun = store.begin_append(claim, write, append)
        except Exception:  # rare, such as of a closed journal: raised by the plain way again, and handled there
            return False
        if append.begun is None:
            return False
        self._begun[entity] = append
        return True

    def put(self, append: PureAppend) -> None:
        """Settle an append in its turn."""
        self._over.append(append)
        if self._is_parked and self._task is not None:
            self._is_parked = False
            trio.lowlevel.reschedule(self._task, WOKEN)

    def end(self, entity: PureEntity) -> bool:
        """Settle the append of an entity, or give it up where it has no outcome; False where none was begun."""
        append = self._begun.get(entity)
        if append is None:
            return False
        self._end(append)
        return True

    @trio.lowlevel.enable_ki_protection
    async def run(self) -> None:
        """Settle all appends, in bounded batches."""
        self._task = trio.lowlevel.current_task()
        over = self._over
        try:
            while True:
                if not over:
                    self._is_parked = True
                    await trio.lowlevel.wait_task_rescheduled(self._abort)
                for _ in range(min(len(over), BATCH_MESSAGES)):
                    append = over.popleft()
                    if self._begun.get(append.entity) is append:
                        self._end(append)
                if over:
                    await trio.lowlevel.checkpoint()
        finally:
            self._task = None
            for append in list(self._begun.values()):
                self._end(append)

    def _end(self, append: PureAppend) -> None:
        del self._begun[append.entity]
        if append.outcome is not None:
            self._settle(append)
            return
        assert append.begun is not None
        append.begun.give_up()
        self._give_up(append)

    def _abort(self, _: trio.lowlevel.RaiseCancelT) -> trio.lowlevel.Abort:
        self._is_parked = False
        return trio.lowlevel.Abort.SUCCEEDED
