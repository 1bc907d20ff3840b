"""Names of places: nodes, incarnations of nodes, and actors on them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from operator import attrgetter
from string import hexdigits
from typing import Final, TypeAlias, cast
from urllib.parse import urlsplit

NodeId: TypeAlias = str
"""The human-readable name of a node, unique among the living members of a cluster."""


def checked_system_name(name: str) -> str:
    """Return the name of a system, which is a part of addresses. ValueError when it could not be told apart there."""
    if not isinstance(cast("object", name), str) or not name or any(c in "/@#?:" or c.isspace() for c in name):
        raise ValueError(f"a system's name must be a word without any of '/@#?:', got {name!r}")
    return name


def is_name(text: str) -> bool:
    """Return whether ``text`` can name a node: printable and without spaces, so that a log line stays readable.

    >>> is_name("web-1"), is_name("web 1"), is_name("web\\n1"), is_name("")
    (True, False, False, False)
    """
    return text.isprintable() and " " not in text and text != ""


def check_path(path: object) -> None:
    """Raise ValueError unless ``path`` can name an actor."""
    if not isinstance(path, str) or not path.startswith("/"):
        raise ValueError(f"the path of an actor begins with '/', such as '/shop/cart-1', got {path!r}")


WireRef: TypeAlias = tuple[str, str, str | None, int | None, int, int]
"""The fields of an `ActorAddress` in their order, as which refs cross the network: no object is made in between."""

ASK_PREFIX: Final = "/_ask/"
"""Beginning of the path of the ref for the reply to an ask; its serial number follows."""
ENTITY_MARK: Final = "e"
"""Before the serial number of an ask of an entity: its reply needs the serving lease of the replying node."""
SERIAL_DIGITS_MAX: Final = 19
"""So that it fits into 64 bits. Longer numbers in a path from the network are no slot: int() of a long text is slow."""


def serial_of(path: str) -> int | None:
    """Return the serial number of the ask with this path; None for any other path.

    >>> serial_of("/_ask/17"), serial_of("/_ask/e17"), serial_of("/_ask/017"), serial_of("/shop")
    (17, 17, None, None)
    """
    digits = path[len(ASK_PREFIX) :]
    if not path.startswith(ASK_PREFIX):
        return None
    if not digits.isascii() or not digits.isdigit():
        digits = digits[len(ENTITY_MARK) :]
        if not asks_entity(path) or not digits.isascii() or not digits.isdigit():
            return None
    return int(digits) if len(digits) <= SERIAL_DIGITS_MAX and digits[0] != "0" else None


def asks_entity(path: str) -> bool:
    """Whether this path of an ask is that of one of an entity.

    >>> asks_entity("/_ask/e17"), asks_entity("/_ask/17")
    (True, False)
    """
    return path.startswith(ENTITY_MARK, len(ASK_PREFIX))


ENTITY_PREFIX: Final = "/_entity/"
"""Beginning of an entity's path on the wire; the length of the kind's name, that name, and the id follow."""
SERVICE_PREFIX: Final = "/_service/"
"""Beginning of the path by which a client finds a service; the name of its key follows."""
PUBLISHED_PREFIX: Final = "/_topic/"
"""Beginning of the path of what clients publish, and are told, under a topic; its name follows."""
FOLLOWED_PREFIX: Final = "/_follow/"
"""Beginning of the path by which a client subscribes to a topic; its name follows."""
ENTITY_NAME_LENGTH_MAX: Final = 255
"""Characters of the name of a kind, and of an id."""


def entity_path(key: str, entity_id: str) -> str:
    """Return the path of an entity on the wire.

    >>> entity_path("carts", "a/b"), entity_of_path("/_entity/5/carts/a/b")
    ('/_entity/5/carts/a/b', ('carts', 'a/b'))
    """
    return f"{ENTITY_PREFIX}{len(key)}/{key}/{entity_id}"


def entity_of_path(path: str) -> tuple[str, str] | None:
    """Return the kind and the id in a path; None where it is none of an entity."""
    digits, _, rest = path[len(ENTITY_PREFIX) :].partition("/")
    if not path.startswith(ENTITY_PREFIX) or not digits.isascii() or not digits.isdigit() or len(digits) > 3:
        return None
    length = int(digits)
    key, separator, entity_id = rest[:length], rest[length : length + 1], rest[length + 1 :]
    is_entity = separator == "/" and 0 < length and max(length, len(entity_id)) <= ENTITY_NAME_LENGTH_MAX
    return (key, entity_id) if is_entity and entity_id else None


_KINDS_OF_KEYS: Final = {
    SERVICE_PREFIX: "the service",
    PUBLISHED_PREFIX: "the topic",
    FOLLOWED_PREFIX: "the topic",
    ENTITY_PREFIX: "the entity key",
}


def key_in_words(path: str) -> str:
    """Return the key that a path on the wire is of, as a text for people; the path where it is of none.

    >>> key_in_words("/_topic/prices"), key_in_words("/_entity/carts"), key_in_words("/_entity/5/carts/a")
    ("the topic 'prices'", "the entity key 'carts'", "the entity key 'carts'")
    """
    entity = entity_of_path(path)
    if entity is not None:
        path = ENTITY_PREFIX + entity[0]
    for prefix, kind in _KINDS_OF_KEYS.items():
        if path.startswith(prefix):
            return f"{kind} {path.removeprefix(prefix)!r}"
    return path


by_place = attrgetter("address.host", "address.port", "incarnation")
"""The order of runs as a key for ``sorted``: comparing `UniqueAddress` one by one takes ten times as long."""

INCARNATION_MAX: Final = 2**64 - 1
PATH_LENGTH_MAX: Final = 4_096
"""Characters of the path of an actor, where it is taken from the network."""
SYSTEM_LENGTH_MAX: Final = 256
HOST_LENGTH_MAX: Final = 255
"""Characters of the two that are taken from the network."""

RUN_DIGITS: Final = 16
"""Digits of the number of a run in a text: hexadecimal everywhere, so that a log line is found by what another says."""

URI_SCHEME = "casty"
HOST_SHOWN_MAX = 255
"""Characters of a host in a text; no host name is longer."""


@dataclass(frozen=True, order=True, slots=True)
class NodeAddress:
    """Host and port of a node; ordered by host, as text, then by port, as a number.

    >>> NodeAddress("10.0.0.1", 2551) < NodeAddress("10.0.0.1", 10000)
    True
    >>> NodeAddress("10.0.0.10", 2551) < NodeAddress("10.0.0.9", 2551)
    True
    >>> str(NodeAddress("::1", 2551))
    '[::1]:2551'
    """

    host: str
    """Host name or IP address, as peers dial it."""
    port: int
    """TCP port, 1 to 65,535."""

    def __str__(self) -> str:
        # A peer may have chosen the host, and this text is what stands in log lines.
        host = self.host if self.host.isprintable() else ascii(self.host)[1:-1]
        host = host if len(host) <= HOST_SHOWN_MAX else host[:HOST_SHOWN_MAX] + "..."
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"


@dataclass(frozen=True, order=True, slots=True)
class UniqueAddress:
    """One run of a node: its address and the random number drawn at its start."""

    address: NodeAddress
    """Host and port at which the node listens."""
    incarnation: int
    """The number of this run; 0 where any run is meant."""

    def __eq__(self, other: object) -> bool:
        # The 64 random bits tell runs apart by themselves, so they are compared first, and no tuples are made.
        return self is other or (
            isinstance(other, UniqueAddress)
            and self.incarnation == other.incarnation
            and (self.address is other.address or self.address == other.address)
        )

    def __hash__(self) -> int:
        # One int instead of three tuples: every send looks its peer up. Python hashes it, in half the time of `hash`.
        return self.incarnation

    def is_named(self, name: UniqueAddress) -> bool:
        """Tell whether ``name`` means this run: incarnation 0 there is whichever run is at the address.

        Parameters:
            name: Run, or address, as somebody has named it.

        Returns:
            True where it is this run.

        >>> run = UniqueAddress(NodeAddress("a", 1), 7)
        >>> run.is_named(run), run.is_named(UniqueAddress(run.address, 0)), run.is_named(UniqueAddress(run.address, 8))
        (True, True, False)
        """
        return self.address == name.address and name.incarnation in (0, self.incarnation)

    def __repr__(self) -> str:
        return f"UniqueAddress({self.address!r}, incarnation=0x{run_text(self.incarnation)})"

    def __str__(self) -> str:
        return f"{self.address}#{run_text(self.incarnation)}"


@dataclass(frozen=True, slots=True)
class LastMembership:
    """Knowledge of its cluster that a run of a node had at its end: for the next run, to join again.

    It holds no more than names of runs, so that it can be kept wherever the next run finds it.
    """

    cluster_id: int
    run: UniqueAddress
    """The run that ended."""
    voters: frozenset[UniqueAddress]
    """The members that had come up and not left, the run itself among them; also those that were down."""
    members: frozenset[UniqueAddress]
    """Those of `voters`, and the members that were joining."""

    @property
    def addresses(self) -> frozenset[NodeAddress]:
        """Addresses of members other than this node."""
        return frozenset(member.address for member in self.members if member != self.run)


@dataclass(frozen=True, slots=True)
class ActorAddress:
    """The full name of one actor: system, path, and, when it is known, node and run.

    >>> address = ActorAddress("shop", "/cart", "10.0.0.1", 2551, incarnation=7, uid=3)
    >>> address.to_uri()
    'casty://shop@10.0.0.1:2551/cart#0000000000000007.3'
    >>> ActorAddress.from_uri(address.to_uri()) == address
    True
    """

    system: str
    """Name of the actor system; nodes of one cluster share it."""
    path: str
    """Place in the tree of actors, such as ``/shop/cart-1``."""
    host: str | None = None
    """Host of the actor's node; None in an address without a node, which means the own system."""
    port: int | None = None
    """Port of the actor's node; None in an address without a node."""
    incarnation: int = 0
    """Run of the node; 0 is any run."""
    uid: int = 0
    """Number of one spawned actor; 0 is whichever actor has the path now."""

    def __repr__(self) -> str:
        node = f", {self.host!r}, {self.port}" if self.host is not None else ""
        return (
            f"ActorAddress({self.system!r}, {self.path!r}{node}, "
            f"incarnation=0x{run_text(self.incarnation)}, uid={self.uid})"
        )

    @property
    def place(self) -> WireRef:
        """The address as a tuple, in the order of the fields."""
        return (self.system, self.path, self.host, self.port, self.incarnation, self.uid)

    @property
    def is_local(self) -> bool:
        """Whether the address names no node, so that it means an actor of the own system."""
        return self.host is None

    @property
    def node(self) -> NodeAddress | None:
        """The node of the actor, or None for an address without a node."""
        return None if self.host is None or self.port is None else NodeAddress(self.host, self.port)

    def at(self, node: UniqueAddress) -> ActorAddress:
        """Return the same actor's address, bound to a run of a node.

        Parameters:
            node: Run of a node, its address and its incarnation.

        Returns:
            This address with host, port and incarnation of that run.
        """
        host, port = node.address.host, node.address.port
        return replace(self, host=host, port=port, incarnation=node.incarnation)

    def to_uri(self) -> str:
        """Write the address as a URI for `from_uri`.

        Returns:
            ``casty://system@host:port/path#incarnation.uid``, the parts that are known. The incarnation has 16
            hexadecimal digits, as in log lines; the uid is decimal.
        """
        node = self.node
        authority = self.system if node is None else f"{self.system}@{node}"
        suffix = f"#{run_text(self.incarnation)}.{self.uid}" if self.incarnation or self.uid else ""
        return f"{URI_SCHEME}://{authority}{self.path}{suffix}"

    @classmethod
    def from_uri(cls, uri: str) -> ActorAddress:
        """Parse a text of `to_uri`.

        Parameters:
            uri: URI of the form ``casty://system[@host:port]/path[#incarnation.uid]``.

        Returns:
            The address.

        Raises:
            ValueError: The text has another form; the message shows the expected one.
        """
        parts = urlsplit(uri)
        run, _, uid = parts.fragment.partition(".") if parts.fragment else (run_text(0), "", "0")
        is_run = len(run) == RUN_DIGITS and set(run) <= set(hexdigits)
        if parts.scheme != URI_SCHEME or not parts.netloc or not is_run or not (uid.isascii() and uid.isdigit()):
            raise ValueError(
                "expected casty://system[@host:port]/path[#incarnation.uid], the incarnation of "
                f"{RUN_DIGITS} hexadecimal digits, got {uri!r}"
            )
        incarnation = int(run, 16)
        system, has_node, _ = parts.netloc.partition("@")
        if not has_node:
            return cls(system, parts.path, incarnation=incarnation, uid=int(uid))
        if parts.hostname is None or parts.port is None:
            raise ValueError(f"an actor address with a node needs host:port, got {uri!r}")
        return cls(system, parts.path, parts.hostname, parts.port, incarnation, int(uid))

    def __str__(self) -> str:
        uri = self.to_uri()
        return uri if uri.isprintable() else ascii(uri)[1:-1]


def run_text(incarnation: int) -> str:
    """Return the number of a run as texts have it.

    >>> run_text(7)
    '0000000000000007'
    """
    return f"{incarnation:0{RUN_DIGITS}x}"


def in_words(address: ActorAddress) -> str:
    """Return where an actor is, as a text for people.

    >>> in_words(ActorAddress("shop", "/cart", "10.0.0.1", 2551)), in_words(ActorAddress("shop", "/cart"))
    ('/cart on 10.0.0.1:2551', '/cart')
    """
    return address.path if address.node is None else f"{address.path} on {address.node}"
