"""Task of an event-sourced actor: mailbox to machine, machine to journal, and the answers back.

Owns the order of waits: one append at a time, and nothing read from the mailbox meanwhile. Messages there are the
next batch, bounded, counted and refused as everywhere. It does not know decisions, or the time of a reply: those are
the machine's; and not the journal, `SourcedStore`'s.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from casty.errors import JournalUnavailable, JournalUncertain
from casty.protocol.event_sourcing.machine import SourcedMachine, SourcedPhase, SourcedStep
from casty.runtime.messaging.inbox import Inbox
from casty.runtime.messaging.mailbox import NOTHING
from casty.runtime.sourcing.sourced_store import SourcedPlace, SourcedStore
from casty.runtime.system.context import ActorContext

M = TypeVar("M")


class SourcedActor:
    """One life of an event-sourced actor."""

    def __init__(
        self,
        machine: SourcedMachine,
        place: SourcedPlace,
        decide: Callable[[Any, Any, Any], Awaitable[object]] | None,
    ) -> None:
        self._machine = machine
        self._store = SourcedStore(machine, place)
        self._decide_async = decide

    def __repr__(self) -> str:
        return f"<SourcedActor {self._machine!r}>"

    async def main(self, ctx: ActorContext[Any], inbox: Inbox[Any]) -> None:
        """Recover, then serve commands until the actor is to stop."""
        machine = self._machine
        place = self._store.place
        is_lone = place.scope.claim.scope == machine.persistence_id
        with place.journal.in_use(machine.persistence_id, ctx.self.path, is_lone=is_lone):
            await self._store.recover()
            async for message in inbox:
                if machine.phase is SourcedPhase.recovering:
                    await self._store.recover()
                if machine.phase is SourcedPhase.ready:
                    await self._serve(ctx, message, inbox)
                else:
                    await self._refuse_all(message, inbox)
                if machine.is_stopped:
                    return

    # Commands

    async def _serve(self, ctx: ActorContext[Any], message: object, inbox: Inbox[Any]) -> None:
        """Decide a command and those waiting behind it, append their events, and answer them."""
        machine, failure = self._machine, None
        while message is not NOTHING:
            try:
                steps = await self._decide(ctx, message)
            except Exception as error:  # the user's code; those decided before it have no part in that
                failure = error
                break
            self._store.perform(steps)
            if machine.is_full or self._decide_async is not None:
                break
            message = await inbox.take_ready()
        await self._write(ctx)
        if failure is not None:
            raise failure

    async def _decide(self, ctx: ActorContext[Any], message: object) -> Sequence[SourcedStep]:
        if self._decide_async is None:
            return self._machine.decide(message)
        return self._machine.take(message, await self._decide_async(ctx, self._machine.tentative, message))

    async def _write(self, ctx: ActorContext[Any]) -> None:
        machine = self._machine
        write = machine.flush()
        if write is None:
            return
        try:
            await self._store.append(write)
        except BaseException as error:  # no asker may wait for an outcome that nobody looks at any more
            self._store.perform(machine.write_failed(error))
            if not isinstance(error, (JournalUnavailable, JournalUncertain)):
                raise
            ctx.log.warning("%s was not appended to: %s", machine.persistence_id, error)
            if machine.phase is SourcedPhase.recovering:
                await self._store.recover()
            return
        self._store.perform(machine.written())
        due = self._store.snapshot_due()
        if due is not None:
            ctx.start_soon(self._store.save, *due)

    async def _refuse_all(self, message: object, inbox: Inbox[Any]) -> None:
        """Refuse a command and those waiting behind it."""
        while message is not NOTHING:
            self._store.refuse(message)
            message = await inbox.take_ready()
