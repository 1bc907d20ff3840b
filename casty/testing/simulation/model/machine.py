"""Machines of simulated nodes, each as a value: how it is made, and how it is joined to its node and to other nodes.

Owns the tables of a node: the machine for each class of message, and the doings for each class of effect. It knows no
machine, and no effect by name: those of the membership are in `membership`, further ones come from outside.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Generic, Literal, Protocol, TypeVar, cast

from casty.errors import ConfigError
from casty.testing.simulation.model.shapes import (
    check_classes,
    check_drains,
    check_lanes,
    check_sequence,
    check_table,
    check_takes,
)

E = TypeVar("E")
E_contra = TypeVar("E_contra", contravariant=True)

SENDERS: Final = ("member", "anyone")

Performer = Callable[..., None]
"""Called with the cluster, the task of the machine, and the effect."""
Wrap = Callable[..., object]
Performers = Mapping[type, Performer]


class PureMachine(Protocol[E_contra]):
    """Pure part of a feature: events in, effects out. It knows no clock, no chance, no task."""

    def handle(self, event: E_contra, now: float, /) -> Sequence[object]:
        """Take an event.

        Parameters:
            event: The event.
            now: Time by the clock of its node, in seconds.

        Returns:
            The effects to be performed, in their order.
        """
        ...


def itself(event: E) -> E:
    """Return the event itself: for ``hears``, where an effect is the event already."""
    return event


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ModelMachine(Generic[E]):
    """A machine of each simulated node, and its place there.

    The machine may ask for ``Send``, ``SendIfUp``, ``StartTimer``, ``PublishEvent`` and ``Note`` of
    ``casty.protocol.effects``, for effects of its own in ``performs``, and for those that a machine of the node hears.
    A timer comes back to it as ``TimerFired``. A crash, a pause, a restart and a skewed clock are those of its node.
    Its messages travel as those of the membership do, with cuts, loss, delays and doubles, by draws of their own: a
    scenario has the same membership with and without it, as long as it hands the membership nothing.

    Raises:
        ConfigError: The name is empty, or ``sender`` is none of the two.
        TypeError: A function takes other arguments, or a table or a collection is of another shape.
    """

    name: str
    """Name of the machine and of its task: unique on a node, and its name in ``ModelCluster.handover_max``."""
    make: Callable[..., PureMachine[E]]
    """Function to make it for a run: called with the cluster, the `Run`, and a ``random.Random`` of its own."""
    starts_with: Sequence[E] = ()
    """Events taken at the start of each run."""
    receives: Mapping[type, Callable[..., E]] = field(default_factory=dict[type, Callable[..., E]])
    """Messages taken by it, by class: the function makes the event of the sending run, the message, and the time of its
    arrival by the clock of the node. A message without a taker on a node is dropped, and counted in ``Run.unknown``.
    """
    hears: Mapping[type, Callable[..., E]] = field(default_factory=dict[type, Callable[..., E]])
    """Effects of the machines of the node that it hears of, such as ``MembersChanged``, ``SnapshotChanged``,
    ``Serving``, ``WorkFree`` or ``LinkLost``, by class: the function makes the event of the effect.
    """
    performs: Performers = field(default_factory=dict[type, Performer])
    """Effects of its own, by class: the function is called with the cluster, the `ModelTask`, and the effect."""
    lanes: Mapping[type, str] = field(default_factory=dict[type, str])
    """Lanes of its messages, by class. Those of one lane stay in order between two runs; a class not named here has the
    machine's own lane.
    """
    late: Collection[type] = ()
    """Classes of its messages that may come once more, much later, from a connection read long after."""
    sender: Literal["member", "anyone"] = "member"
    """Senders of its messages: members in the eyes of the receiver, or anyone. ``Run.refused`` counts the others."""
    idle: Collection[type] = ()
    """Classes of messages that it goes on to send in an idle cluster."""
    is_direct: bool = False
    """Whether it takes messages at once, before what waits for it."""
    drains: Mapping[str, type] = field(default_factory=dict[str, type])
    """Events taken first, of all that waits for it, when a timer of this key fires."""

    def __post_init__(self) -> None:
        """Raise TypeError or ConfigError where a part is of another shape, since the model would fail inside of it."""
        name = cast("object", self.name)
        if not isinstance(name, str) or not name:
            raise ConfigError(f"a machine must have a name, text that is not empty, got {name!r}")
        of = f"of the machine {name!r}"
        check_takes(f"make {of}", self.make, ("cluster", "run", "rng"))
        check_sequence(f"starts_with {of}", self.starts_with)
        check_table(f"receives {of}", self.receives, ("sender", "message", "at"))
        check_table(f"hears {of}", self.hears, ("effect",))
        check_table(f"performs {of}", self.performs, ("cluster", "task", "effect"))
        check_lanes(f"lanes {of}", self.lanes)
        check_classes(f"late {of}", self.late)
        check_classes(f"idle {of}", self.idle)
        check_drains(f"drains {of}", self.drains)
        if self.sender not in SENDERS:
            raise ConfigError(f"sender {of} must be one of {', '.join(map(repr, SENDERS))}, got {self.sender!r}")

    def __repr__(self) -> str:
        return f"<ModelMachine {self.name}>"


class ModelNode:
    """The machines of a node, and what follows from each class of message and effect.

    Parameters:
        machines: Machines of the node, in the order of their starts.
        standard: Effects that each machine may ask for, and who performs them.

    Raises:
        ConfigError: Two machines have one name, or take one class of message.
    """

    def __init__(self, machines: Iterable[ModelMachine[Any]], standard: Performers) -> None:
        self.machines: tuple[ModelMachine[Any], ...] = tuple(machines)
        """Its machines."""
        self.receivers: dict[type, tuple[str, Wrap]] = {}
        """Receiver of a message by its class, and the function that makes the event of it."""
        self.performers: dict[str, Performers] = {}
        """Function for each class of effect, by the name of the machine that asks for it."""
        names = [one.name for one in self.machines]
        for one in self.machines:
            if names.count(one.name) > 1:
                raise ConfigError(f"two machines of a node are called {one.name!r}: give one of them another name")
            for kind, wrap in one.receives.items():
                if kind in self.receivers:
                    other = self.receivers[kind][0]
                    raise ConfigError(f"{kind.__name__} is taken by two machines, {other!r} and {one.name!r}")
                self.receivers[kind] = one.name, wrap
        for one in self.machines:
            kinds = {**standard, **one.performs, **{kind: None for other in self.machines for kind in other.hears}}
            self.performers[one.name] = {kind: self._performer(one, kind, standard) for kind in kinds}

    def _performer(self, machine: ModelMachine[Any], kind: type, standard: Performers) -> Performer:
        own = machine.performs.get(kind, standard.get(kind))
        heard = [_handed_to(other.name, other.hears[kind]) for other in self.machines if kind in other.hears]
        every = heard if own is None else [own, *heard]
        return every[0] if len(every) == 1 else _each_of(every)

    def __repr__(self) -> str:
        return f"<ModelNode {', '.join(one.name for one in self.machines)}>"


def _handed_to(name: str, wrap: Callable[..., object]) -> Performer:
    # Any: the cluster and its tasks are in modules above this one.
    def hand_event(cluster: Any, task: Any, effect: object) -> None:
        cluster.hand_over(task.run.tasks[name], effect)

    def hand(cluster: Any, task: Any, effect: object) -> None:
        cluster.hand_over(task.run.tasks[name], wrap(effect))

    return hand_event if wrap is itself else hand


def _each_of(performers: Sequence[Performer]) -> Performer:
    def perform(*arguments: object) -> None:
        for one in performers:
            one(*arguments)

    return perform
