"""Parts of a play that come from outside: machines, rules and a workload, checked before anything is played.

Owns what users may get wrong in them, and whose fault an exception is. It does not know what is played.
"""

from __future__ import annotations

import math
import random
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import FrameType
from typing import Any, Final, TypeVar, cast

from casty.testing.simulation.invariants.rules import Rule
from casty.testing.simulation.model.machine import ModelMachine
from casty.testing.simulation.model.model import ModelCluster
from casty.testing.simulation.model.run import TASKS, ModelTask
from casty.testing.simulation.model.shapes import check_classes, check_takes

T = TypeVar("T")

Invariant = Callable[[ModelCluster], Rule]
"""A subclass of `Rule`, or a function that makes one for a cluster."""
Workload = Callable[[ModelCluster, random.Random], None]
"""Function to use the cluster while the faults happen."""

EACH_INVARIANT: Final = "each of invariants, a subclass of Rule or a maker of one,"
LOOKS: Final = {
    "step": ("run", "before", "after"),
    "look": (),
    "sent": ("run", "to", "message"),
    "received": ("run", "sender", "message"),
    "performed": ("run", "effect"),
    "is_settled": (),
    "at_rest": (),
}
"""Methods of a rule that are called, with their parameters."""


@dataclass(frozen=True, slots=True)
class Further:
    """Parts of a play beside the membership."""

    machines: tuple[ModelMachine[Any], ...]
    """Machines of each node."""
    invariants: tuple[Invariant, ...]
    """Makers of rules."""
    workload: Workload | None
    """Function to use the cluster."""

    def rules(self, cluster: ModelCluster) -> list[Rule]:
        """Make the rules for a cluster."""
        return [made_rule(make, cluster) for make in self.invariants]

    def blame(self, error: Exception, rules: Iterable[Rule], at: float) -> None:
        """Note on an exception whose it is, where one of these parts has raised it."""
        found, known = "", list(rules)
        for frame, _ in traceback.walk_tb(error.__traceback__):
            found = self._named(frame, known) or found
        if found:
            error.add_note(f"raised by {found}, at {at:.4f} s of the play")

    def _named(self, frame: FrameType, rules: list[Rule]) -> str:
        me, task = frame.f_locals.get("self"), frame.f_locals.get("task")
        if any(rule is me for rule in rules):
            return f"the rule {type(me).__name__}"
        if isinstance(task, ModelTask) and task.name not in TASKS:
            return f"the machine {task.name!r} of {task.run.name}"
        return "the workload" if frame.f_code is getattr(self.workload, "__code__", None) else ""


def further_parts(machines: object, invariants: object, workload: object) -> Further:
    """Return the parts of a play; TypeError where they are none."""
    if workload is not None:
        check_takes("workload", workload, ("cluster", "rng"))
    makers = _all_of("invariants", invariants, "rules, such as [MyRule]")
    for make in makers:
        check_takes(EACH_INVARIANT, make, ("cluster",))
    kinds = _all_of("machines", machines, "ModelMachines")
    for machine in kinds:
        if not isinstance(machine, ModelMachine):
            raise TypeError(f"each of machines must be a ModelMachine, got {machine!r}")
    return Further(
        cast("tuple[ModelMachine[Any], ...]", kinds),
        cast("tuple[Invariant, ...]", makers),
        cast("Workload | None", workload),
    )


def made_rule(make: Invariant, cluster: ModelCluster) -> Rule:
    """Return a rule for a cluster; TypeError where it is none, or one of its methods cannot be called."""
    check_takes(EACH_INVARIANT, make, ("cluster",))
    rule = cast("object", make(cluster))
    name = getattr(make, "__qualname__", None) or repr(make)
    if not isinstance(rule, Rule):
        raise TypeError(f"each of invariants must be a subclass of Rule, or make one, and {name} made {rule!r}")
    if not hasattr(rule, "look_at"):
        raise TypeError(f"{name}.__init__ must call super().__init__(cluster), or be left out: a Rule is a dataclass")
    for look, parameters in LOOKS.items():
        check_takes(f"{name}.{look}", getattr(rule, look), parameters)
    check_classes(f"{name}.kinds", rule.kinds)
    within = cast("object", rule.settle_within)
    if not isinstance(within, (int, float)) or not 0 <= within < math.inf:
        raise TypeError(f"{name}.settle_within must be a finite number of seconds, at least 0, got {within!r}")
    return rule


def is_settled(rule: Rule) -> bool:
    """Return whether a rule is settled; TypeError where it does not say so."""
    answer = cast("object", rule.is_settled())
    if not isinstance(answer, bool):
        raise TypeError(f"{type(rule).__name__}.is_settled must return True or False, got {answer!r}")
    return answer


def _all_of(what: str, values: object, wanted: str) -> tuple[object, ...]:
    if isinstance(values, (str, type)) or not isinstance(values, Iterable):
        raise TypeError(f"{what} must be a list of {wanted}, got {values!r}")
    return tuple(cast("Iterable[object]", values))
