"""Judgement over histories: `check_linearizable`.

A history is linearizable if each operation can be given one moment between its call and its reply, so that the model,
taking the operations in the order of these moments, gives the replies of the history (Herlihy and Wing 1990).

The search follows Wing and Gong (1993) with the memory of Lowe (2017): it tries all operations with a call before the
next reply, goes back at a reply without an explanation, and never looks twice at one state after one set of operations.
Objects are judged one by one; nothing is lost by it (locality, Herlihy and Wing, sec. 3.3).

An operation of unknown outcome may take its moment at any time after its call, or have none.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Final, Generic, TypeVar, cast

from casty.config.validation import check_callable
from casty.testing.history import Operation

S = TypeVar("S")

STEPS_MAX: Final = 1_000_000
SHOWN_MAX: Final = 20
STATES_SHOWN_MAX: Final = 3


class NotLinearizable(AssertionError):
    """No order of the operations explains the replies of a history.

    Parameters:
        text: The operations and the reply without an explanation, for people.
        key: Object of the operations.
        operations: Operations enough to show it, the unexplained one last.
    """

    def __init__(self, text: str, key: str, operations: Sequence[Operation]) -> None:
        super().__init__(text)
        self.key: str = key
        """Object of the operations."""
        self.operations: Sequence[Operation] = operations
        """Operations enough to show it, the unexplained one last."""


class HistoryUndecided(Exception):
    """The search ended at ``steps_max`` without a judgement. Record fewer operations at one time for each object."""


def check_linearizable(
    history: Iterable[Operation],
    model: Callable[[S, Any], tuple[S, Any]],
    *,
    initial: S,
    steps_max: int = STEPS_MAX,
) -> None:
    """Require of each object of a history the replies of an object with one operation at a time.

    So no acknowledged change is lost, none happens twice, and nobody reads a value from before its last change.

    Parameters:
        history: A `History`, or operations of your own making.
        model: Function of the state and a command, returning the next state and the reply, and changing neither in
            place. A state is anything with a hash, or a tuple, dataclass, dict, list or set of states.
        initial: State of each object before its first operation.
        steps_max: Steps of the search for each object, at least 1. The number of orders grows fast with the operations
            under way at one time, and with unknown outcomes.

    Raises:
        NotLinearizable: No order explains the replies. The text shows the operations enough to see it.
        HistoryUndecided: The search was given up after ``steps_max`` steps.
        TypeError: ``model`` is no function, or returns no pair.
        ValueError: ``steps_max`` is not at least 1.

    Example:
        >>> def counter(count, command):
        ...     return (count + 1, count + 1) if command == "add" else (count, count)
        >>> check_linearizable([Operation("c", "add", 0, 1, 1), Operation("c", "get", 2, 3, 1)], counter, initial=0)
        >>> check_linearizable([Operation("c", "add", 0, 1, 1), Operation("c", "get", 2, 3, 0)], counter, initial=0)
        Traceback (most recent call last):
            ...
        casty.testing.linearizability.NotLinearizable: c: no order of these operations explains the last reply
        [    0 to     1] 'add' -> 1
        [    2 to     3] 'get' -> 0
        state 1 would have replied 1
    """
    check_callable("check_linearizable", model, "a function of the state and a command")
    if steps_max < 1:
        raise ValueError(f"steps_max must be at least 1, got {steps_max!r}")
    of_key = defaultdict[str, list[Operation]](list)
    for operation in history:
        of_key[operation.key].append(operation)
    for key, operations in of_key.items():
        operations.sort(key=lambda operation: operation.called)

        def searching(some: Sequence[Operation]) -> _OrderSearch[S]:
            return _OrderSearch(some, model, initial, steps_max)

        if not searching(operations).run():
            raise _explained(key, operations, searching)


@dataclass(slots=True, eq=False)
class _Mark:
    """Call or reply without a place in the order yet; a list of them by time."""

    number: int
    """Of its operation."""
    reply: _Mark | None
    """The reply of a call; None for a reply."""
    before: _Mark | None = None
    after: _Mark | None = None

    def take(self) -> None:
        """Take a call and its reply out of the list."""
        for entry in (self, cast("_Mark", self.reply)):
            cast("_Mark", entry.before).after = entry.after
            if entry.after is not None:
                entry.after.before = entry.before

    def put_back(self) -> None:
        """Put a call and its reply back to where they were; calls are put back in the reverse order."""
        for entry in (cast("_Mark", self.reply), self):
            cast("_Mark", entry.before).after = entry
            if entry.after is not None:
                entry.after.before = entry


class _OrderSearch(Generic[S]):
    """Search for an order of the operations of one object."""

    def __init__(
        self, operations: Sequence[Operation], model: Callable[[S, Any], tuple[S, Any]], initial: S, steps_max: int
    ) -> None:
        self.operations = operations
        self.changed = set[int]()
        """Operations with an effect on some state."""
        self._blocked = dict[int, list[S]]()
        """States of orders that ended at a reply, by its operation."""
        self._model = model
        self._initial = initial
        self._steps_max = steps_max

    def run(self) -> bool:
        """Whether there is an order."""
        head = self._listed()
        seen = set[tuple[int, object]]()
        taken = list[tuple[_Mark, S]]()
        state, done, steps = self._initial, 0, 0
        entry = head.after
        while entry is not None:
            if entry.reply is None:
                if self.operations[entry.number].returned is None:
                    return True  # the replies that came have their place; what is left has had no moment
                stood = self._blocked.setdefault(entry.number, [])
                if len(stood) < STATES_SHOWN_MAX and state not in stood:
                    stood.append(state)
                if not taken:
                    return False
                last, state = taken.pop()
                done ^= 1 << last.number
                last.put_back()
                entry = last.after
                continue
            steps += 1
            if steps > self._steps_max:
                raise HistoryUndecided(
                    f"{self.operations[0].key}: {self._steps_max} steps were not enough for {len(self.operations)} "
                    "operations: record fewer at one time for each object, or allow more with steps_max"
                )
            then = self._step(state, entry.number)
            if then is not None:
                place = (done | 1 << entry.number, _frozen(then[0]))
                if place not in seen:
                    seen.add(place)
                    taken.append((entry, state))
                    state, done = then[0], place[0]
                    entry.take()
                    entry = head.after
                    continue
            entry = entry.after
        return True

    def _listed(self) -> _Mark:
        """Return the head of the list of calls and replies by time; missing replies stand at the end."""
        marks = list[tuple[float, _Mark]]()
        for number, operation in enumerate(self.operations):
            reply = _Mark(number, None)
            marks.append((operation.called, _Mark(number, reply)))
            marks.append((float("inf") if operation.returned is None else operation.returned, reply))
        marks.sort(key=lambda mark: mark[0])
        head = last = _Mark(-1, None)
        for _, entry in marks:
            last.after, entry.before = entry, last
            last = entry
        return head

    def _step(self, state: S, number: int) -> tuple[S, object] | None:
        """Return the model's next state and reply; None where the client got another reply."""
        operation = self.operations[number]
        then: object = self._model(state, operation.command)
        if type(then) is not tuple or len(cast("tuple[object, ...]", then)) != 2:
            raise TypeError(f"the model must return a pair of the next state and the reply, got {then!r}")
        found = cast("tuple[S, object]", then)
        if operation.returned is not None and not bool(found[1] == operation.reply):
            return None
        if number not in self.changed and _frozen(found[0]) != _frozen(state):
            self.changed.add(number)
        return found

    def hints(self, last: Operation) -> list[str]:
        """Return the model's replies to an operation in some of the possible states, for people."""
        number = next(place for place, operation in enumerate(self.operations) if operation is last)
        states = self._blocked.get(number, [])
        return [f"state {state!r} would have replied {self._model(state, last.command)[1]!r}" for state in states]


def _explained(
    key: str, operations: Sequence[Operation], searching: Callable[[Sequence[Operation]], _OrderSearch[S]]
) -> NotLinearizable:
    """Return the error with few operations.

    They end at the first reply without an explanation; operations without a reply by then are open. Then operations
    without any effect are left out one by one while the rest alone has no explanation: an order of all, less its reads,
    would be an order of the rest.
    """
    times = sorted(operation.returned for operation in operations if operation.returned is not None)
    place = bisect_left(times[:-1], 1, key=lambda time: _fails(searching(_until(operations, time))))
    kept = _until(operations, times[place])
    found = searching(kept)
    _fails(found)
    last = next(operation for operation in kept if operation.returned == times[place])
    reads = [read for number, read in enumerate(kept) if number not in found.changed and read.returned is not None]
    for read in reversed(reads):
        trial = searching([operation for operation in kept if operation is not read])
        if read is not last and _fails(trial):
            kept, found = trial.operations, trial
    kept = [*(operation for operation in kept if operation is not last), last]
    lines = [f"{key}: no order of these operations explains the last reply", *map(repr, kept[-SHOWN_MAX:])]
    if len(kept) > SHOWN_MAX:
        lines.insert(1, f"... {len(kept) - SHOWN_MAX} earlier ones, all in the error's operations")
    return NotLinearizable("\n".join([*lines, *found.hints(last)]), key, kept)


def _fails(search: _OrderSearch[S]) -> bool:
    """Whether there certainly is no order."""
    try:
        return not search.run()
    except HistoryUndecided:
        return False


def _until(operations: Sequence[Operation], end: int) -> Sequence[Operation]:
    """Return the operations as they stood at a time; those without a reply by then are open."""
    return [
        operation
        if operation.returned is not None and operation.returned <= end
        else Operation(operation.key, operation.command, operation.called)
        for operation in operations
        if operation.called < end
    ]


def _frozen(value: object) -> object:
    """Return a value with a hash, equal for equal values."""
    if isinstance(value, Mapping):
        items = cast("Mapping[object, object]", value).items()
        return (dict, frozenset((key, _frozen(item)) for key, item in items))
    if isinstance(value, list | tuple):
        return (isinstance(value, list), *map(_frozen, cast("Sequence[object]", value)))
    if isinstance(value, Set):
        return (frozenset, frozenset(cast("Set[object]", value)))
    if is_dataclass(value) and not isinstance(value, type):
        return (type(value), tuple(_frozen(getattr(value, each.name)) for each in fields(value) if each.compare))
    return value
