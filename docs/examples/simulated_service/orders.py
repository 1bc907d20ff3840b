"""A service that takes orders. Look at `Desk.receive`: an order is written before it is accepted."""

from __future__ import annotations

from dataclasses import dataclass

import casty
from casty import ActorContext, Behavior, Behaviors, ClusteredActorSystem


@casty.message("example.Place")
@dataclass(frozen=True)
class Place:
    """Accept the order of this number, and say so."""

    number: int
    reply_to: casty.ActorRef[int]


ORDERS = casty.ServiceKey[Place]("orders")


@dataclass
class Desk:
    """The service on one node; all nodes have one database."""

    database: set[int]

    async def receive(self, ctx: ActorContext[Place], message: Place) -> Behavior[Place]:
        """Write an order into the database, then accept it."""
        self.database.add(message.number)
        message.reply_to.tell(message.number)
        return Behaviors.same()

    async def run(self, node: ClusteredActorSystem) -> None:
        """Offer the service on a node."""
        node.spawn(Behaviors.discoverable(Behaviors.receive(self.receive), key=ORDERS), "desk")
