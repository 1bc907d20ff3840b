"""Appends without a waiting task: the seam for stores that call back.

Owns the question whether a store's `begin_append` does the same as its `append`. It does not know entities. A task that
sleeps for each append costs two ways through the event loop, and all coroutines between it and the store twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from casty.journal import Claim, Record
from casty.runtime.journaling.histories import is_newest

if TYPE_CHECKING:
    from outcome import Outcome


class BegunAppend(Protocol):
    """An append in the hands of a store."""

    def give_up(self) -> None:
        """Hear nothing more of it: one not written yet may be left out, and nobody knows."""
        ...


@runtime_checkable
class AppendQueue(Protocol):
    """Journal with appends that nobody waits for."""

    def begin_append(
        self,
        claim: Claim,
        persistence_id: str,
        after: int,
        records: Sequence[Record],
        done: Callable[[Outcome[None]], None],
    ) -> BegunAppend | None:
        """Begin an append of checked arguments, as of `Journal.append`, and call a function with its outcome.

        Parameters:
            claim: Of the scope of the persistence id.
            persistence_id: Of the events.
            after: Number of the last event of this id.
            records: Events.
            done: Called once in Trio's thread, later, unless the append is given up. It must not block or raise.

        Returns:
            The append. None where the store has no room: nothing was done, and `append` waits for some.
        """
        ...


def append_queue_of(journal: object) -> AppendQueue | None:
    """Return a journal as a queue of appends; None where entities have to wait for `append`, as for that of a class
    derived from a store: it may seal the events, or count them."""
    return journal if isinstance(journal, AppendQueue) and is_newest(journal, "begin_append", "append") else None
