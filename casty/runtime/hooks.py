"""Functions put into a kernel by the layers above, to be called by it; there are none without a cluster.

Each is a question with one answer, or a request with one receiver. Of what has merely happened to actors, any number of
listeners are told (`casty.runtime.listeners`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Never, Protocol

from casty.address import UniqueAddress
from casty.errors import ActorStoppedError
from casty.protocol.sharding.observability.shard_listing import ShardsTold
from casty.refs import ActorRef, EntityKey, TypedKey

OPEN_MAX: Final = 10_000
"""Keys open to clients that a node remembers; of more, the one that was used first is open no more until it is used."""


class ReplyGate(Protocol):
    """Gate of the replies to asks of entities: open while this node has the lease for their work."""

    @property
    def is_open(self) -> bool:
        """Whether a reply may be given now."""
        ...

    def hold(self, give: Callable[[], None], reply: object, ref: ActorRef[Never]) -> None:
        """Keep a reply until the gate is open; a dead letter where too many wait, or it opens no more."""
        ...


def _is_nobody(_: UniqueAddress) -> bool:
    return False


def no_shards(_: str | None) -> ShardsTold:
    """Return the shards known without a cluster: none."""
    return ShardsTold()


@dataclass(frozen=True, slots=True)
class OpenKey:
    """Key open to clients by way of this node, and whether it is of a singleton."""

    key: TypedKey[Any]
    is_singleton: bool = False


@dataclass(slots=True, eq=False)
class KernelHooks:
    """The hooks of one kernel. Whoever sets one takes it back when it ends."""

    on_spawn: Callable[[object], None] | None = None
    """Called at each spawn with the message type, where annotations tell it. What it raises refuses the spawn."""
    watch_remote: Callable[[ActorRef[Never], ActorRef[Never]], None] | None = None
    """Called with a watcher and a ref of another node; the outcome comes through `Kernel.terminated`."""
    unwatch_remote: Callable[[ActorRef[Never], ActorRef[Never]], None] | None = None
    """Called with the same two when the watch is over, also because the watcher has ended."""
    entity_ref: Callable[[EntityKey[Any], str], ActorRef[Any]] | None = None
    """Called for the ref of an entity. ValueError for a bad id."""
    entity_used: Callable[[EntityKey[Any], str, bool], ActorRef[Any]] | None = None
    """Called for a ref by code of the user, and whether of a singleton. ConfigError for a key used as both."""
    entity_target: Callable[[str, int], ActorRef[Any] | None] | None = None
    """Called with the path and the epoch of a message for an entity, from another node; returns its receiver."""
    reply_gate: ReplyGate | None = None
    """Gate of the replies of a node with entities."""
    entity_given_back: Callable[[str, object], bool] | None = None
    """Called with the path of an entity and a message to it, sent and certainly not on its way; whether it waits for
    another way."""
    entity_host: object = None
    """Taker of the actors that host entities; of a type known to the layers above alone."""
    has_ended: bool = False
    """Whether there was a cluster, and this node or client of it has ended."""
    open_keys: dict[str, OpenKey] = field(default_factory=dict[str, OpenKey])
    """Keys made with ``clients=True`` and used on this node, by the path that clients write to."""
    groups: object = None
    """Messenger to many nodes; of a type known to the layers above alone."""
    shard_reports: Callable[[str | None], ShardsTold] = no_shards
    """Called for the shards of one kind of entities, or of all."""
    is_stranger: Callable[[UniqueAddress], bool] = _is_nobody
    """Whether a node is no member."""

    def open_key(self, prefix: str, key: TypedKey[Any], *, is_singleton: bool = False) -> None:
        """Let clients use this key, at a path with this beginning, where the key says so."""
        if key.clients:
            path = prefix + key.name
            if len(self.open_keys) >= OPEN_MAX and path not in self.open_keys:
                del self.open_keys[next(iter(self.open_keys))]
            self.open_keys[path] = OpenKey(key, is_singleton)


def no_cluster(name: str, hooks: KernelHooks, what: str) -> Exception:
    """Return the error of a call that needs a cluster, where there is none or none any more."""
    if hooks.has_ended:  # to be met by whoever works on a node that somebody else ends
        return ActorStoppedError(f"this node or client of {name!r} has ended: use another one, or make a new one")
    return RuntimeError(
        f"{what} a cluster, and {name!r} is no node of one: use ClusteredActorSystem, inside of its block"
    )
