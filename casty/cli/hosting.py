"""One node of a cluster as a process: the common part of ``casty node`` and of the nodes of ``casty demo``.

Neither this module nor its imports need the extra ``cli``: a node starts without it.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Never, TypeAlias

import trio

from casty import (
    ActorFailed,
    ActorRef,
    Behavior,
    BindError,
    CastyError,
    ClusteredActorSystem,
    ClusterExtension,
    ClusterSettings,
    ClusterTimeoutError,
    ConfigError,
    NodeDowned,
    SystemConfig,
    TlsConfig,
)
from casty.cli.exits import ExitCode, run_until_signal
from casty.runtime.system.system import escalated_by

MakeExtension: TypeAlias = Callable[[], ClusterExtension]

REJOIN_PAUSE_MIN = 1.0
REJOIN_PAUSE_MAX = 30.0
STEADY_AFTER = 60.0
"""A run of this length was a good one: the next pause is short again."""


@dataclass(frozen=True, kw_only=True)
class NodePlan:
    """Everything needed to make a node; as the arguments of `casty.ClusteredActorSystem`."""

    node_id: str
    name: str = "casty"
    host: str = "127.0.0.1"
    port: int = 0
    seed_nodes: tuple[tuple[str, int], ...] = ()
    roles: frozenset[str] = frozenset()
    required_quorum: int | None = None
    join_timeout: float = 60.0
    insecure: bool = False
    tls: TlsConfig | None = None
    settings: ClusterSettings = field(default_factory=ClusterSettings)
    config: SystemConfig = field(default_factory=SystemConfig)
    extensions: tuple[MakeExtension, ...] = ()
    """Makers of the extensions of each run."""

    @property
    def rejoins(self) -> bool:
        """Whether this node starts again when it was downed."""
        return self.settings.on_downed != "stop"

    def system(self, downed: NodeDowned | None = None) -> ClusteredActorSystem:
        """Return the system of this node, not entered yet. ConfigError for bad values.

        ``downed``: the error of its last run, if it joins again.
        """
        try:
            return ClusteredActorSystem(
                name=self.name,
                host=self.host,
                port=self.port,
                node_id=self.node_id,
                seed_nodes=self.seed_nodes,
                roles=self.roles,
                required_quorum=self.required_quorum,
                settings=self.settings,
                insecure=self.insecure,
                tls=self.tls,
                join_timeout=self.join_timeout,
                rejoin_after=downed,
                config=self.config,
                extensions=[make() for make in self.extensions],
            )
        except ValueError as error:  # a name that cannot be part of an address
            raise ConfigError(str(error)) from None


@dataclass(frozen=True, slots=True)
class HostedActor:
    """The actor run by a node, at ``/name``; each run of the node makes it anew."""

    name: str
    make: Callable[[], Behavior[Any]]  # of any message type: the user's


def complain(text: str) -> None:
    """Write one line for the user to stderr."""
    print(f"casty: {text}", file=sys.stderr, flush=True)


async def host(
    plan: NodePlan, guest: HostedActor, *, announce: Callable[[ClusteredActorSystem], None] | None = None
) -> ExitCode:
    """Join the cluster, run the guest until it stops, and leave; begin again where the plan rejoins.

    Cancelled, the node leaves gracefully all the same. ``announce`` is called after each spawn of the guest. An error
    is told on stderr in one line.
    """
    downed, pause = None, REJOIN_PAUSE_MIN
    while True:
        began = trio.current_time()
        try:
            return await _run_once(plan.system(downed), guest, announce)
        except (NodeDowned, ClusterTimeoutError) as error:
            complain(str(error))
            downed = error if isinstance(error, NodeDowned) else downed
            if downed is None:
                return ExitCode.failed
            if not plan.rejoins:
                return ExitCode.downed
        except (BindError, ConfigError) as error:
            complain(str(error))
            return ExitCode.bad_input
        except CastyError as error:
            complain(str(error))
            return ExitCode.failed
        pause = REJOIN_PAUSE_MIN if trio.current_time() - began > STEADY_AFTER else pause
        complain(f"joining again in {pause:g} s")
        await trio.sleep(pause)
        pause = min(2 * pause, REJOIN_PAUSE_MAX)


async def _run_once(
    system: ClusteredActorSystem, guest: HostedActor, announce: Callable[[ClusteredActorSystem], None] | None
) -> ExitCode:
    watcher = _Watcher()
    refusal: ConfigError | None = None
    try:
        async with system, system.events(ActorFailed) as failures, trio.open_nursery() as nursery:
            behavior = guest.make()
            try:
                ref = system.spawn(behavior, guest.name)
            except ConfigError as error:
                refusal = ConfigError(f"/{guest.name} cannot be started by casty node: {error}")
            else:
                nursery.start_soon(watcher.watch, failures, ref)
                if announce is not None:
                    announce(system)
                await system.wait_stopped(ref)
                nursery.cancel_scope.cancel()
    except ExceptionGroup as group:
        if group.exceptions != escalated_by(system):
            raise
        watcher.failure = group.exceptions[-1]
    if refusal is not None:  # raised inside of the block it would be in a group
        raise refusal
    if watcher.failure is None:
        return ExitCode.ok
    failure = watcher.failure
    complain(f"/{guest.name} failed, so the node has left: {type(failure).__name__}: {failure}")
    return ExitCode.failed


def run_node(plan: NodePlan, guest: HostedActor) -> ExitCode:
    """Run a node on a Trio loop of its own, until its guest ends or a signal comes."""
    return trio.run(run_until_signal, partial(host, plan, guest, announce=_announce))


def _announce(system: ClusteredActorSystem) -> None:
    cluster = system.cluster
    count = f" ({cluster.up_members} up)" if cluster.is_up else ""  # who is joining itself knows too little
    print(f"{system.cluster_config.node_id} is a member of {system.name} at {system.self_node}{count}", flush=True)


@dataclass(slots=True)
class _Watcher:
    """Remembers how the guest failed last."""

    failure: BaseException | None = None

    async def watch(self, failures: AsyncIterator[ActorFailed], ref: ActorRef[Never]) -> None:
        async for event in failures:
            if event.ref == ref:
                self.failure = event.exception
