"""Counters that survive. Look at `Counter.decide`: nothing leaves before its event is durable."""

from __future__ import annotations

from dataclasses import dataclass, field

from counting import COUNTERS, Add, Added, Receipt, Total

from casty import ActorContext, ActorRef, Behavior, Behaviors, ClusteredActorSystem, Effect, nothing, persist


@dataclass(frozen=True)
class Counter:
    """One counter, with the printer of its node."""

    name: str
    printer: ActorRef[Receipt]

    def decide(self, total: int, command: Add | Total) -> Effect[Added]:
        """Store an addition; reply and print once it is stored."""
        match command:
            case Add(amount, reply_to):
                after = total + amount
                return persist(Added(amount)).reply(reply_to, after).tell(self.printer, Receipt(self.name, after))
            case Total(reply_to):
                return nothing().reply(reply_to, total)


def apply(total: int, event: Added) -> int:
    """Return the total after an event."""
    return total + event.amount


@dataclass
class Counters:
    """The service on all nodes; they share the paper."""

    printed: list[Receipt] = field(default_factory=list[Receipt])
    kind: type[Counter] = Counter

    async def print(self, ctx: ActorContext[Receipt], message: Receipt) -> Behavior[Receipt]:
        """Put a receipt on paper."""
        self.printed.append(message)
        return Behaviors.same()

    async def run(self, node: ClusteredActorSystem) -> None:
        """Host counters on a node."""
        printer = node.spawn(Behaviors.receive(self.print), "printer")

        def counter(name: str) -> Behavior[Add | Total]:
            return Behaviors.event_sourced(empty=0, decide=self.kind(name, printer).decide, apply=apply)

        node.spawn(Behaviors.sharded(counter, COUNTERS, num_shards=4, passivate_after=5.0), "counters")
