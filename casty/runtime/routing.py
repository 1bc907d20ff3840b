"""Routers: actors handing each message on to one of several others, or to all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Generic, Never, Self, TypeVar, cast

from casty.config.validation import check_callable
from casty.protocol.actor.routing import VIRTUAL_NODES, ConsistentHashing, RandomRouting, RoundRobin, Routing
from casty.protocol.effects import Rng
from casty.refs import ActorRef
from casty.runtime.behavior.behavior import SAME, STOPPED, Behavior, Composed, receive, setup
from casty.runtime.events import NO_ROUTEE, Terminated
from casty.runtime.system.context import ActorContext
from casty.runtime.system.system import kernel_of

M = TypeVar("M")


def _round_robin(rng: Rng) -> Routing[object]:
    return RoundRobin()


def _random(rng: Rng) -> Routing[object]:
    return RandomRouting(rng)


def _hashing(mapping: Callable[[M], str | bytes | int], virtual_nodes: int, rng: Rng) -> Routing[M]:
    return ConsistentHashing(mapping, virtual_nodes)


@dataclass(frozen=True, eq=False)
class Router(Composed[M], Generic[M]):
    """The behaviour of a router, and how it chooses. The methods return another one."""

    routing: Callable[[Rng], Routing[M]] = field(default=_round_robin, kw_only=True)
    """Maker of the rule to choose a routee for a message. In turn, if no method below said otherwise."""
    broadcasts: Callable[[M], bool] | None = field(default=None, kw_only=True)
    """Predicate of the messages for all routees; None hands each message to one."""

    def with_round_robin_routing(self) -> Self:
        """Hand the messages to each routee in turn.

        Returns:
            Another router; this one stays as it is.
        """
        return replace(self, routing=_round_robin)

    def with_random_routing(self) -> Self:
        """Hand each message to any routee, with the same chance.

        Returns:
            Another router; this one stays as it is.
        """
        return replace(self, routing=_random)

    def with_consistent_hashing_routing(
        self, mapping: Callable[[M], str | bytes | int], *, virtual_nodes: int = VIRTUAL_NODES
    ) -> Self:
        """Hand messages with the same key to the same routee, as long as it is there.

        The choice is the same in every process. A new or gone routee moves only its own share of the keys.

        Parameters:
            mapping: Function of a message; it returns the key: text, bytes or a number.
            virtual_nodes: Places of each routee on the ring, at least 1. More make the shares more even, and a
                change dearer.

        Returns:
            Another router; this one stays as it is.

        Raises:
            TypeError: ``mapping`` cannot be called, or is an async function.
            ValueError: ``virtual_nodes`` is below 1.
        """
        check_callable("with_consistent_hashing_routing", mapping, "a function of the message, which makes its key")
        if virtual_nodes < 1:
            raise ValueError(f"virtual_nodes must be at least 1, got {virtual_nodes!r}")
        return replace(self, routing=partial(_hashing, mapping, virtual_nodes))

    def with_broadcast_predicate(self, predicate: Callable[[M], bool]) -> Self:
        """Hand messages with a true predicate to all routees, the others as before.

        Parameters:
            predicate: Function of a message; it returns a bool.

        Returns:
            Another router; this one stays as it is.

        Raises:
            TypeError: ``predicate`` cannot be called, or is an async function.
        """
        check_callable("with_broadcast_predicate", predicate, "a function of the message, which makes a bool")
        return replace(self, broadcasts=predicate)


class Routees(Generic[M]):
    """The actors behind one router. Also for routers above the runtime."""

    def __init__(self, router: Router[M], ctx: ActorContext[M]) -> None:
        self._kernel = kernel_of(ctx.system)
        self._ctx = ctx
        self._routing = router.routing(self._kernel.rng)
        self._broadcasts = router.broadcasts
        self._refs: Mapping[str, ActorRef[M]] = {}

    def update(self, refs: Mapping[str, ActorRef[M]]) -> None:
        """Route to these from now on, in this order; keys are assigned to the names."""
        self._refs = refs
        self._routing.update(tuple(refs))

    def route(self, message: M) -> None:
        """Hand a message on; a dead letter where there is nobody."""
        if not self._refs:
            self._kernel.dead_letter(message, self._ctx.self, NO_ROUTEE)
        elif self._broadcasts is not None and self._broadcasts(message):
            for ref in self._refs.values():
                self._ctx.forward(ref, message)
        else:
            self._ctx.forward(self._refs[self._routing.choose(message)], message)


@dataclass(frozen=True, eq=False)
class PoolRouter(Router[M]):
    """Router with routees of its own spawning: made by ``Routers.pool``.

    Raises:
        ValueError: ``size`` is below 1.
    """

    size: int
    """Number of routees, at least 1."""
    behavior: Behavior[M]
    """Behaviour of each routee."""

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"a pool needs at least 1 routee, got {self.size!r}")

    def message_type(self) -> object | None:
        return self.behavior.message_type()

    def compose(self) -> Behavior[Never]:
        """Make the behaviour of a spawner of the routees. For the library.

        Returns:
            Behaviour of the actor.
        """
        return setup(self._start)

    async def _start(self, ctx: ActorContext[object]) -> Behavior[Never]:
        pool = _Pool(self, cast("ActorContext[M]", ctx))
        return receive(pool.handle)


class _Pool(Generic[M]):
    """The living routees of one pool."""

    def __init__(self, router: PoolRouter[M], ctx: ActorContext[M]) -> None:
        self._routees = Routees(router, ctx)
        self._refs = {str(n): ctx.spawn(router.behavior, str(n)) for n in range(1, router.size + 1)}
        for ref in self._refs.values():
            ctx.watch(ref)
        self._routees.update(self._refs)

    async def handle(self, ctx: ActorContext[object], message: object) -> Behavior[Never]:
        """Route a message, or take note of an ended routee; without any, the pool ends."""
        if not isinstance(message, Terminated):
            self._routees.route(cast("M", message))
            return SAME
        self._refs = {name: ref for name, ref in self._refs.items() if ref != message.ref}
        self._routees.update(self._refs)
        return SAME if self._refs else STOPPED
