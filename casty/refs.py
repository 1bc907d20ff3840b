"""Typed references: all that a program holds of an actor."""

from __future__ import annotations

import types
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, Never, TypeVar, cast

from casty.address import ActorAddress
from casty.config.validation import NAME_LENGTH_MAX
from casty.schema.names import wire_name
from casty.schema.types import describe, reachable

M = TypeVar("M")
M_contra = TypeVar("M_contra", contravariant=True)


class ActorRef(Generic[M_contra]):
    """Reference to an actor for messages of type ``M``; local or on another node.

    Refs are equal when they name the same actor. A ref of a wider type stands in for one of a
    narrower type: an ``ActorRef[Add | Get]`` is an ``ActorRef[Add]``.
    """

    __slots__ = ()
    __casty_ref__: ClassVar[bool] = True
    """Mark by which `casty.schema.types` recognises a field that holds a reference."""

    @property
    @abstractmethod
    def address(self) -> ActorAddress:
        """The full name of the actor."""

    @property
    def path(self) -> str:
        """The actor's place in the tree of its system, such as ``/shop/cart-1``."""
        return self.address.path

    @abstractmethod
    def tell(self, message: M_contra) -> None:
        """Hand over a message and return at once; at most once, in order per sender and receiver.

        Never blocks. What cannot be taken (a full mailbox, a stopped actor, a full outbound queue) is published as a
        dead letter.

        Parameters:
            message: A message of the actor's type. What it holds is shared with an actor of the same system: do not
                change it afterwards.

        Raises:
            MailboxFull: The mailbox is full and its policy is ``reject`` or ``back_pressure``; the message was not
                taken.
            EncodeError: The actor is on another node, and the message cannot be written as bytes; nothing was sent.
            UnsupportedTypeError: The actor is on another node, and the message's type cannot travel; nothing was
                sent.
            RuntimeError: Called in another thread than the system's own: use ``system.tell_threadsafe``.
        """

    @abstractmethod
    async def send(self, message: M_contra) -> None:
        """Hand over a message, waiting for room where there is none, on another node too; a checkpoint.

        Wait at most so long with ``trio.move_on_after``; cancelled while it waits, nothing was sent.

        Parameters:
            message: A message of the actor's type.

        Raises:
            MailboxFull: The policy of the full mailbox is ``reject``, or an actor would wait in its handler for room
                in its own mailbox; the message was not taken.
            EncodeError: The actor is on another node, and the message cannot be written as bytes; nothing was sent.
            UnsupportedTypeError: The actor is on another node, and the message's type cannot travel; nothing was
                sent.
            RuntimeError: Called in another thread than the system's own.
        """

    def of(self: ActorRef[Never], message_type: type[M]) -> ActorRef[M]:
        """Narrow a ref that came from a path, whose type is unknown.

        Parameters:
            message_type: Class or union of the messages that the actor takes. Nothing is checked here.

        Returns:
            This ref, typed for ``M``.
        """
        return cast("ActorRef[M]", self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ActorRef) and self.address == other.address

    def __hash__(self) -> int:
        return hash(self.address)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.address}>"


class EntityRef(ActorRef[M_contra]):
    """A ref to one entity: it stays good when the entity ends, starts again, or moves to another node.

    Made by ``system.entity`` and ``ctx.entity``; ``ctx.self`` of an entity is one. In a message it travels as kind and
    id. Refs are equal when both are.
    """

    __slots__ = ()

    @property
    @abstractmethod
    def id(self) -> str:
        """Id of the entity among those of its kind."""

    @property
    @abstractmethod
    def key(self) -> EntityKey[Any]:
        """Kind of the entity."""

    def __repr__(self) -> str:
        return f"<EntityRef {self.key.name} {self.id!r}>"


def check_ref(value: object, taker: str) -> None:
    """Raise TypeError unless ``value`` is a ref."""
    if not isinstance(value, ActorRef):
        raise TypeError(f"{taker} needs the ref of an actor, got {value!r}")


OWN_SERVICES: Final = "casty."
"""Beginning of the names of the library's own services."""


class _BoundKey(types.GenericAlias):
    """``ServiceKey[M]``, or another key: for annotations an alias like any other, and a constructor that knows M."""

    def __call__(self, name: str, *, clients: bool = False) -> TypedKey[Any]:
        cls = cast("type[TypedKey[Any]]", self.__origin__)
        if type(name) is not str or not 0 < len(name) <= NAME_LENGTH_MAX:
            raise ValueError(f"{cls.__name__} needs a name of 1 to {NAME_LENGTH_MAX} characters, got {name!r}")
        if any("\ud800" <= character <= "\udfff" for character in name):
            raise ValueError(f"{cls.__name__} needs a name that UTF-8 can say, got {ascii(name)}")
        if issubclass(cls, ServiceKey) and name.startswith(OWN_SERVICES):
            raise ValueError(f"names of services that begin with {OWN_SERVICES!r} are casty's own, got {name!r}")
        if type(cast("object", clients)) is not bool:
            raise TypeError(f"{cls.__name__}.clients must be True or False, got {clients!r}")
        (message_type,) = self.__args__
        for part in reachable(message_type, known=None):
            wire_name(part)  # a class without a name on other nodes is refused here, where the user sees it
        return made_key(cls, name, message_type, clients=clients)


class TypedKey(Generic[M]):
    """Name with a message type: the common part of `ServiceKey`, `EntityKey` and `Topic`."""

    __slots__ = ("clients", "message_type", "name")

    name: str
    """Name, 1 to 255 characters."""
    message_type: object
    """Type of the messages, as written in the brackets."""
    clients: bool
    """Whether a `ClusterClient` reaches what has the key, by way of a node that uses it."""

    if not TYPE_CHECKING:
        # At run time the type in brackets has to reach the instance, which a generic alias would
        # not pass on; so the brackets return a constructor that holds it.
        def __class_getitem__(cls, message_type):
            return _BoundKey(cls, message_type)

    def __init__(self, name: str, *, clients: bool = False) -> None:
        kind = type(self).__name__
        raise TypeError(f"write the message type: {kind}[Message]({name!r})")

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a {type(self).__name__} does not change: make another one instead of setting {name!r}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a {type(self).__name__} does not change: {name!r} stays")

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self.name == cast("TypedKey[Any]", other).name

    def __hash__(self) -> int:
        return hash((type(self), self.name))

    def __repr__(self) -> str:
        return f"{type(self).__name__}[{describe(self.message_type)}]({self.name!r})"


K = TypeVar("K", bound=TypedKey[Any])


def made_key(cls: type[K], name: str, message_type: object, *, clients: bool = False) -> K:
    """Return a key of that class without a look at its name and type."""
    key = object.__new__(cls)
    object.__setattr__(key, "name", name)
    object.__setattr__(key, "message_type", message_type)
    object.__setattr__(key, "clients", clients)
    return key


class ServiceKey(TypedKey[M]):
    """Name of the services for messages of type ``M``.

    Write the message type at the key: it is what tells other nodes how to read the messages. Keys
    are equal when their names are; a service is found only by keys whose messages it takes all.

    >>> key = ServiceKey[int | str]("echo")
    >>> key
    ServiceKey[int | str]('echo')
    >>> key == ServiceKey[bytes]("echo")
    True

    Parameters:
        name: Name of the service, 1 to 255 characters.
        clients: Whether a `ClusterClient` may find the services, and send to them: nobody outside of the cluster can
            else.

    Raises:
        ValueError: ``name`` is empty, too long, or no text for UTF-8, or begins with ``casty.``.
        TypeError: The brackets are missing: write ``ServiceKey[Message]("name")``. Or ``clients`` is no bool.
        UnsupportedTypeError: The message type cannot travel, or a class in it is defined in ``__main__`` and has no
            name by ``@casty.message``.
    """

    __slots__ = ()


class EntityKey(TypedKey[M]):
    """Kind of entities for messages of type ``M``, each living on one node at a time.

    Write the message type at the key: it is what tells other nodes how to read the messages. Keys are equal when their
    names are.

    >>> EntityKey[int]("counters")
    EntityKey[int]('counters')

    Parameters:
        name: Name of the kind, the same on all nodes, 1 to 255 characters.
        clients: Whether a `ClusterClient` may send to the entities, too: nobody outside of the cluster can else.

    Raises:
        ValueError: ``name`` is empty, too long, or no text for UTF-8.
        TypeError: The brackets are missing: write ``EntityKey[Message]("name")``. Or ``clients`` is no bool.
        UnsupportedTypeError: The message type cannot travel, or a class in it is defined in ``__main__`` and has no
            name by ``@casty.message``.
    """

    __slots__ = ()


class Topic(TypedKey[M]):
    """Name under which messages of type ``M`` are published, to all subscribers on all nodes.

    Write the message type at the topic: it is what tells other nodes how to read the messages. Topics are equal when
    their names are; a subscriber gets what is published under a topic whose messages its own takes all.

    >>> Topic[int | str]("prices")
    Topic[int | str]('prices')

    Parameters:
        name: Name of the topic, 1 to 255 characters.
        clients: Whether a `ClusterClient` may subscribe and publish, too: nobody outside of the cluster can else.

    Raises:
        ValueError: ``name`` is empty, too long, or no text for UTF-8.
        TypeError: The brackets are missing: write ``Topic[Message]("name")``. Or ``clients`` is no bool.
        UnsupportedTypeError: The message type cannot travel, or a class in it is defined in ``__main__`` and has no
            name by ``@casty.message``.
    """

    __slots__ = ()


def check_topic(value: object, taker: str) -> None:
    """Raise TypeError unless ``value`` is a topic."""
    if not isinstance(value, Topic):
        raise TypeError(f"{taker} needs a Topic, such as Topic[Message]('prices'), got {value!r}")


def check_key(value: object, taker: str) -> None:
    """Raise TypeError unless ``value`` is the key of a service."""
    if not isinstance(value, ServiceKey):
        raise TypeError(f"{taker} needs a ServiceKey, such as ServiceKey[Message]('clocks'), got {value!r}")
