"""Entities able to take messages at once, by their ids: the quick way to them, from this node and from others.

Owns what is looked at for each message, and the ref by which the back-pressure of links knows an entity. It does not
know when an entity can take messages: its host puts it in, and takes it out.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Never, Protocol, TypeVar

from casty.address import ActorAddress, entity_path
from casty.protocol.sharding.entities.entity_cell import EntityCell
from casty.runtime.actor.actor_ports import ActorKernel
from casty.runtime.messaging.mailbox import MessageQueue
from casty.runtime.messaging.ref import LocalRef, OwnRef
from casty.runtime.ports import Recipient

M = TypeVar("M")
M_contra = TypeVar("M_contra", contravariant=True)


class EntityActor(Recipient, Protocol):
    """Actor of an entity, or an entity without one that looks like an actor."""

    @property
    def kernel(self) -> ActorKernel:
        """Common part of the actors of its system."""
        ...

    @property
    def ref(self) -> LocalRef[object]:
        """Its own ref."""
        ...

    @property
    def mailbox(self) -> MessageQueue:
        """Messages waiting for it."""
        ...


class ActiveEntity:
    """An entity that runs, and is to go on."""

    __slots__ = ("actor", "epoch", "key", "mailbox", "record")

    def __init__(self, key: str, record: EntityCell, actor: EntityActor) -> None:
        self.key = key
        self.record = record
        """Entry of the entity in the table of its host."""
        self.actor = actor
        self.epoch = record.epoch
        """Epoch of its shard; messages under another one are not for it."""
        self.mailbox = actor.mailbox

    @property
    def path(self) -> str:
        """Path of the entity on the wire."""
        return entity_path(self.key, self.record.entity_id)

    def local(self) -> LocalRef[Never] | None:
        """Return the ref of its mailbox, for the back-pressure of links; None where messages go by way of the host."""
        mailbox = self.mailbox
        if self.record.waiting or mailbox.closed or not mailbox.is_fair:
            return None
        return EntityMailboxRef(self)


class EntityMailboxRef(LocalRef[M_contra]):
    """Ref to the mailbox of an entity, under the path known to other nodes."""

    __slots__ = ("_entity",)

    def __init__(self, entity: ActiveEntity) -> None:
        super().__init__(entity.actor, entity.mailbox, entity.actor.kernel.thread)
        self._entity = entity

    @property
    def path(self) -> str:
        return self._entity.path

    @property
    def address(self) -> ActorAddress:
        return ActorAddress(self.kernel.name, f"/{self._entity.key}/{self._entity.record.entity_id}")


ActiveEntities = dict[bytes, ActiveEntity]
"""Those of one kind at one node, by their ids in UTF-8."""


class EntityReceiver(OwnRef[M]):
    """Receiver of messages from other nodes for one entity."""

    __slots__ = ()

    @property
    @abstractmethod
    def active(self) -> ActiveEntities:
        """Entities of the kind, here."""

    @abstractmethod
    def entity(self) -> ActiveEntity | None:
        """Return the entity, if it can take the message at once."""

    @abstractmethod
    def takes(self, cls: type) -> bool:
        """Whether all messages of a class are known to be of the kind's type."""

    @abstractmethod
    def admit(self, cls: type) -> None:
        """Take note of a class with messages of the kind's type alone."""
