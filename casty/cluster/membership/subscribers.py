"""Subscribers to changes of the topology: actors of this node are told at once, those of other nodes in turn.

Owns the two tables of subscribers, each with its bound, and the way of a snapshot to them. Here each is told every
snapshot, before any frame is made. For other nodes a snapshot is encoded once, and the loop goes round between two
frames, so thousands of subscribers hold nobody up. A frame waits for room in the queue of its node, and a subscriber
with a late turn is told the newest snapshot alone: refs wait, not frames.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import trio

from casty.address import NodeAddress, serial_of
from casty.cluster.commands import TopologyCmd
from casty.cluster.node import ClusterNode
from casty.cluster.remoting.remote_ref import RemoteRef
from casty.errors import CastyError, EncodeError
from casty.protocol.state.cluster_state import TopologySnapshot
from casty.refs import ActorRef
from casty.runtime.events import Terminated
from casty.runtime.system.context import ActorContext
from casty.wire.encoded import EncodedMessage

LOCAL_SUBSCRIBERS_MAX: Final = 4_096
"""Actors of this node told of each change."""
REMOTE_SUBSCRIBERS_MAX: Final = 4_096
"""Those of all other nodes together."""
REMOTE_SUBSCRIBERS_PER_NODE_MAX: Final = 1_024
"""Those of one other node: it leaves room for the others."""

Subscriber = ActorRef[TopologySnapshot]


@dataclass(slots=True, eq=False)
class _NodeSubscribers:
    """Subscribers of another node, and those of them still without the newest snapshot."""

    refs: dict[RemoteRef[TopologySnapshot], None] = field(
        default_factory=lambda: dict[RemoteRef[TopologySnapshot], None]()
    )
    behind: dict[RemoteRef[TopologySnapshot], None] = field(
        default_factory=lambda: dict[RemoteRef[TopologySnapshot], None]()
    )
    is_fed: bool = False


class Subscribers:
    """The subscribers of one node's topology; ``current`` returns the newest snapshot."""

    def __init__(
        self, node: ClusterNode, ctx: ActorContext[TopologyCmd | Terminated], current: Callable[[], TopologySnapshot]
    ) -> None:
        self._cluster = node
        self._ctx = ctx
        self._current = current
        self._local: dict[Subscriber, None] = {}
        self._nodes: dict[NodeAddress | None, _NodeSubscribers] = {}
        self._remote_count = 0
        self._encoded: tuple[TopologySnapshot, EncodedMessage] | None = None
        self._turn = trio.Lock()
        self._outgrown: set[Subscriber] = set()
        self._full_said: set[str] = set()

    def add(self, subscriber: Subscriber) -> bool:
        """Add a subscriber and have it told the newest snapshot; whether there will be more for it to hear.

        There is not where there is no room for it, or where it is an ask, answered by the first snapshot.
        """
        if not isinstance(subscriber, RemoteRef):
            if subscriber not in self._local and len(self._local) >= LOCAL_SUBSCRIBERS_MAX:
                return self._refuse("of this node", LOCAL_SUBSCRIBERS_MAX)
            self._local[subscriber] = None
            self._tell(subscriber, self._current())
            return True
        address = subscriber.address.node
        node = self._nodes.get(address) or _NodeSubscribers()
        if subscriber not in node.refs:
            if self._remote_count >= REMOTE_SUBSCRIBERS_MAX:
                return self._refuse("of other nodes", REMOTE_SUBSCRIBERS_MAX)
            if len(node.refs) >= REMOTE_SUBSCRIBERS_PER_NODE_MAX:
                return self._refuse(f"of {address}", REMOTE_SUBSCRIBERS_PER_NODE_MAX)
            node.refs[subscriber] = None
            self._remote_count += 1
        self._nodes[address] = node
        node.behind[subscriber] = None
        self._feed(node)
        return not _is_ask(subscriber)

    def drop(self, subscriber: ActorRef[TopologySnapshot]) -> None:
        """Tell a subscriber nothing more, if it is one."""
        self._outgrown.discard(subscriber)
        if not isinstance(subscriber, RemoteRef):
            self._local.pop(subscriber, None)
            return
        address = subscriber.address.node
        node = self._nodes.get(address)
        if node is None or subscriber not in node.refs:
            return
        del node.refs[subscriber]
        node.behind.pop(subscriber, None)
        self._remote_count -= 1
        if not node.refs:
            del self._nodes[address]

    def show(self, snapshot: TopologySnapshot) -> None:
        """Tell everybody a new snapshot, the current one by now."""
        for subscriber in list(self._local):
            self._tell(subscriber, snapshot)
        for node in self._nodes.values():
            # Subscribers behind already keep their places, or those at the end would never have their turn.
            node.behind.update(node.refs)
            self._feed(node)

    def _tell(self, subscriber: Subscriber, snapshot: TopologySnapshot) -> None:
        """Tell a snapshot; one subscriber's failure to take it is no other's loss."""
        try:
            subscriber.tell(snapshot)
        except CastyError as error:
            self._ctx.log.error("%s got no snapshot: %s", subscriber.path, error)

    def _feed(self, node: _NodeSubscribers) -> None:
        if not node.is_fed:
            node.is_fed = True
            self._ctx.start_soon(self._send_to, node)

    async def _send_to(self, node: _NodeSubscribers) -> None:
        """Send the newest snapshot to those of one node still without it, one frame each time the loop goes round."""
        try:
            while node.behind:
                async with self._turn:  # it takes one round to get, however many nodes there are
                    pass
                if node.behind:
                    subscriber = next(iter(node.behind))
                    del node.behind[subscriber]
                    await self._send(subscriber)
                    if _is_ask(subscriber):
                        self.drop(subscriber)
        finally:
            node.is_fed = False

    async def _send(self, subscriber: RemoteRef[TopologySnapshot]) -> None:
        try:
            await subscriber.send_encoded(self._encode())
        except EncodeError as error:
            if subscriber not in self._outgrown:
                self._outgrown.add(subscriber)
                self._ctx.log.error(
                    "%s on %s gets no snapshots while the cluster is too large for one message (%s): "
                    "subscribe to the cluster of its own node", subscriber.path, subscriber.address.node, error,
                )  # fmt: skip
        except Exception as error:  # the boundary of one subscriber
            self._ctx.log.error("%s got no snapshot: %s", subscriber.path, error)

    def _encode(self) -> EncodedMessage:
        """Return the newest snapshot, encoded once."""
        snapshot = self._current()
        if self._encoded is None or self._encoded[0] is not snapshot:
            codec = self._cluster.codec
            name = codec.name_of(TopologySnapshot)
            self._encoded = snapshot, EncodedMessage(codec.frame_envelope("/", 0, snapshot), name)
        return self._encoded[1]

    def _refuse(self, whose: str, bound: int) -> bool:
        if whose not in self._full_said and len(self._full_said) < REMOTE_SUBSCRIBERS_MAX:
            self._full_said.add(whose)  # said once each: a peer may ask without end
            self._ctx.log.error("%d subscribers %s: more of them get no snapshots", bound, whose)
        return False

    def __repr__(self) -> str:
        return f"<Subscribers local={len(self._local)} remote={self._remote_count}>"


def _is_ask(subscriber: RemoteRef[TopologySnapshot]) -> bool:
    return serial_of(subscriber.path) is not None
