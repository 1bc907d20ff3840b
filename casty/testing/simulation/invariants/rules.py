"""All the rules of a simulated cluster, and the division of looks among them.

Owns the walk over the events since the last one: each step of a run is shown to each rule once. It does not know any
rule's text. Rules about sequences of messages listen to the model (`ModelCluster.taps`).
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
    """One rule, or a family of rules with one memory: subclass it, and give it to `play` as one of its ``invariants``.

    Override the looks that the rule needs; each does nothing by itself. A look ends in an `InvariantBroken` with a name
    for the rule, the same for every way of breaking it, since a failing scenario is made smaller as long as it breaks
    the same rule. A subclass with fields of its own is a dataclass too, with
    ``field(init=False, default_factory=...)``.

    >>> from casty.testing.simulation import InvariantBroken, Scenario, play
    >>> class FewNodes(Rule):
    ...     def step(self, run, before, after):
    ...         if len(after.members) > 2:
    ...             raise InvariantBroken("clusters are small", f"{run.name} sees {len(after.members)} members")
    >>> play(Scenario(1, ("a", "b")), invariants=[FewNodes]).messages > 0
    True
    >>> play(Scenario(1, ("a", "b", "c")), invariants=[FewNodes])
    Traceback (most recent call last):
        ...
    casty.testing.simulation.invariants.invariants.InvariantBroken: clusters are small: a sees 3 members
    """

    kinds: ClassVar[tuple[type, ...]] = ()
    """Classes of the messages shown to `sent` and `received`, and of the effects shown to `performed`."""
    settle_within: ClassVar[float] = 0.0
    """Seconds for `is_settled`, once the faults are over and all nodes are one cluster again."""
    cluster: ModelCluster
    """The nodes to look at."""
    look_at: float = field(init=False, default=-math.inf)
    """Time of its next look; `Rules` does not call `look` before."""
    _seen: dict[UniqueAddress, tuple[Gossip, int]] = field(
        init=False, repr=False, default_factory=lambda: dict[UniqueAddress, tuple[Gossip, int]]()
    )

    def check(self) -> bool:
        """Look at all runs, for a `ModelCluster.run_for` with this rule alone as its ``until``.

        A rule listening to messages has to be one of `Rules`.

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
        """Take the knowledge of a run after an event.

        Parameters:
            run: The run.
            before: Its knowledge at the last look; None at first.
            after: Its knowledge now.

        Raises:
            InvariantBroken: The rule does not hold.
        """

    def look(self) -> None:
        """Look at the time, after each event from ``look_at`` on.

        Raises:
            InvariantBroken: The rule does not hold.
        """

    def sent(self, run: Run, to: UniqueAddress, message: object) -> None:
        """Take a message of one of its ``kinds``, sent by a run.

        Parameters:
            run: The run.
            to: Where it goes; it may get lost.
            message: The message.

        Raises:
            InvariantBroken: The rule does not hold.
        """

    def received(self, run: Run, sender: UniqueAddress, message: object) -> None:
        """Take a message of one of its ``kinds`` that came to a run, before the task of the run does that it is for.

        Parameters:
            run: The run.
            sender: The sending run.
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

    def is_settled(self) -> bool:
        """Look whether all is as it comes to be once the faults are over and all nodes are one cluster again.

        `play` asks after each event, for ``settle_within`` seconds at most; for a rule given as one of its
        ``invariants``.

        Returns:
            Whether it is so.
        """
        return True

    def at_rest(self) -> None:
        """Look at an idle cluster, at the end of a play; for a rule given to `play` as one of its ``invariants``.

        Raises:
            InvariantBroken: The rule does not hold.
        """


@dataclass(frozen=True, slots=True)
class _Known:
    """Views of a run by the last step shown to the rules."""

    state: Gossip
    events: int
    alive: bool

    def is_all_of(self, run: Run, state: Gossip) -> bool:
        """Return whether nothing is new but who is known to have seen it, asked for by no rule."""
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
    """Several rules, shown each step of a run once."""

    cluster: ModelCluster
    """The nodes to look at."""
    rules: Sequence[Rule]
    """The rules, in the order of their looks."""
    steps: int = field(init=False, default=0)
    """Number of runs' new views so far."""
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
        """Look at the last events. Give it to `ModelCluster.run_for` as its ``until``.

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
