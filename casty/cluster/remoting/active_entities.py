"""Entities able to take messages at once, by their ids: the quick way to them, from this node and from others.

Owns what is looked at for each message, the two ways that look at it, and the ref by which the back-pressure of links
knows an entity. It does not know when an entity can take messages: its host puts it in, and takes it out.
"""

from __future__ import annotations

from abc import abstractmethod
from contextlib import suppress
from threading import get_ident
from typing import Any, Never, Protocol, TypeVar

import trio

from casty.address import ActorAddress, entity_path
from casty.protocol.sharding.entities.entity_cell import EntityCell
from casty.refs import EntityKey
from casty.runtime.actor.actor_ports import ActorKernel
from casty.runtime.messaging.entity_ref import RoutedEntityRef
from casty.runtime.messaging.mailbox import MessageQueue, Request
from casty.runtime.messaging.ref import AskableRef, LocalRef, OwnRef, refuse_thread
from casty.runtime.ports import KernelPort, Recipient

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


class OwnThread(Protocol):
    """The own node."""

    @property
    def thread(self) -> int:
        """Identity of the thread that the node runs in."""
        ...


class LocalEntities(Protocol):
    """Entities of one kind on this node."""

    key: EntityKey[Any]
    uid: int
    active: ActiveEntities
    admitted: frozenset[type]

    @property
    def node(self) -> OwnThread:
        """This node."""
        ...

    @property
    def kernel(self) -> KernelPort:
        """Kernel of the system."""
        ...

    def ref(self, entity_id: str) -> RoutedEntityRef[Any]:
        """Return the ref of an entity."""
        ...

    def arrived(self, entity_id: str, epoch: int, message: object) -> None:
        """Take a message of another node for an entity here."""
        ...

    def take(self, entity_id: str, shard: int, epoch: int, message: object) -> None:
        """Take a message for an entity here, sent under this epoch of its shard."""
        ...


class EntityTarget(EntityReceiver[M]):
    """Receiver of messages from other nodes for one entity, sent under one epoch of its shard."""

    __slots__ = ("_entity_id", "_epoch", "_path", "_router")

    def __init__(self, router: LocalEntities, path: str, entity_id: str, epoch: int) -> None:
        self._router = router
        self._path = path
        self._entity_id = entity_id
        self._epoch = epoch

    @property
    def kernel(self) -> KernelPort:
        return self._router.kernel

    @property
    def path(self) -> str:
        return self._path

    @property
    def uid(self) -> int:
        return self._router.uid

    def message_type(self) -> object | None:
        return self._router.key.message_type

    @property
    def active(self) -> ActiveEntities:
        return self._router.active

    def entity(self) -> ActiveEntity | None:
        entity = self._router.active.get(self._entity_id.encode())
        if entity is None or entity.epoch != self._epoch or entity.record.waiting:
            return None
        entity.record.last_used = self.kernel.now()
        return entity

    def takes(self, cls: type) -> bool:
        return cls in self._router.admitted

    def admit(self, cls: type) -> None:
        self._router.admitted |= {cls}

    def tell(self, message: M) -> None:
        self._router.arrived(self._entity_id, self._epoch, message)

    async def send(self, message: M) -> None:
        self.tell(message)
        await trio.lowlevel.checkpoint()

    def deliver_request(self, request: Request) -> bool:
        self._router.arrived(self._entity_id, self._epoch, request)
        return True


class EntityHere(AskableRef[object]):
    """Way of a ref to an entity on this node, under one epoch of its shard."""

    __slots__ = ("_epoch", "_id", "_router", "_said", "_shard")

    def __init__(self, router: LocalEntities, entity_id: str, shard: int, epoch: int) -> None:
        self._router = router
        self._id = entity_id
        self._said = entity_id.encode()
        self._shard = shard
        self._epoch = epoch

    @property
    def address(self) -> ActorAddress:
        return self._router.ref(self._id).address

    @trio.lowlevel.enable_ki_protection
    def tell(self, message: object) -> None:
        router = self._router
        if get_ident() != router.node.thread:
            refuse_thread(self)
        entity = router.active.get(self._said)
        if entity is not None and entity.epoch == self._epoch and not entity.record.waiting:
            mailbox = entity.mailbox
            if len(mailbox.messages) < mailbox.limit:
                entity.record.last_used = router.kernel.now()
                mailbox.messages.append(message)
                if mailbox.sleeper is not None:
                    mailbox.wake()
                return
        router.take(self._id, self._shard, self._epoch, message)

    @trio.lowlevel.enable_ki_protection
    def request(self, request: Request) -> None:
        router = self._router
        if get_ident() != router.node.thread:
            refuse_thread(self)
        entity = router.active.get(self._said)
        if entity is not None and entity.epoch == self._epoch and not entity.record.waiting:
            mailbox = entity.mailbox
            if len(mailbox.messages) < mailbox.limit:
                entity.record.last_used = router.kernel.now()
                request.cell, request.waits = entity.actor, True
                mailbox.messages.append(request)
                if mailbox.sleeper is not None:
                    mailbox.wake()
                return
        router.take(self._id, self._shard, self._epoch, request)

    async def send(self, message: object) -> None:
        router = self._router
        if get_ident() != router.node.thread:
            refuse_thread(self)
        while (entity := router.active.get(self._said)) is not None and entity.mailbox.is_full:
            if entity.epoch != self._epoch or not entity.mailbox.lets_wait:
                break
            with suppress(trio.BrokenResourceError):
                await entity.actor.ref.put_wait(message)
                return
        self.tell(message)
        await trio.lowlevel.checkpoint()
