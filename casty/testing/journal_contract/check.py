"""The check of a journal against the promises of `casty.journal`: `check_journal`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Final, cast

import trio

from casty.config.validation import check_callable
from casty.journal import Journal, SnapshotStore, StateStore
from casty.runtime.journaling.histories import histories_of
from casty.testing.journal_contract import (
    appending,
    bounding,
    crowding,
    fencing,
    keeping,
    looking,
    removing,
    tailing,
)
from casty.testing.journal_contract.trial import Trial

Promise = Callable[[Trial], Awaitable[None]]

OF_EVENTS: tuple[Promise, ...] = (
    *appending.PROMISES,
    *fencing.PROMISES,
    *removing.PROMISES,
    *tailing.PROMISES,
    *crowding.PROMISES,
    *bounding.PROMISES,
)
OF_SNAPSHOTS: tuple[Promise, ...] = (*keeping.SNAPSHOT_PROMISES, *bounding.SNAPSHOT_PROMISES)
OF_HISTORIES: tuple[Promise, ...] = looking.HISTORY_PROMISES
OF_STATES: tuple[Promise, ...] = (*keeping.STATE_PROMISES, *bounding.STATE_PROMISES)


def _named(promises: tuple[Promise, ...]) -> Mapping[str, Promise]:
    return {str(getattr(promise, "__name__")): promise for promise in promises}  # noqa: B009  # a Callable has none


_BY_NAME = _named((*OF_EVENTS, *OF_SNAPSHOTS, *OF_HISTORIES, *OF_STATES))

JOURNAL_PROMISES: Final = tuple(_named(OF_EVENTS))
"""Names of the promises of each `casty.Journal`, for `check_journal`."""

SNAPSHOT_PROMISES: Final = tuple(_named(OF_SNAPSHOTS))
"""Names of the further promises of a `casty.SnapshotStore`, for `check_journal`."""

HISTORY_PROMISES: Final = tuple(_named(OF_HISTORIES))
"""Names of the further promises of a `casty.HistoryStore` that is a `casty.SnapshotStore`, for `check_journal`."""

STATE_PROMISES: Final = tuple(_named(OF_STATES))
"""Names of the further promises of a `casty.StateStore`, for `check_journal`."""


async def check_journal(
    factory: Callable[[], Journal],
    *promises: str,
    crash: Callable[[], object] | None = None,
    timeout: float = 60.0,
) -> None:
    """Hold a journal to its promises: order, fences, tails, removal, snapshots, values, many at once, bounds.

    Each promise opens one to three journals on the store, at one time or one after the other, and uses ids of its
    own, so one store will do for all, and may hold other things. Snapshots, histories and values are tried where the
    journal is a store of them. It finds faults and proves nothing: no call can see into a disk.

    With pytest, name the promises one by one, each as a test:

        @pytest.mark.parametrize("promise", JOURNAL_PROMISES)
        async def test_my_journal(promise, tmp_path):
            await check_journal(lambda: MyJournal(tmp_path / "journal"), promise)

    Parameters:
        factory: Function to make another journal on the same store in each call.
        *promises: Names of those to try, of `JOURNAL_PROMISES`, `SNAPSHOT_PROMISES`, `HISTORY_PROMISES` and
            `STATE_PROMISES`; none for all promises of such a journal.
        crash: Function to lose everything not yet durable, as a power cut does; called while a journal is open, and
            nothing is written. None where it cannot be done.
        timeout: Seconds for each promise.

    Raises:
        AssertionError: The journal breaks a promise, or fails where it should not. The message has the promise, the
            expected and the found.
        TimeoutError: It took longer than ``timeout``.
        TypeError: ``factory`` is no function, or a promise is for another kind of store.
        ValueError: No promise has this name.

    Example:
        >>> from casty import MemoryJournal
        >>> store = MemoryJournal()
        >>> await check_journal(store.handle)
    """
    check_callable("check_journal", factory, "a function that makes another journal on the same store")
    journal = factory()
    keeps = {*_named(OF_EVENTS)}
    keeps |= {*_named(OF_SNAPSHOTS)} if isinstance(journal, SnapshotStore) else set[str]()
    if isinstance(journal, SnapshotStore) and histories_of(journal) is not None:
        keeps |= {*_named(OF_HISTORIES)}
    keeps |= {*_named(OF_STATES)} if isinstance(journal, StateStore) else set[str]()
    for name in promises or [name for name in _BY_NAME if name in keeps]:
        if name not in _BY_NAME:
            raise ValueError(f"expected one of the promises {', '.join(_BY_NAME)}, got {name!r}")
        if name not in keeps:
            raise TypeError(f"{name} is for a store of another kind than {journal!r}: leave it out")
        with trio.move_on_after(timeout) as scope:
            try:
                await _BY_NAME[name](Trial(factory, crash))
            except Exception as error:
                found = _first(error)
                kind = "" if isinstance(found, AssertionError) else f"{type(found).__name__}: "
                raise AssertionError(f"{name.replace('_', ' ')}: {kind}{found}") from error
        if scope.cancelled_caught:
            raise TimeoutError(f"{name.replace('_', ' ')}: not done within {timeout:g} s")


def _first(error: BaseException) -> BaseException:
    """Return the first broken promise in an error, or its first error of another kind."""
    found = list(_leaves(error))
    return next((each for each in found if isinstance(each, AssertionError)), found[0])


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for each in cast("BaseExceptionGroup[BaseException]", error).exceptions:
            yield from _leaves(each)
    else:
        yield error
