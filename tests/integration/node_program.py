"""One node of a cluster as a process of its own, for the tests that kill and freeze real processes.

Takes its settings as JSON in the only argument. Lines of JSON on its standard input are commands
(see `Node.obey`); what happens leaves as lines of JSON on its standard output, each with the
monotonic time, which all processes of one machine share. The log goes to standard error. The end of
the input, ``leave`` and SIGTERM make the node leave; so no orphan survives the test.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Never

import trio
from entity_work import EntityWork, Load  # lie beside this program
from exclusive_work import ExclusiveWork

import casty
from casty import (
    ActorContext,
    ActorRef,
    Behavior,
    Behaviors,
    ClusteredActorSystem,
    ClusterSettings,
    FailureDetectorConfig,
    MemberLeft,
    MemberUp,
    NodeAddress,
    ReachableMember,
    ResolveNode,
    SqliteLease,
    SubscribeTopology,
    TcpNetwork,
    TlsConfig,
    TopologySnapshot,
    UnreachableMember,
    UnsubscribeTopology,
)
from casty.config import TransportLimits
from casty.transport.network.tcp import TcpListener

ASK_PAUSE = 0.01
"""Seconds between two asks of the monitor."""
LOAD = [field.name for field in fields(Load)]


def emit(event: str, **fields: object) -> None:
    """Write one line that the test reads."""
    sys.stdout.write(json.dumps({"event": event, "at": time.monotonic(), **fields}) + "\n")
    sys.stdout.flush()


@casty.message("integration.Echoed")
@dataclass(frozen=True)
class Echoed:
    """The reply to an `Echo`."""

    node_id: str
    text: str


@casty.message("integration.Echo")
@dataclass(frozen=True)
class Echo:
    """Ask for the text back."""

    text: str
    reply_to: ActorRef[Echoed]


@casty.message("integration.Crash")
@dataclass(frozen=True)
class Crash:
    """Make the handler raise."""


@casty.message("integration.Odd")
@dataclass(frozen=True)
class Odd:
    """A message that the actor does not handle."""


@casty.message("integration.Quit")
@dataclass(frozen=True)
class Quit:
    """Make the actor stop."""


@casty.message("integration.Block")
@dataclass(frozen=True)
class Block:
    """Make the handler hold the loop of its node, as a call that is not ``async`` does."""

    seconds: float


@casty.message("integration.Rows")
@dataclass(frozen=True)
class Rows:
    """Take up memory while it waits; and time, once it is handled."""

    rows: list[list[int]]
    seconds: float


Command = Echo | Crash | Odd | Quit | Block | Rows
PLAIN = {"crash": Crash(), "odd": Odd(), "quit": Quit()}


def server(node_id: str) -> Behavior[Command]:
    """Return the actor that tests send to."""

    async def handle(ctx: ActorContext[Command], message: Command) -> Behavior[Command]:
        match message:
            case Echo(text, reply_to):
                reply_to.tell(Echoed(node_id, text))
            case Crash():
                raise RuntimeError("asked to crash")
            case Odd():
                return Behaviors.unhandled()
            case Quit():
                return Behaviors.stopped()
            case Block(seconds):
                time.sleep(seconds)  # noqa: ASYNC251  # the very mistake
            case Rows(_, seconds):
                await trio.sleep(seconds)
        return Behaviors.same()

    return Behaviors.receive(handle)


def snapshots(source: str) -> Behavior[TopologySnapshot]:
    """Return the actor that shows each snapshot as an event."""

    async def handle(ctx: ActorContext[TopologySnapshot], message: TopologySnapshot) -> Behavior[TopologySnapshot]:
        ids = {member.address: member.id for member in message.members}
        emit(
            "snapshot",
            source=source,
            members={member.id: member.status.name for member in message.members},
            incarnations={member.id: member.incarnation for member in message.members},
            unreachable=sorted(ids.get(address, str(address)) for address in message.unreachable),
            leader=None if message.leader is None else ids.get(message.leader, str(message.leader)),
        )
        return Behaviors.same()

    return Behaviors.receive(handle)


class AnnouncedTcp(TcpNetwork):
    """TCP that says when the port is bound, which is before the node has joined; ``held`` waits before it."""

    def __init__(self, *, insecure: bool, held: bool) -> None:
        super().__init__(insecure=insecure)
        self._held = held

    async def listen(self, host: str, port: int) -> TcpListener:
        if self._held:
            unused = await super().listen(host, 0)  # what the first listener of a process imports takes 40 ms
            await unused.aclose()
            emit("held")
            await trio.lowlevel.wait_readable(sys.stdin.fileno())
            os.read(sys.stdin.fileno(), 1)
        listener = await super().listen(host, port)
        emit("bound", host=listener.address.host, port=listener.address.port)
        return listener


class Node:
    """What the commands act on."""

    def __init__(self, system: ClusteredActorSystem, node_id: str) -> None:
        self.system = system
        self.node_id = node_id
        self.counts: Counter[str] = Counter()
        self.refs: dict[tuple[str, str], ActorRef[Never]] = {}
        self.watchers: dict[str, ActorRef[TopologySnapshot]] = {}
        self.monitoring = trio.CancelScope()
        self.leaving = trio.Event()
        self.entities = EntityWork(system, emit)

    async def run(self, *, exclusive: bool, entities: bool) -> None:
        """Obey until the input ends, or somebody wants this node to leave."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self._show_events)
            await nursery.start(self._await_signal)
            self.system.spawn(server(self.node_id), "echo")
            self.watch("own", self.system.cluster.ref)
            emit("entered")
            if exclusive:
                nursery.start_soon(ExclusiveWork(self.system, emit).run)
            if entities:
                self.entities.host()
            nursery.start_soon(self.entities.run)
            nursery.start_soon(self._read, nursery)
            await self.leaving.wait()
            nursery.cancel_scope.cancel()

    def watch(self, name: str, cluster: ActorRef[Never]) -> None:
        """Show the snapshots that a cluster actor, of this or another node, pushes."""
        ref = self.system.spawn(snapshots(name), f"snapshots-{name}")
        self.watchers[name] = ref
        cluster.of(SubscribeTopology).tell(SubscribeTopology(ref))

    def ref(self, node: str, path: str) -> ActorRef[Never]:
        """Return the ref that was used for this name before, also when its node has gone since."""
        if (node, path) not in self.refs:
            here = self.system.lookup(path) if node == self.node_id else self.system.remote(path, node)
            if here is None:
                raise LookupError(f"nobody has the path {path}")
            self.refs[node, path] = here
        return self.refs[node, path]

    async def obey(self, command: dict[str, object]) -> dict[str, object]:
        """Do what one line says and return what to tell about it."""
        node, path = str(command.get("node", self.node_id)), str(command.get("path", "/echo"))
        match command["do"]:
            case "ask":
                return await self._ask(node, path, float(command.get("timeout", 5.0)))
            case "tell":
                self.ref(node, path).of(Command).tell(PLAIN[str(command["message"])])
            case "block":
                self.ref(node, path).of(Command).tell(Block(float(command["seconds"])))
            case "spawn":
                self.system.spawn(server(self.node_id), str(command["name"]))
            case "stop":
                found = self.system.lookup(path)
                if found is not None:
                    self.system.stop(found)
            case "watch":
                self.watch(node, self.ref(node, "/_cluster"))
            case "unwatch":
                cluster = self.ref(node, "/_cluster").of(UnsubscribeTopology)
                cluster.tell(UnsubscribeTopology(self.watchers[node]))
            case "resolve":
                return await self._resolve(node, str(command["node_id"]))
            case "monitor":
                return await self._monitor(node)
            case "unmonitor":
                self.monitoring.cancel()
            case "call":
                return await self.entities.call(Load(**{name: command[name] for name in LOAD if name in command}))
            case "uncall":
                self.entities.stop_calling()
            case "touch":
                return await self.entities.touch(
                    int(command["ids"]), int(command["callers"]), int(command.get("first", 1))
                )
            case "shards":
                return await self.entities.shards()
            case "shutdown":
                await self.system.cluster.shutdown()
                self.leaving.set()
            case "statistics":
                return self._statistics()
            case "leave":
                self.leaving.set()
            case unknown:
                raise ValueError(f"no command {unknown!r}")
        return {}

    async def _ask(self, node: str, path: str, timeout: float) -> dict[str, object]:
        began = time.monotonic()
        ref = self.ref(node, path).of(Command)
        try:
            reply: Echoed = await self.system.ask(ref, lambda reply_to: Echo("hello", reply_to), timeout=timeout)
            answer = {"outcome": "reply", "by": reply.node_id}
        except casty.AskTimeoutError:
            answer = {"outcome": "timeout"}
        except casty.AskFailed:
            answer = {"outcome": "failed"}
        return {**answer, "seconds": time.monotonic() - began}

    async def _resolve(self, node: str, wanted: str) -> dict[str, object]:
        cluster = self.system.cluster.ref if node == self.node_id else self.ref(node, "/_cluster").of(ResolveNode)
        found: NodeAddress | None = await self.system.ask(cluster, lambda reply_to: ResolveNode(wanted, reply_to))
        return {"found": None if found is None else [found.host, found.port]}

    async def _monitor(self, node: str) -> dict[str, object]:
        """Ask again and again until told to end, and tell how long the answers took."""
        ref = self.ref(node, "/echo").of(Command)
        seconds, failed = list[float](), 0
        with trio.CancelScope() as self.monitoring:
            while True:
                began = time.monotonic()
                try:
                    await self.system.ask(ref, lambda reply_to: Echo("still there?", reply_to), timeout=5.0)
                    seconds.append(time.monotonic() - began)
                except casty.AskTimeoutError:
                    failed += 1
                await trio.sleep(ASK_PAUSE)
        seconds.sort()
        share = {f"p{percent}": seconds[len(seconds) * percent // 100] for percent in (50, 99)} if seconds else {}
        return {"count": len(seconds), "failed": failed, "longest": max(seconds, default=None), **share}

    def _statistics(self) -> dict[str, object]:
        statistics = self.system.statistics()
        return {
            "actors": statistics.actors,
            "dead_letters": statistics.dead_letters,
            "asks_pending": statistics.asks_pending,
            "tasks": trio.lowlevel.current_statistics().tasks_living,
            "events": dict(self.counts),
        }

    async def _read(self, nursery: trio.Nursery) -> None:
        buffer = b""
        async with trio.lowlevel.FdStream(os.dup(sys.stdin.fileno())) as stream:
            async for data in stream:
                *lines, buffer = (buffer + data).split(b"\n")
                for line in lines:
                    nursery.start_soon(self._answer, json.loads(line))
        self.leaving.set()

    async def _answer(self, command: dict[str, object]) -> None:
        try:
            answer = await self.obey(command)
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        emit("answer", id=command["id"], **answer)

    async def _show_events(self, *, task_status: trio.TaskStatus[None]) -> None:
        async with self.system.events(object) as events:
            task_status.started()
            async for event in events:
                self.counts[type(event).__name__] += 1
                if isinstance(event, MemberUp | MemberLeft | UnreachableMember | ReachableMember):
                    emit(type(event).__name__, member=event.member.id, incarnation=event.member.incarnation)

    async def _await_signal(self, *, task_status: trio.TaskStatus[None]) -> None:
        with trio.open_signal_receiver(signal.SIGTERM) as signals:
            task_status.started()
            async for _ in signals:
                self.leaving.set()


async def main(spec: dict[str, object]) -> None:
    """Run the node that the settings describe."""
    insecure = bool(spec.get("insecure", False))
    tls = TlsConfig.folder(Path(str(spec["tls"]), str(spec["node_id"]))) if "tls" in spec else None
    system = ClusteredActorSystem(
        name=str(spec.get("name", "integration")),
        host=str(spec.get("host", "127.0.0.1")),
        port=int(spec.get("port", 0)),
        node_id=str(spec["node_id"]),
        seed_nodes=[(host, port) for host, port in spec.get("seeds", [])],
        required_quorum=spec.get("quorum"),
        settings=settings_of(spec.get("settings", {})),
        insecure=insecure,
        join_timeout=float(spec.get("join_timeout", 30.0)),
        network=AnnouncedTcp(insecure=insecure, held=spec.get("held") == "bind"),
        tls=tls,
    )
    node = Node(system, str(spec["node_id"]))
    try:
        async with system:
            exclusive, entities = bool(spec.get("exclusive", False)), bool(spec.get("entities", False))
            await node.run(exclusive=exclusive, entities=entities)
    finally:
        node.entities.flush()  # entities have gone on while their shards were handed over


def settings_of(given: dict[str, object]) -> ClusterSettings:
    """Return the settings that JSON describes; a lease is named by its file."""
    settings = dict(given)
    if "lease" in settings:
        settings["lease"] = SqliteLease(str(settings["lease"]))
    if "limits" in settings:
        settings["limits"] = TransportLimits(**settings["limits"])
    if "failure_detector" in settings:
        settings["failure_detector"] = FailureDetectorConfig(**settings["failure_detector"])
    return ClusterSettings(**settings)


def run(spec: dict[str, object]) -> int:
    """Run the node to its end, show how it ended, and return the exit code."""
    code = 1
    if spec.get("held") == "start":
        emit("held")
        os.read(sys.stdin.fileno(), 1)  # a newline lets it go
    try:
        trio.run(main, spec)
        code = 0
    except* casty.CastyError as group:
        for error in group.exceptions:
            emit("error", type=type(error).__name__, message=str(error), is_timeout=isinstance(error, TimeoutError))
    except* KeyboardInterrupt:
        code = 130
    emit("ended", code=code)
    return code


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    sys.exit(run(json.loads(sys.argv[1])))
