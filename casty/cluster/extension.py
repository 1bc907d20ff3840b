"""Feature added to a node of a cluster: `ClusterExtension`, and its view of the node, `ExtensionNode`.

Owns the contract between a node and a feature of it. It does not know any feature: the receptionist and death watch are
extensions as those of users are.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import is_dataclass
from functools import partial
from typing import Any, ClassVar, Final, Literal, TypeAlias, TypeVar, cast, get_origin

import trio

from casty.address import UniqueAddress
from casty.cluster.access import MEMBER, Sender
from casty.cluster.commands import SubscribeTopology
from casty.cluster.control_registry import Deliver
from casty.cluster.extension_limits import (
    CONTROL_LANE_BYTES_MAX,
    CONTROL_LANE_BYTES_PER_SECOND,
    STRANGERS_PART,
    ControlLaneBudget,
    WaitingMessages,
)
from casty.cluster.extension_tables import ClusterTable, Exits, check_count, check_tables, check_unused_tables, told_of
from casty.cluster.node import ClusterNode
from casty.config import Mailbox
from casty.config.validation import EXTRA_BYTES_MAX, EXTRA_MAX, check_callable, is_extra
from casty.errors import CastyError, ConfigError, EncodeError
from casty.protocol.state.cluster_state import TopologySnapshot
from casty.protocol.state.member import Member, MemberStatus
from casty.refs import ActorRef
from casty.runtime.behavior.behavior import Behavior
from casty.runtime.messaging.ref import OwnRef
from casty.runtime.system.context import ActorContext
from casty.runtime.system.metrics import Metrics
from casty.runtime.system.system import ActorSystem
from casty.transport.limits.token_bucket import FRAME_COST_BYTES
from casty.wire.frame import Lane

M = TypeVar("M")

NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")
RESERVED_TABLES: Final = frozenset({"node", "cluster", "actors"})
"""Tables of a ``casty.toml`` reserved for the library."""
RESERVED_ACTORS: Final = frozenset({"_topology", "_gossip", "_heartbeat", "_availability", "_peers"})
"""Actors under ``_cluster`` on every node."""

PLAIN_HOOKS: Final = ("attach", "start", "ended", "collect")
"""Methods of an extension called without await."""

LaneName = Literal["control", "ordinary"]
SenderName = Literal["member", "anyone"]


ExtensionExits: TypeAlias = "Callable[[ExtensionNode, str, BaseException], None]"
"""Function of an extension's view, a place in its code, and the exception raised there that ends the extension."""


class ExtensionNode:
    """An extension's view of its node.

    Made by casty, one for each extension of a node; `ClusterExtension.attach` gets it first.
    """

    def __init__(
        self, extension: ClusterExtension, inside: ClusterNode, budget: ControlLaneBudget, exits: ExtensionExits
    ) -> None:
        self.extension: ClusterExtension = extension
        """Extension of this view."""
        self.inside: ClusterNode = inside
        """The node itself, for casty's own extensions. It may change in any release."""
        self._ctx: ActorContext[Any] | None = None
        self._control: list[type] = []
        self._actors: list[ActorRef[Any]] = []
        self._budget = budget
        self._waiting = WaitingMessages()
        self._is_attaching = False
        self._is_ended = False
        self._exit: Exits = partial(exits, self)

    @property
    def system(self) -> ActorSystem:
        """The actor system of the node."""
        return self.inside.system

    @property
    def self_node(self) -> UniqueAddress:
        """The run of the node: where others reach it."""
        return self.inside.self_node

    @property
    def members(self) -> frozenset[Member]:
        """Members in the latest snapshot of the node, its own included; none before it was let in."""
        return self.inside.board.members

    @property
    def peers(self) -> tuple[Member, ...]:
        """Other members, in order of address, not down and with this extension, as their ``Member.extra`` says.

        None has it in that sense where the extension has no ``capability``.
        """
        name = self.extension.name
        found = (one for one in self.members if any(name == each for each, _ in one.extra))
        others = (one for one in found if one.unique != self.self_node and one.status is not MemberStatus.down)
        return tuple(sorted(others, key=lambda one: one.unique))

    def add_control(
        self,
        message_type: type[M],
        wire_name: str,
        deliver: Deliver[M],
        *,
        lane: LaneName = "ordinary",
        sender: SenderName = "member",
    ) -> None:
        """Add a control message, from node to node. For `ClusterExtension.attach`.

        A node without it ignores and counts it. Each may be lost, and comes at most once. At most 16,384 of them, and
        16 MiB, wait in the mailboxes of the extension's actors, a quarter of that from senders outside of the cluster;
        more are dropped and counted.

        Parameters:
            message_type: Class of the message: a frozen dataclass whose fields can travel, without refs.
            wire_name: Name on the wire, such as ``"shop.census.count"``. It stays when the class is renamed. The prefix
                ``casty.`` belongs to the library.
            deliver: Function of the sender, the message and its size on the wire in bytes. It is called by the task
                reading the link, so it must not block: have it tell an actor. Its errors are logged, and the message is
                lost; SystemExit is a failure of the extension, and follows ``when_it_fails``.
            lane: ``"ordinary"``, with the messages between actors, in frames of at most 1 MiB; or ``"control"``, with
                heartbeats and gossip, delayed by no traffic of actors: in frames of at most 16 KiB, and for all
                extensions of this node together 64 KiB a second to each other node, 256 KiB at once.
            sender: Permitted senders; a message of anybody else is refused and counted. ``"anyone"`` takes in all peers
                in reach of the port: judge each message.

        Raises:
            ConfigError: The class or the name is taken, the class cannot travel or holds a ref, or name, lane or
                sender make no sense. The message names the extension.
            TypeError: ``message_type`` is no class, or ``deliver`` no plain function.
            RuntimeError: The node does not attach its extensions just now.
        """
        if not self._is_attaching:
            raise RuntimeError(
                f"the extension {self.extension.name!r} adds its control messages in `attach`, and at no other time"
            )
        check_callable("add_control", deliver, "a function of sender, message and size")
        try:
            by_sender, by_lane = {"member": Sender.member, "anyone": Sender.anyone}, {"control", "ordinary"}
            if lane not in by_lane or sender not in by_sender:
                raise ConfigError(
                    f"{wire_name!r} needs the lane 'control' or 'ordinary' and the sender 'member' or 'anyone', "
                    f"got {lane!r} and {sender!r}"
                )
            take = partial(self._take, deliver, wire_name)
            self.inside.control.add(message_type, wire_name, Lane[lane], take, sender=by_sender[sender])
        except ConfigError as error:
            raise self._refusal(error) from None
        self._control.append(message_type)

    def spawn(
        self, behavior: Behavior[M], name: str, *, mailbox: Mailbox | None = None, accepts: Iterable[type] = ()
    ) -> ActorRef[M]:
        """Start an actor at ``/_cluster/NAME``. For `ClusterExtension.start`.

        Actors stop in the opposite order. An earlier end of one is the end of the extension: see
        ``ClusterExtension.when_it_fails``.

        Parameters:
            behavior: Behaviour of the actor.
            name: Name of the actor, still free under ``/_cluster``.
            mailbox: Bound of its mailbox; None takes that of casty's own actors.
            accepts: Classes of messages open to other members, by its path; an instance of a subclass is refused.
                Empty: it is closed to them.

        Returns:
            The actor's ref.

        Raises:
            ConfigError: The name is taken or is none, or what is in ``accepts`` is no class or cannot travel. The
                message names the extension.
            RuntimeError: The node does not start its extensions just now.
        """
        if self._ctx is None:
            raise RuntimeError(
                f"the extension {self.extension.name!r} spawns its actors in `start`, and at no other time"
            )
        path = f"{self._ctx.self.path}/{name}"
        try:
            if name in RESERVED_ACTORS:
                raise ConfigError(f"the actor name {name!r} is taken by casty itself: choose another one")
            rules = {_checked_class(cls): MEMBER for cls in _items(accepts)}
            for cls in rules:
                self.inside.codec.register(cls)
            ref = self._ctx.spawn(behavior, name, mailbox=mailbox)
        except (CastyError, ValueError) as error:
            raise self._refusal(error) from None
        if rules:  # only now: the path of a refused one is that of another actor
            self.inside.open_paths[path] = rules
        self._actors.append(ref)
        return ref

    def send(self, to: UniqueAddress, message: object) -> bool:
        """Send a control message of this extension to another node. It may be lost on the way.

        Parameters:
            to: Run of a node, such as ``member.unique``.
            message: Instance of a class added by `add_control`.

        Returns:
            False where it was not taken: the queue to that node is full, the allowance of extensions for it on the
            lane ``"control"`` is used up, the node is alone by its configuration, or the extension has ended.

        Raises:
            TypeError: The class of the message is no control message of this extension, or ``to`` is no
                `UniqueAddress`.
            ValueError: ``to`` is this node.
            EncodeError: A value of the message is not of its declared type, or the message is too large for its lane.
        """
        if not isinstance(cast("object", to), UniqueAddress):
            hint = ": write member.unique" if isinstance(to, Member) else ""
            raise TypeError(f"a control message goes to the run of a node, a UniqueAddress, got {to!r}{hint}")
        if to == self.self_node:
            raise ValueError(f"{to} is this node: a control message goes to another one; tell the own actor itself")
        if self._is_ended:
            return False
        if type(message) not in self._control:
            name = type(message).__qualname__
            raise TypeError(f"{name} is no control message of the extension {self.extension.name!r}: add_control it")
        entry, frame = self.inside.control.entry_of(message), self.inside.frame_control(message)
        if entry.lane is Lane.control and not self._is_affordable(to, entry.wire_name, len(frame)):
            return False
        return self.inside.send_entry(to, entry, frame)

    def _is_affordable(self, to: UniqueAddress, wire_name: str, size: int) -> bool:
        """Return whether heartbeats stay on time behind a frame on the control lane, which is counted then."""
        if size > CONTROL_LANE_BYTES_MAX:
            raise EncodeError(
                f"{wire_name}: {size} bytes are over the limit of {CONTROL_LANE_BYTES_MAX} for an extension on the "
                "lane 'control', which delays heartbeats: add it with lane='ordinary', or send it in parts"
            )
        if self._budget.take(to, size, now=trio.current_time()):
            return True
        text = (
            f"{wire_name} is not sent to it: extensions have sent {CONTROL_LANE_BYTES_PER_SECOND} bytes a second there"
        )
        self.inside.complaints.warning(to.address, f"{text} on the lane 'control', which is all that they may")
        return False

    def _take(self, deliver: Deliver[M], wire_name: str, peer: UniqueAddress, message: M, size: int) -> None:
        """Deliver a control message, unless too much waits for the extension's actors."""
        inside = self.inside
        part = 1 if inside.is_member(peer) else STRANGERS_PART
        if self._waiting.take(size + FRAME_COST_BYTES, waiting=sum(map(_mailbox_size, self._actors)), part=part):
            try:
                deliver(peer, message, size)
            except (Exception, KeyboardInterrupt):  # one is the boundary's of the message, the other the program's
                raise
            except BaseException as error:  # sys.exit() in the user's code: the end of the extension, by its policy
                self._exit(f"`deliver` of {wire_name}", error)
            return
        inside.cluster_metrics.dropped[wire_name] += 1
        text = f"{wire_name} is dropped: the extension {self.extension.name} has too much waiting already"
        inside.complaints.warning(peer.address, text)

    def subscribe(self, ref: ActorRef[TopologySnapshot]) -> None:
        """Subscribe an actor to the topology: told now, and at each change.

        Parameters:
            ref: Actor of this node, such as one returned by `spawn`.

        Raises:
            RuntimeError: The node has not started yet, as in ``ClusterExtension.attach``.
            TypeError: ``ref`` is no `ActorRef`.
        """
        if not isinstance(cast("object", ref), ActorRef):
            raise TypeError(f"an actor subscribes to the topology, by its ref, got {ref!r}")
        if not self.inside.is_started:
            raise RuntimeError(
                f"the extension {self.extension.name!r} cannot subscribe before its node has started: do it in `start`"
            )
        self.inside.subsystems.topology.tell(SubscribeTopology(ref))

    def attach_tables(self) -> None:
        """Attach the tables of the extension to the node. ConfigError for a type that cannot travel."""
        for table in self.extension.tables:
            try:
                table.attach(self.inside, self.extension.name, self._exit)
            except (CastyError, TypeError, ValueError) as error:
                raise self._refusal(ConfigError(f"the table {table.name!r}: {error}")) from None

    def _refusal(self, error: Exception) -> ConfigError:
        return ConfigError(f"the extension {self.extension.name!r}: {error}")

    def __repr__(self) -> str:
        return f"<ExtensionNode {self.extension.name} of {self.self_node}>"


class ClusterExtension:
    """A feature of a node, for ``extensions`` of `ClusteredActorSystem`.

    Subclass it, give it a ``name``, and override the methods it needs: each does nothing by itself. The order on a
    node: `attach` before anything runs; `start`, then the node asks to be let in; `leave` while it is a member still;
    then its actors stop, and `ended`. Of several the first one starts first, and leaves and stops last.

    An instance belongs to one run of a node: make another for each.
    """

    name: ClassVar[str] = ""
    """Name, unique on a node: 1 to 64 lower-case letters, digits and underscores, a letter first. Its table in a
    ``casty.toml`` has this name, and its figures begin with it."""
    capability: bytes | None = None
    """Capability told to other nodes, such as a version: in ``Member.extra`` under its name. None tells nothing. A few
    bytes: the names and capabilities of a node have 1,024 together.
    """
    node: ExtensionNode | None = None
    """Its node; None before `attach`."""
    settings_type: ClassVar[type[Any] | None] = None
    """Dataclass made from its table in a ``casty.toml``, the one argument of its constructor then; all of its fields
    have defaults. None: no table.
    """
    tables: Sequence[ClusterTable[Any]] = ()
    """Tables of this instance, each made by it: rows of every node, replicated to all nodes with this extension. Not
    changed after construction. All extensions of a node have at most 8 together; their names, with those of the
    extensions, count to the 1,024 bytes of the capabilities.
    """
    when_it_fails: ClassVar[Literal["end_node", "go_without"]] = "end_node"
    """Consequence of an early end of one of its actors, or of SystemExit in a function of it that the node calls for a
    message or a row. ``end_node``: the block of the system raises it, since a node
    without it would be a member that does not behave like one. ``go_without``: the node logs an error, stops its other
    actors, and goes on like a node without it, but for the capability, still told.
    """

    def attach(self, node: ExtensionNode) -> None:
        """Take the node, and add control messages to it. Called once, before anything runs.

        Parameters:
            node: Node of the extension from now on.
        """

    def start(self, node: ExtensionNode) -> None:
        """Spawn the actors. Called once, when the node starts; it asks to be let in afterwards.

        Parameters:
            node: Node of the extension.
        """

    async def leave(self) -> None:
        """Finish before the node leaves: hand over, say goodbye.

        The actors of users have stopped, those of the extension run, and the node is a member still. All extensions
        together have ``leave_timeout``, and are cancelled after it, or by a second Ctrl-C. Later control messages are
        dropped. Not called where the node was downed, failed or never joined.
        """

    def ended(self) -> None:
        """Release resources for good.

        Called once, when its actors have ended, or the node has failed, also before it started; not where its own
        `attach` has raised.
        """

    def collect(self, metrics: Metrics) -> None:
        """Hand over counters and gauges; the name of each gets that of the extension in front.

        Where it raises, or hands over a bad figure or another one of a known name, its figures are left out, and the
        log says so once.

        Parameters:
            metrics: Receiver of each figure.
        """


def _mailbox_size(ref: ActorRef[Any]) -> int:
    actor = ref.owner() if isinstance(ref, OwnRef) else None
    return 0 if actor is None else len(actor.mailbox)


def _items(accepts: object) -> Iterable[object]:
    if isinstance(accepts, str) or not isinstance(accepts, Iterable):
        raise ConfigError(f"accepts must be a list of classes of messages, got {accepts!r}")
    return cast("Iterable[object]", accepts)


def _checked_class(cls: object) -> type:
    if not isinstance(cls, type) or get_origin(cls) is not None:
        raise ConfigError(f"accepts must hold classes of messages, each by itself, got {cls!r}")
    return cls


def check_unused(extensions: Iterable[ClusterExtension]) -> None:
    """Raise ConfigError for an extension in use by another node."""
    for extension in extensions:
        if extension.node is not None:
            raise ConfigError(
                f"the extension {extension.name!r} belongs to {extension.node.self_node.address} already: make one for "
                "each node, and for each run of one"
            )
        check_unused_tables(type(extension).__qualname__, extension.tables)


def check_extensions(extensions: Iterable[object], *, own: Iterable[type[ClusterExtension]]) -> None:
    """Raise ConfigError unless a node can have these extensions beside its ``own``."""
    names = {extension.name for extension in own}
    extra = list[tuple[str, bytes]]()
    checked = list[ClusterExtension]()
    for extension in extensions:
        if not isinstance(extension, ClusterExtension):
            hint = " (a class: write brackets behind it)" if isinstance(extension, type) else ""
            raise ConfigError(f"extensions must be instances of ClusterExtension, got {extension!r}{hint}")
        check_extension_type(type(extension))
        _check_own(extension)
        if extension.name in names:
            raise ConfigError(f"two extensions are called {extension.name!r}: give one of them another name")
        names.add(extension.name)
        check_tables(type(extension).__qualname__, extension.tables)
        checked.append(extension)
        capability = cast("object", extension.capability)
        if isinstance(capability, bytes):
            extra.append((extension.name, capability))
        elif capability is not None:
            raise ConfigError(f"{type(extension).__qualname__}.capability must be bytes or None, got {capability!r}")
    check_count([table for extension in checked for table in extension.tables])
    extra += told_of(checked)
    if not is_extra(extra):
        size = sum(len(name) + len(value) for name, value in extra)
        raise ConfigError(
            f"a node tells what at most {EXTRA_MAX} extensions can, in {EXTRA_BYTES_MAX} bytes with their names, "
            f"got {len(extra)} in {size}: set `capability` to None where others need not know"
        )


def check_extension_type(cls: type[ClusterExtension]) -> None:
    """Raise ConfigError for mistakes on the class of an extension."""
    kind = cls.__qualname__
    _check_name(kind, cls.name)
    for hook in PLAIN_HOOKS:
        if inspect.iscoroutinefunction(getattr(cls, hook)):
            raise ConfigError(f"{kind}.{hook} must be a plain function: nobody would await it; `leave` alone is async")
    if not inspect.iscoroutinefunction(inspect.unwrap(cls.leave)):
        raise ConfigError(f"{kind}.leave must be an async function: write `async def leave(self)`")
    _check_settings_type(f"{kind}.settings_type", cls.settings_type)
    if cls.when_it_fails not in ("end_node", "go_without"):
        raise ConfigError(f"{kind}.when_it_fails must be 'end_node' or 'go_without', got {cls.when_it_fails!r}")


def _check_own(extension: ClusterExtension) -> None:
    """Raise ConfigError for mistakes on an instance, beside those of its class."""
    kind, node = type(extension).__qualname__, cast("object", extension.node)
    if node is not None and not isinstance(node, ExtensionNode):
        raise ConfigError(f"{kind}.node is where its node is put, and must be None, got {node!r}: choose another name")
    _check_name(kind, extension.name)


def _check_name(kind: str, name: object) -> None:
    if not isinstance(name, str) or not NAME.fullmatch(name):
        text = "must be 1 to 64 lower-case letters, digits and underscores, a letter first"
        raise ConfigError(f"{kind}.name {text}, got {name!r}")
    if name in RESERVED_TABLES:
        raise ConfigError(f"{kind}.name cannot be {name!r}: that is one of casty's own tables in a casty.toml")


def _check_settings_type(where: str, settings_type: object) -> None:
    if settings_type is None:
        return
    if not isinstance(settings_type, type) or not is_dataclass(settings_type):
        raise ConfigError(f"{where} must be a dataclass or None, got {settings_type!r}")
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = inspect.signature(settings_type).parameters.values()
    bare = [each.name for each in parameters if each.default is inspect.Parameter.empty and each.kind not in variadic]
    if bare:
        raise ConfigError(
            f"{where}: {settings_type.__qualname__} must be made without arguments, as where a file has no such table: "
            f"give a default to {', '.join(bare)}"
        )
