"""Claim of one scope, shared by all entities in it.

Owns the newest claim known here. It does not know entities: one asks for the claim before each write, and tells when
its own proved void.

How it works: the first to ask claims, and the others wait for it. After an uncertain write its entity gives the claim
up, and the next to ask claims anew, once for all of them. A write of another entity, under way meanwhile, may be
fenced by the new claim: as nothing was written, it is tried again under the newer claim.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from casty.journal import Claim, Journal


class ScopeClaim:
    """Right of this system to one scope.

    Parameters:
        journal: Store to claim at.
        scope: Name of the scope.
        holder: Name of the claimant, told to a replaced writer.
        prepare: Step before the first claim, such as a look at settings stored for good.
    """

    def __init__(
        self, journal: Journal, scope: str, holder: str, prepare: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        self.scope = scope
        self._journal = journal
        self._holder = holder
        self._prepare = prepare
        self._claim: Claim | None = None
        self._lock = trio.Lock()

    def __repr__(self) -> str:
        return f"<ScopeClaim {self.scope} {'none' if self._claim is None else self._claim.number}>"

    @property
    def known(self) -> Claim | None:
        """The claim, None where it has to be made."""
        return self._claim

    async def current(self) -> Claim:
        """Return the claim, made first where there is none. Raises JournalError."""
        if self._claim is not None:
            return self._claim
        async with self._lock:
            if self._claim is None:
                if self._prepare is not None:
                    await self._prepare()
                (self._claim,) = await self._journal.claim([self.scope], self._holder)
            return self._claim

    def is_replaced(self, claim: Claim) -> bool:
        """Whether a claim was given up here: then its refusal is no sign of another claimant."""
        return self._claim is not claim

    def give_up(self, claim: Claim) -> None:
        """Leave the claim void, unless a newer one has taken its place: the next to ask claims anew."""
        if self._claim is claim:
            self._claim = None
