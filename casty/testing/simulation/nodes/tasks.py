"""Plays a scenario with real nodes: your actors, the drivers, the bytes, on a network in memory.

Owns the nodes of one simulation, each a `ClusteredActorSystem` in tasks of its own, and the order of a play, the same
as that of `player`: they come up, the faults happen, the faults end, the living agree, the rest is started again, and
there is one cluster. Trio's clock is virtual and its scheduler seeded. Differences from the protocol alone: links are
streams, so `Loss` and `Reorder` delay and `Duplicate` changes nothing; a paused node is cut off, while its tasks go on;
all nodes share one clock, so `ClockSkew` is refused; a crashed node's tasks are cancelled, and may clean up.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from random import Random
from typing import Final, Protocol, assert_never

import trio
import trio.testing

from casty import (
    CastyError,
    ClusteredActorSystem,
    ClusterExtension,
    ConfigError,
    JoinRefused,
    JournalUnavailable,
    NodeDowned,
    SystemConfig,
)
from casty.runtime.behavior.signatures import Shape, check_function, expect_awaitable
from casty.testing.simulated_journal import SimulatedJournal
from casty.testing.simulation.invariants.invariants import InvariantBroken
from casty.testing.simulation.model.trace import Fact, Show, Trace
from casty.testing.simulation.nodes.journals import NodeJournals, check_journal_of
from casty.testing.simulation.nodes.paths import DELAY, SeededNetwork
from casty.testing.simulation.nodes.scheduling import seeded_scheduling
from casty.testing.simulation.nodes.told import EventHistory, MembershipEvent
from casty.testing.simulation.scenario.faults import (
    SECONDS_MAX,
    ClockSkew,
    Crash,
    Cut,
    Delay,
    Duplicate,
    Fault,
    Heal,
    JournalFault,
    Leave,
    Loss,
    Pause,
    Reorder,
    Restart,
    Wake,
)
from casty.testing.simulation.scenario.lease import SimulatedLease
from casty.testing.simulation.scenario.scenario import Scenario
from casty.testing.simulation.search.checking import lone
from casty.testing.simulation.search.player import AGREE_WITHIN, FORM_WITHIN, REJOIN_WITHIN, RESTART_EVERY, Played

PORT = 2551
LOOK_EVERY = 0.25
MAIN_WITHIN = 60.0
"""Seconds for the program to end once there is one cluster again."""
ON_NODE: Final = Shape("simulate", 1, "async def on_node(node) -> None")
MAIN: Final = Shape("simulate", 1, "async def main(simulation) -> None")


class OnNode(Protocol):
    """Function to run on each node, from each start of it until it returns or the node ends."""

    def __call__(self, node: ClusteredActorSystem, /) -> Awaitable[None]:
        """Run on a node, in a task cancelled when the node ends.

        Parameters:
            node: The node, just after its join.

        Returns:
            Something to await; its value is not looked at.
        """
        ...


def simulate(
    scenario: Scenario,
    *,
    on_node: OnNode | None = None,
    main: Callable[[Simulation], Awaitable[None]] | None = None,
    journal: SimulatedJournal | None = None,
    extensions: Callable[[], Iterable[ClusterExtension]] | None = None,
    show: Show | None = None,
) -> Played:
    """Play a scenario with real nodes, in virtual time; the same scenario always goes the same way.

    Call it where no Trio runs: it starts one. Threads have no part in virtual time, so actors with threads, or files,
    or sockets, make one run differ from the next.

    Parameters:
        scenario: Scenario to play; no `ClockSkew`.
        on_node: Async function to run on each node at each of its starts, in a task cancelled when the node ends: spawn
            your actors there. None spawns none.
        main: Async function to use the cluster from outside. It begins once all nodes are up, and has to end within 60
            s after `Simulation.wait_recovered`. None leaves the cluster alone.
        journal: New journal, on the store of all nodes: each run of one has a handle of its own. A `Crash` cuts the
            power of the store too. None leaves the nodes without.
        extensions: Function to make the extensions of a node, called at each start of one. None leaves them out.
        show: Function told of each event; None shows nothing.

    Returns:
        Outcome of the play.

    Raises:
        InvariantBroken: The nodes do not come up, do not agree after the faults, or are not one cluster again; a node
            tells something of a member inconsistent with its news before; or two of them have removed each other.
            Exceptions of ``on_node`` or ``main`` leave as they are, without the groups of its nurseries.
        ConfigError: The scenario has a `ClockSkew`, or a `JournalFault` without a journal.
        ValueError: The journal was used before, in another play for example.
        RuntimeError: Trio runs here already, as it does in an ``async def test_...``.
        TypeError: ``on_node`` or ``main`` is no async function of one argument, or ``journal`` no `SimulatedJournal`.

    >>> from casty import Behaviors
    >>> from casty.testing.simulation import Crash, Scenario
    >>> async def on_node(node):
    ...     _ = node.spawn(Behaviors.ignore(), "cart")
    >>> scenario = Scenario(seed=7, nodes=("a", "b", "c"), faults=((1.5, Crash("b")),))
    >>> simulate(scenario, on_node=on_node) == simulate(scenario, on_node=on_node)
    True
    """
    if on_node is not None:
        check_function(on_node, ON_NODE)
    if main is not None:
        check_function(main, MAIN)
    if trio.lowlevel.in_trio_run():
        raise RuntimeError("simulate starts Trio itself, which runs here already: call it in `def test_...`, not async")
    for _, fault in scenario.faults:
        if isinstance(fault, ClockSkew):
            raise ConfigError(f"{fault!r}: all nodes of simulate() share one clock; only play() knows skewed ones")
    check_journal_of(scenario, journal)
    simulation = Simulation(scenario, Trace(show), extensions, journal)
    try:
        with seeded_scheduling(scenario.seed):
            program = partial(simulation.run, on_node or _idle, main)
            return trio.run(program, clock=trio.testing.MockClock(autojump_threshold=0))
    except BaseExceptionGroup as group:
        raise lone(group) from None


async def _idle(node: ClusteredActorSystem) -> None:
    """Run nothing on a node."""


async def _act(on_node: OnNode, system: ClusteredActorSystem) -> None:
    await expect_awaitable(on_node(system), on_node, "simulate(on_node=...)")


@dataclass(eq=False)
class _Node:
    """One run of a node."""

    name: str
    system: ClusteredActorSystem
    seeds: tuple[str, ...]
    extensions: tuple[ClusterExtension, ...] = ()
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    is_up: bool = False
    """Whether its block is entered."""
    outcome: str = ""
    told: EventHistory = field(init=False)

    def __post_init__(self) -> None:
        self.told = EventHistory(self.name)


class Simulation:
    """Running simulation of a cluster, as seen by ``main``.

    Parameters:
        scenario: Scenario in play; `simulate` makes the simulation.
        trace: Recorder of each event.
        extensions: Function to make the extensions of a node; None for none.
        journal: Journal on the store of all nodes; None for none.
    """

    def __init__(
        self,
        scenario: Scenario,
        trace: Trace,
        extensions: Callable[[], Iterable[ClusterExtension]] | None = None,
        journal: SimulatedJournal | None = None,
    ) -> None:
        self.scenario: Scenario = scenario
        """Scenario in play."""
        self._trace = trace
        self._make_extensions = extensions
        self._journals = NodeJournals(journal)
        settings = scenario.settings
        self._settings = settings
        if isinstance(settings.lease, SimulatedLease):  # a store of its own for each play
            self._settings = replace(settings, lease=SimulatedLease())
        self._rng = Random(scenario.seed)
        self._network = SeededNetwork(Random(self._rng.getrandbits(64)), trace)
        self._nodes: dict[str, _Node] = {}
        self._recovered = trio.Event()
        self._is_broken = False

    @property
    def systems(self) -> dict[str, ClusteredActorSystem]:
        """Nodes joined and not ended, by name.

        An ending one, after it was downed for example, is here until its block is left, two seconds after its actors
        have stopped if its peers cannot be reached: asks may fail, and ``lookup`` may find nobody.
        """
        return {node.name: node.system for node in self._living if node.is_up}

    @property
    def extensions(self) -> dict[str, tuple[ClusterExtension, ...]]:
        """The extensions of these nodes, by name of the node, in the order of their making."""
        return {node.name: node.extensions for node in self._living if node.is_up}

    @property
    def is_recovered(self) -> bool:
        """Whether the faults are over and all nodes are one cluster again."""
        return self._recovered.is_set()

    async def wait_recovered(self) -> None:
        """Return once the faults are over and all nodes are one cluster again."""
        await self._recovered.wait()

    def note(self, *facts: Fact) -> None:
        """Let facts be part of the digest, with their time; they must not depend on hashes or identities.

        Parameters:
            *facts: Texts, numbers or bytes; the same ones in each play.
        """
        self._trace.add(trio.current_time(), *facts)

    def fail(self, rule: str, text: str) -> None:
        """Report a broken rule and so end the play.

        Parameters:
            rule: The broken rule, in a few words, the same for every way of breaking it.
            text: How it was broken.

        Raises:
            InvariantBroken: Always.
        """
        raise InvariantBroken(rule, f"{text}, at {trio.current_time():.4f}")

    async def run(self, on_node: OnNode, main: Callable[[Simulation], Awaitable[None]] | None) -> Played:
        """Run the play; `simulate` calls it.

        Parameters:
            on_node: Function to run on each node.
            main: Function to use the cluster from outside.

        Returns:
            Outcome of the play.
        """
        async with trio.open_nursery() as nursery:

            def start(node: _Node) -> None:
                nursery.start_soon(self._run_node, on_node, node)

            await self._form(start)
            async with trio.open_nursery() as acting:
                if main is not None:
                    acting.start_soon(main, self)
                await self._suffer(start)
                await self._recover(start)
                self._recovered.set()
                acting.cancel_scope.deadline = trio.current_time() + MAIN_WITHIN
            if acting.cancel_scope.cancelled_caught:
                self.fail("the program ends", f"it has not {MAIN_WITHIN:g} s after the recovery")
            seconds = trio.current_time()
            for node in self._nodes.values():
                node.scope.cancel()
        return Played(seconds, self._network.sent, self._trace.digest)

    @property
    def _living(self) -> list[_Node]:
        return [node for node in self._nodes.values() if not node.outcome]

    async def _run_node(self, on_node: OnNode, node: _Node) -> None:
        try:
            with node.scope:
                async with node.system as system, system.events(object) as events, trio.open_nursery() as nursery:
                    node.is_up = True
                    nursery.start_soon(_act, on_node, system)
                    async for event in events:
                        self._take(node, event)
            node.outcome = node.outcome or "left"
        except* NodeDowned:
            node.outcome = node.outcome or "downed"
        except* JoinRefused as refused:
            node.outcome = node.outcome or f"refused: {refused.exceptions[0]}"
        except* JournalUnavailable as unavailable:
            if node.is_up:
                raise  # of on_node
            node.outcome = node.outcome or f"not started: {unavailable.exceptions[0]}"
        self.note(node.name, "ends", node.outcome)

    def _take(self, node: _Node, event: object) -> None:
        if isinstance(event, MembershipEvent):
            self.note(node.name, "tells", type(event).__name__, event.member.id)
            self._judge(node, event)
        else:
            self.note(node.name, "tells", type(event).__name__)

    def _judge(self, node: _Node, event: MembershipEvent) -> None:
        if self._is_broken:
            return  # one failure is enough: others follow from it, and would come as a group
        self._is_broken = True
        node.told.take(event, trio.current_time())
        for other in self._living:
            if not node.outcome and node.told.has_removed(other.told) and other.told.has_removed(node.told):
                self.fail("at most one side goes on", f"{node.name} and {other.name} removed each other")
        self._is_broken = False

    def _start(self, start: Callable[[_Node], None], name: str, seeds: Iterable[str]) -> None:
        self._crash(name)
        asked = tuple(seeds)
        extensions = () if self._make_extensions is None else tuple(self._make_extensions())
        system = ClusteredActorSystem(
            name="simulation",
            host=name,
            port=PORT,
            node_id=name,
            seed_nodes=[(seed, PORT) for seed in asked],
            settings=self._settings,
            roles=self.scenario.roles.get(name, ()),
            join_timeout=SECONDS_MAX,
            config=SystemConfig(seed=self._rng.getrandbits(32), journal=self._journals.start(name), check_states=True),
            network=self._network.host(name),
            extensions=extensions,
        )
        node = self._nodes[name] = _Node(name, system, asked, extensions)
        start(node)

    def _crash(self, name: str) -> None:
        node = self._nodes.get(name)
        if node is not None and not node.outcome:
            node.outcome = "crashed"
            self._network.crash(name)
            self._journals.crash(name)
            node.scope.cancel()

    async def _form(self, start: Callable[[_Node], None]) -> None:
        for name in self.scenario.nodes:
            self._start(start, name, self.scenario.nodes)
        await self._until(self._is_whole, FORM_WITHIN, "nodes without faults come up")

    async def _suffer(self, start: Callable[[_Node], None]) -> None:
        began = trio.current_time()
        for at, fault in self.scenario.faults:
            await trio.sleep_until(began + at)
            self.note(repr(fault))
            if isinstance(fault, Restart):
                self._start(start, fault.node, self.scenario.nodes)
            else:
                self._apply(fault)

    def _apply(self, fault: Fault) -> None:
        network = self._network
        match fault:
            case Crash(node) | Restart(node):
                self._crash(node)
            case Pause(node):
                network.freeze(node)
            case Wake(node):
                network.thaw(node)
            case Leave(node):
                self._leave(node)
            case Cut(one, other, one_way=one_way):
                for a in one:
                    for b in other:
                        network.cut(a, b, one_way=one_way)
            case Heal():
                for a in self._nodes:
                    for b in self._nodes:
                        network.heal(a, b)
            case Loss(share):
                network.loss = share
            case Delay(seconds, jitter=jitter):
                network.seconds, network.jitter = max(seconds, DELAY), jitter
            case Reorder(share, by=by):
                network.held_up, network.held_up_for = share, by
            case JournalFault():
                self._journals.apply(fault)
            case Duplicate() | ClockSkew():
                pass  # a stream takes duplicates out; clocks were looked at before
            case _ as never:
                assert_never(never)

    def _leave(self, name: str) -> None:
        """Let the block of a node end, as a signal to its process does."""
        if not self._nodes[name].outcome:
            self._nodes[name].scope.cancel()

    async def _recover(self, start: Callable[[_Node], None]) -> None:
        self._network.end_faults()
        self._journals.end_faults()
        await self._until(self._is_agreed, AGREE_WITHIN, "the living agree after the faults")
        deadline = trio.current_time() + REJOIN_WITHIN
        while not await self._is_whole() and trio.current_time() < deadline:
            members = [node.name for node in self._living if node.is_up]
            for name in self.scenario.nodes:
                if self._nodes[name].outcome:
                    self._start(start, name, dict.fromkeys((*members, *self.scenario.nodes)))
            await trio.sleep(RESTART_EVERY)
        await self._until(self._is_whole, 0.0, "everybody comes back into one cluster")

    async def _until(self, holds: Callable[[], Awaitable[bool]], within: float, rule: str) -> None:
        deadline = trio.current_time() + within
        while not await holds():
            if trio.current_time() >= deadline:
                nodes = [f"{node.name} {node.outcome or await self._seen_by(node)}" for node in self._nodes.values()]
                self.fail(rule, f"not so after {within:g} s: {'; '.join(nodes)}")
            await trio.sleep(LOOK_EVERY)

    async def _seen_by(self, node: _Node) -> dict[str, str]:
        """Return the names of all members seen by a node, and their statuses; nothing while it is none."""
        if not node.is_up:
            return {}
        try:
            state = await node.system.get_cluster_state()
        except (CastyError, RuntimeError):
            return {}  # it has just ended
        node.told.node = next((m.unique for m in state.members if m.address == node.system.self_node), None)
        lost = {member.address for member in state.members if member.address in state.unreachable}
        return {m.id: "unreachable" if m.address in lost else m.status.name for m in state.members}

    async def _are_one(self, nodes: list[_Node]) -> bool:
        expected = dict.fromkeys(sorted(node.name for node in nodes), "up")
        return all([await self._seen_by(node) == expected for node in nodes])

    async def _is_agreed(self) -> bool:
        """Return whether the living are in one cluster, or in none and waiting for seeds without membership."""
        members = {node.name: node for node in self._living if node.is_up}
        called = [node for node in self._living if not node.is_up and not members.keys().isdisjoint(node.seeds)]
        return not members or (not called and await self._are_one(list(members.values())))

    async def _is_whole(self) -> bool:
        living = self._living
        return {node.name for node in living} >= {*self.scenario.nodes} and await self._are_one(living)
