"""View of a node's membership for code outside of actors."""

from __future__ import annotations

from collections.abc import Callable

import trio

from casty.address import NodeAddress, UniqueAddress
from casty.errors import CastyError
from casty.protocol.gossip.handover import StatePublished
from casty.protocol.split_brain.serving_lease import Serving, WorkFree
from casty.protocol.state.cluster_state import TopologySnapshot
from casty.protocol.state.member import Member, MemberStatus

MembershipNews = StatePublished | Serving | WorkFree


class MembershipStatus:
    """The latest snapshot, whether this node has joined, and whether and why its membership ended.

    Written by the topology actor, read by waiting tasks.
    """

    def __init__(self) -> None:
        self.snapshot: TopologySnapshot | None = None
        self.runs: frozenset[UniqueAddress] = frozenset()
        """The runs of the members in it."""
        self.unreachable_since: dict[NodeAddress, float] = {}
        """Time since each unreachable member is shown as such, on Trio's clock."""
        self.joined = False
        self.ended = False
        self.on_end: Callable[[], None] | None = None
        self._end_callbacks: list[Callable[[], None]] = []
        self._listeners: list[Callable[[MembershipNews], None]] = []
        self._error: CastyError | None = None
        self._changed = trio.Event()

    def follow(self, listener: Callable[[MembershipNews], None]) -> None:
        """Add a listener for each published state, each serving lease, and each work that gets free."""
        self._listeners.append(listener)

    def tell(self, news: MembershipNews) -> None:
        """Tell the parts of the node that follow."""
        for listener in self._listeners:
            listener(news)

    @property
    def members(self) -> frozenset[Member]:
        """The members in the latest snapshot."""
        return frozenset() if self.snapshot is None else self.snapshot.members

    def show(self, snapshot: TopologySnapshot) -> None:
        """Show a new snapshot."""
        self.snapshot = snapshot
        self.runs = frozenset(member.unique for member in snapshot.members)
        before, now = self.unreachable_since, trio.current_time()
        self.unreachable_since = {address: before.get(address, now) for address in snapshot.unreachable}
        self._wake()

    def when_ended(self, callback: Callable[[], None]) -> None:
        """Call a part of the node at the end of the membership, perhaps twice."""
        self._end_callbacks.append(callback)

    def join(self) -> None:
        """Note that this node is a member."""
        self.joined = True
        self._wake()

    def end(self, error: CastyError | None = None) -> None:
        """Note the end of the membership: in good order, or with the error for its waiters."""
        if not self.ended:
            self.ended, self._error = True, error
            self._wake()
            self._tell_end()
            if self.on_end is not None:
                self.on_end()

    def ask_to_leave(self) -> bool:
        """Ask this node's work to come to its end; return whether somebody sees to it."""
        if self.on_end is None:
            return False
        self.on_end()
        return True

    def close(self) -> None:
        """Release all waiters: the actor that writes here has ended, for any reason."""
        self.ended = True
        self._wake()
        self._tell_end()

    async def wait_joined(self) -> None:
        """Return once this node is a member. Raises the error of an end before."""
        while not self.joined:
            await self._next()

    async def wait_up(self, count: int) -> None:
        """Return once at least ``count`` members are up. Raises when the membership ends first."""
        while up_members(self.snapshot) < count:
            await self._next()

    async def wait_ended(self) -> None:
        """Return once the membership has ended, for whatever reason."""
        while not self.ended:
            await self._changed.wait()

    async def _next(self) -> None:
        if self.ended:
            raise self._error or CastyError("this node has left its cluster")
        await self._changed.wait()

    def _tell_end(self) -> None:
        for callback in self._end_callbacks:
            callback()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()


def up_members(snapshot: TopologySnapshot | None) -> int:
    """Return how many members are up."""
    return 0 if snapshot is None else sum(member.status is MemberStatus.up for member in snapshot.members)
