"""The time-outs of all asks: a timing wheel, since hardly any of them ever comes."""

from __future__ import annotations

from typing import Final, Generic, Protocol, TypeVar

from casty.runtime.deadlines import TimerEntry, TimerQueue

SLICE: Final = 0.02
"""Seconds per slot of the wheel: a time-out comes at most this much late."""


class Expiring(Protocol):
    """Object with a time-out."""

    def expire(self) -> None:
        """Take note of the end of its time."""
        ...


S = TypeVar("S", bound=Expiring)


class Bucket(TimerEntry, Generic[S]):
    """The open slots whose time-outs fall into one slice of time."""

    __slots__ = ("end", "number", "slots", "start", "wheel")

    def __init__(self, wheel: AskWheel[S], number: int) -> None:
        super().__init__()
        self.wheel = wheel
        self.number = number
        self.start, self.end = (number - 1) * SLICE, number * SLICE
        self.slots: dict[int, S] = {}

    def fire(self, deadline: float) -> float | None:
        self.wheel.forget(self)
        for slot in list(self.slots.values()):
            slot.expire()
        self.wheel.give_back()
        return None


class AskWheel(Generic[S]):
    """Buckets of slots by time-out, each with one entry in the timer queue.

    An empty bucket does not wait for its time: a long time-out would keep one for every slice with an ask in it. Only
    the newest may be empty, or it would be made again for each of many quick asks.
    """

    __slots__ = ("_asks", "_buckets", "_timer_queue", "newest")

    def __init__(self, timer_queue: TimerQueue, asks: dict[int, S]) -> None:
        self._timer_queue = timer_queue
        self._asks = asks
        self._buckets: dict[int, Bucket[S]] = {}
        self.newest: Bucket[S] | None = None

    def bucket(self, deadline: float) -> Bucket[S]:
        """Return the bucket for the first slice boundary after ``deadline``."""
        number = int(deadline / SLICE) + 1
        bucket = self._buckets.get(number)
        if bucket is None:
            older, self.newest = self.newest, Bucket(self, number)
            bucket = self._buckets[number] = self.newest
            self._timer_queue.add(bucket, bucket.end)
            if older is not None and not older.slots:
                self.drop_unused(older)
        return bucket

    def forget(self, bucket: Bucket[S]) -> None:
        """Let go of a bucket firing now."""
        del self._buckets[bucket.number]
        if self.newest is bucket:
            self.newest = None

    def give_back(self) -> None:
        """Free the memory kept by the table of all asks from a busier time, now that none is left."""
        if not self._asks:
            self._asks.clear()

    def drop_unused(self, bucket: Bucket[S]) -> None:
        """Drop an empty bucket before its time, unless it is the newest, or fires now."""
        if bucket is not self.newest and self._buckets.get(bucket.number) is bucket:
            del self._buckets[bucket.number]
            self._timer_queue.finish(bucket)

    def __len__(self) -> int:
        return len(self._buckets)
