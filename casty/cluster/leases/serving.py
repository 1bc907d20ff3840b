"""A node's serving lease, as shown to exclusive work: work for one node alone."""

from __future__ import annotations

import math
import time

import trio

from casty.address import UniqueAddress
from casty.cluster.membership.membership_status import MembershipStatus
from casty.protocol.split_brain.serving_lease import SERVING_TIME
from casty.protocol.state.member import Member

SLEEP_NOTICED = 0.1
"""A host asleep for less has not outlived a grant."""
LOOKED_EVERY = 0.0005
"""Seconds between two looks at the sleep of the host, where many messages are handled: the time of one batch."""


class ServingLease:
    """Whether this node may do work allowed to one node of the cluster alone, right now.

    Made by `Cluster.serving_lease`. Look at ``is_serving`` before each message, each reply and each
    write of such work, and do nothing while it is False: the node may be cut off, or was stopped for a
    while, and another one may do the work by now. It costs no message and about a microsecond.

    >>> from casty import Cluster, ClusterConfig
    >>> cluster = Cluster(system, ClusterConfig("127.0.0.1", 2551, node_id="web-1"))
    >>> await cluster.start()
    >>> lease = cluster.serving_lease()
    >>> await lease.wait_serving()
    >>> lease.is_serving
    True

    The lease is for the whole node. It does not say which node the work belongs to: when that one is lost, ask
    ``wait_free`` before you begin.
    """

    def __init__(self, board: MembershipStatus) -> None:
        self._board = board
        self._until = -math.inf
        self._free_at: dict[UniqueAddress, float] = {}
        self._slept = time_asleep()
        self._awake_since = -math.inf
        self._changed = trio.Event()
        self._looked_until = -math.inf
        board.when_ended(self.wake)

    @property
    def is_serving(self) -> bool:
        """Whether enough members have granted lately, so that no other side of a partition can go on."""
        now, slept = trio.current_time(), time_asleep()
        if slept > self._slept + SLEEP_NOTICED:
            # The host stood still, and so did its monotonic clock: earlier grants count no more.
            self._slept, self._awake_since = slept, now
        if now < self._until and self._until - SERVING_TIME >= self._awake_since and not self._board.ended:
            self._looked_until = min(self._until, now + LOOKED_EVERY)
            return True
        self._looked_until = -math.inf
        return False

    def serves_at(self, now: float) -> bool:
        """Whether this node serves, with one look at the sleep of the host for the messages of a batch.

        Parameters:
            now: Present time of Trio's clock.

        Returns:
            The same as ``is_serving``, up to half a millisecond ago.
        """
        return now < self._looked_until or self.is_serving

    async def wait_serving(self) -> None:
        """Return once this node serves. Waits for ever on a node whose membership has ended."""
        while not self.is_serving:
            await self._changed.wait()

    async def serves_ever(self) -> bool:
        """Wait until this node serves, or never will.

        Returns:
            True once this node serves; False once its membership has ended.
        """
        while not self.is_serving:
            if self._board.ended:
                return False
            await self._changed.wait()
        return True

    async def wait_lapsed(self) -> None:
        """Return once this node does not serve, at the very time of the lapse."""
        while self.is_serving:
            with trio.move_on_at(self._until):
                await self._changed.wait()

    def may_take_over(self, member: Member) -> bool:
        """Say whether nobody does the work of a member any more, so that it may be begun elsewhere.

        Parameters:
            member: A member as `MemberLeft` or a snapshot told it.

        Returns:
            Whether ``member`` is removed, and all of its permissions have lapsed.
        """
        if any(present.unique == member.unique for present in self._board.members):
            return False
        return trio.current_time() >= self._free_at.get(member.unique, -math.inf)

    async def wait_free(self, member: Member) -> None:
        """Return once ``may_take_over`` holds: a few seconds after its ``MemberLeft`` at most.

        Work handed over by ``member`` itself need not wait for it.

        Parameters:
            member: A member as `MemberLeft` or a snapshot told it.
        """
        while not self.may_take_over(member):
            with trio.move_on_at(self._free_at.get(member.unique, math.inf)):
                await self._changed.wait()
        await trio.lowlevel.checkpoint()

    def extend(self, until: float) -> None:
        """Serve until then, and not longer. For the topology actor.

        Parameters:
            until: Time of Trio's clock.
        """
        self._until = until
        self.wake()

    def free(self, node: UniqueAddress, at: float) -> None:
        """Let nobody take over from a removed run before that time. For the topology actor.

        Parameters:
            node: The removed run.
            at: Time of Trio's clock.
        """
        now = trio.current_time()
        self._free_at = {other: due for other, due in self._free_at.items() if due > now} | {node: at}
        self.wake()

    @property
    def until(self) -> float:
        """Time of Trio's clock until which it serves, as far as it is granted."""
        return self._until

    def wake(self) -> None:
        """Wake all waiters to look again. For the topology actor."""
        self._looked_until = -math.inf
        self._changed.set()
        self._changed = trio.Event()

    def __repr__(self) -> str:
        return f"<ServingLease {'serving' if self.is_serving else 'not serving'}>"


def time_asleep() -> float:
    """Return how long the host has slept since it started, never too much; 0 where nobody counts."""
    if not hasattr(time, "CLOCK_BOOTTIME"):
        return 0.0
    boot = time.clock_gettime(time.CLOCK_BOOTTIME)
    return max(0.0, boot - time.clock_gettime(time.CLOCK_MONOTONIC))
