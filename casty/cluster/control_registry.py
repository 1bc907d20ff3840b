"""Table of the control messages known to a node: class, wire name, lane, permitted sender, and handler.

Owns the table. It does not know the meaning of a message: each room of the cluster adds its own before the transport
runs, and both the door of the node (`inbound`) and the way out (`ClusterNode.send_control`) look a message up here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias, TypeVar, cast

from casty.address import UniqueAddress
from casty.cluster.access import ANYONE, AccessRule, Sender
from casty.errors import ConfigError, UnsupportedTypeError
from casty.schema.names import check_wire_name
from casty.schema.types import Kind, walk
from casty.wire.codec.codec import Codec
from casty.wire.frame import LANE_KINDS, FrameKind, Lane

M = TypeVar("M")

ENTRIES_MAX: Final = 256
"""Control messages of one node: each may have a row of its own in five metrics."""

Deliver: TypeAlias = Callable[[UniqueAddress, M, int], None]
"""Takes the sender of a message, the message, and its size on the wire in bytes, and does not block."""


@dataclass(frozen=True, slots=True)
class ControlEntry:
    """One control message, as `ControlRegistry.add` was given it."""

    cls: type
    wire_name: str
    lane: Lane
    rule: AccessRule
    deliver: Deliver[Any]  # of any class: that of the entry


class ControlRegistry:
    """The control messages of one node, by class and by wire name.

    Parameters:
        codec: Codec of the node for control messages; it learns each added class.
    """

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self.by_class: dict[type, ControlEntry] = {}
        self.by_name: dict[str, ControlEntry] = {}

    def add(
        self, cls: type[M], wire_name: str, lane: Lane, deliver: Deliver[M], *, sender: Sender = Sender.member
    ) -> None:
        """Add a control message.

        Parameters:
            cls: Class of the message: a frozen dataclass whose fields can travel, without refs.
            wire_name: Name on the wire, such as ``"shop.census.count"``. It stays when the class is renamed. The prefix
                ``casty.`` belongs to the library.
            lane: ``Lane.control``, or ``Lane.ordinary`` for messages that must not overtake those between actors.
            deliver: Function of the sender, the message and its size on the wire in bytes. It is called by the task
                reading the link, so it must not block; its errors are logged, and the message is lost.
            sender: Permitted senders. A message of anybody else is refused and counted.

        Raises:
            ConfigError: The class or the name is taken, the class cannot travel or holds a ref, there are 256 already,
                or name, lane or sender make no sense.
            TypeError: ``cls`` is no class.
        """
        if not isinstance(cast("object", cls), type):
            raise TypeError(f"a control message is a class, got {cls!r}")
        self._check(cls, wire_name, lane, sender)
        try:
            check_wire_name(wire_name, cls.__module__)
            self._codec.register(cls, name=wire_name)
        except (UnsupportedTypeError, ValueError) as error:
            raise ConfigError(f"{cls.__qualname__} cannot be the control message {wire_name!r}: {error}") from None
        if any(form.kind is Kind.ref for _, form in walk(cls)):
            raise ConfigError(
                f"{cls.__qualname__} cannot be the control message {wire_name!r}: it holds an ActorRef, and control "
                "messages name no actors; send refs in messages to an actor"
            )
        entry = ControlEntry(cls, wire_name, lane, ANYONE if sender is Sender.anyone else AccessRule(sender), deliver)
        self.by_class[cls] = self.by_name[wire_name] = entry

    def _check(self, cls: type, wire_name: str, lane: Lane, sender: Sender) -> None:
        known = self.by_class.get(cls) or self.by_name.get(wire_name)
        if known is not None:
            raise ConfigError(
                f"{cls.__qualname__} cannot be the control message {wire_name!r}: that is taken, since "
                f"{known.cls.__qualname__} is {known.wire_name!r}; give each class one name of its own"
            )
        if len(self.by_class) >= ENTRIES_MAX:
            raise ConfigError(f"a node has at most {ENTRIES_MAX} control messages, {wire_name!r} would be one more")
        if FrameKind.CONTROL not in LANE_KINDS.get(lane, ()):
            raise ConfigError(f"{wire_name!r} must travel on Lane.control or Lane.ordinary, got {lane!r}")
        if sender is Sender.host:
            raise ConfigError(f"{wire_name!r} must be for anyone, inviter or member, got {sender}: it names no actor")

    def remove(self, cls: type) -> None:
        """Know a control message no more: from now on it is ignored, as one of a newer node."""
        entry = self.by_class.pop(cls, None)
        if entry is not None:
            del self.by_name[entry.wire_name]

    def mute(self, cls: type) -> None:
        """Deliver a control message to nobody from now on: one that comes is counted, and dropped."""
        entry = self.by_class.get(cls)
        if entry is not None:
            self.by_class[cls] = self.by_name[entry.wire_name] = replace(entry, deliver=_nobody)

    def entry_of(self, message: object) -> ControlEntry:
        """Return the entry of a message to be sent. TypeError for a class without one."""
        entry = self.by_class.get(type(message))
        if entry is None:
            raise TypeError(f"{type(message).__qualname__} is no control message of this node: add it to its registry")
        return entry

    def __iter__(self) -> Iterator[ControlEntry]:
        return iter(self.by_class.values())

    def __len__(self) -> int:
        return len(self.by_class)

    def __repr__(self) -> str:
        return f"<ControlRegistry messages={len(self)}>"


def _nobody(_: UniqueAddress, message: object, size: int) -> None:
    """Drop a control message."""
