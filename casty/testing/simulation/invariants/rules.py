"""All the rules of a simulated cluster, and who of them looks at what.

Owns the walk over what has happened since the last event: each step of a run is shown to each rule once. It does not
know what any rule says. Rules that are about sequences of messages listen to the model (`ModelCluster.taps`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from casty.address import UniqueAddress
from casty.protocol.state.membership_state import Gossip
from casty.testing.simulation.model.model import ModelCluster
from casty.testing.simulation.model.run import Run


@dataclass(slots=True)
class Rule:
    """One rule, or a family of rules with one memory. What a rule does not look at does nothing here."""

    kinds: ClassVar[tuple[type, ...]] = ()
    """The classes of messages and effects that it is shown."""
    cluster: ModelCluster
    """The nodes to look at."""
    look_at: float = field(init=False, default=-math.inf)
    """The time from which on it has something to look at; `Rules` does not call `look` before."""
    _seen: dict[UniqueAddress, tuple[Gossip, int]] = field(
        init=False, repr=False, default_factory=lambda: dict[UniqueAddress, tuple[Gossip, int]]()
    )

    def check(self) -> bool:
        """Look at all runs, for a `ModelCluster.run_for` that has this rule only as its ``until``.

        A rule that listens to messages has to be one of `Rules`.

        Returns:
            Always False, so that time goes on.

        Raises:
            InvariantBroken: The rule does not hold.
        """
        for node, run in self.cluster.every.items():
            after, known = run.topology.state, self._seen.get(node)
            if after is None:
                continue
            if known is None or known[0] is not after or known[1] != len(run.events):
                self._seen[node] = after, len(run.events)
                self.step(run, None if known is None else known[0], after)
        if self.cluster.now >= self.look_at:
            self.look()
        return False

    def step(self, run: Run, before: Gossip | None, after: Gossip) -> None:
        """Take what a run knows after an event.

        Parameters:
            run: The run.
            before: What it knew when it was looked at last; None at first.
            after: What it knows now.

        Raises:
            InvariantBroken: The rule does not hold.
        """

    def look(self) -> None:
        """Look at the time, after each event from ``look_at`` on.

        Raises:
            InvariantBroken: The rule does not hold.
        """

    def sent(self, run: Run, to: UniqueAddress, message: object) -> None:
        """Take a message of one of its ``kinds`` that a run sends.

        Parameters:
            run: The run.
            to: Where it goes; it may get lost.
            message: The message.

        Raises:
            InvariantBroken: The rule does not hold.
        """

    def received(self, run: Run, sender: UniqueAddress, message: object) -> None:
        """Take a message of one of its ``kinds`` that comes to a run, before the run does.

        Parameters:
            run: The run.
            sender: The run that sent it.
            message: The message.

        Raises:
            InvariantBroken: The rule does not hold.
        """

    def performed(self, run: Run, effect: object) -> None:
        """Take an effect, of one of its ``kinds``, of the machines of a run, before it is performed.

        Parameters:
            run: The run.
            effect: The effect.

        Raises:
            InvariantBroken: The rule does not hold.
        """


@dataclass(frozen=True, slots=True)
class _Known:
    """What a run has shown by the last step that the rules were shown."""

    state: Gossip
    events: int
    alive: bool

    def is_all_of(self, run: Run, state: Gossip) -> bool:
        """Return whether nothing is new but who is known to have seen it, which no rule asks for."""
        known = self.state
        if state is not known and (
            state.members is not known.members
            or state.rows is not known.rows
            or state.tombstones is not known.tombstones
            or state.version is not known.version
        ):
            return False
        return self.events == len(run.events) and self.alive == run.alive


@dataclass(slots=True)
class Rules:
    """Several rules, that are shown each step of a run once."""

    cluster: ModelCluster
    """The nodes to look at."""
    rules: Sequence[Rule]
    """The rules, in the order in which they look."""
    steps: int = field(init=False, default=0)
    """How often a run has shown something new."""
    _known: dict[UniqueAddress, _Known] = field(init=False, default_factory=lambda: dict[UniqueAddress, _Known]())
    _looking: list[Rule] = field(init=False, default_factory=lambda: list[Rule]())
    _stepping: list[Rule] = field(init=False, default_factory=lambda: list[Rule]())

    def __post_init__(self) -> None:
        self._looking = [rule for rule in self.rules if type(rule).look is not Rule.look]
        self._stepping = [rule for rule in self.rules if type(rule).step is not Rule.step]
        taps = self.cluster.taps
        for rule in self.rules:
            for kind in rule.kinds:
                if type(rule).sent is not Rule.sent:
                    taps.sent_of.setdefault(kind, []).append(rule.sent)
                if type(rule).received is not Rule.received:
                    taps.received_of.setdefault(kind, []).append(rule.received)
                if type(rule).performed is not Rule.performed:
                    taps.performed_of.setdefault(kind, []).append(rule.performed)

    def check(self) -> bool:
        """Look at what has happened. Give it to `ModelCluster.run_for` as its ``until``.

        Returns:
            Always False, so that time goes on.

        Raises:
            InvariantBroken: A rule does not hold.
        """
        if self.cluster.acted:
            acted, self.cluster.acted = self.cluster.acted, {}
            for node, run in acted.items():
                self._step(node, run)
        now = self.cluster.now
        for rule in self._looking:
            if now >= rule.look_at:
                rule.look()
        return False

    def _step(self, node: UniqueAddress, run: Run) -> None:
        after, known = run.topology.state, self._known.get(node)
        if after is None or (known is not None and known.is_all_of(run, after)):
            return
        self.steps += 1
        self._known[node] = _Known(after, len(run.events), run.alive)
        before = None if known is None else known.state
        for rule in self._stepping:
            rule.step(run, before, after)
