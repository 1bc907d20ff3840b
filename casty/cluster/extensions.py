"""Extensions of one node: attached, started, left and stopped in their order, and the consequences of a failure."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Never, TypeAlias

import trio

from casty.cluster.extension import ClusterExtension, ExtensionNode, check_unused
from casty.cluster.extension_limits import ControlLaneBudget
from casty.cluster.extension_tables import ClusterTable, tables_of, told_of
from casty.cluster.node import ClusterNode
from casty.cluster.observability.cluster_metrics import CLUSTER_METRICS
from casty.refs import ActorRef
from casty.runtime.messaging.ref import OwnRef
from casty.runtime.system.context import ActorContext
from casty.runtime.system.metrics import SYSTEM_METRICS, Metric, Metrics
from casty.runtime.system.system import ActorSystem

Family: TypeAlias = tuple[bool, Metric] | None
"""Kind of a figure, True for a counter, and its metric; None for one of casty's own."""
OWN_FAMILIES: Final[Mapping[str, Family]] = {metric.name: None for metric in (*SYSTEM_METRICS, *CLUSTER_METRICS)}
METRIC_NAME: Final = re.compile(r"[a-z][a-z0-9_]*")

logger = logging.getLogger("casty.cluster")

LAST_TURNS_MAX = 64
"""Turns of the scheduler for an actor to take its queued messages before it is stopped."""
LAST_SECONDS_MAX = 1.0
"""Seconds for all of them together after those turns; nothing comes from other nodes any more."""
LAST_LOOK = 0.01
"""Seconds between two looks at an actor with more to take."""


class AttachedNode(ExtensionNode):
    """View of the node for an extension, with the node's own calls about it."""

    @property
    def actors(self) -> tuple[ActorRef[Any], ...]:
        """Actors spawned by the extension, in their order."""
        return tuple(self._actors)

    def attach(self) -> None:
        """Attach the extension to the node, and add its control messages."""
        self.extension.node = self
        self._is_attaching = True
        self.attach_tables()
        try:
            self.extension.attach(self)
        finally:
            self._is_attaching = False

    def start(self, ctx: ActorContext[Any]) -> None:
        """Start the extension, with its actors under ``ctx``."""
        self._ctx = ctx
        try:
            self.extension.start(self)
        finally:
            self._ctx = None
        for table in self.extension.tables:
            table.start()

    def mute(self) -> None:
        """Drop its control messages from now on: its actors are about to stop, and leave dead letters otherwise."""
        for cls in self._control:
            self.inside.control.mute(cls)
        for table in self.extension.tables:
            table.mute()

    def forget(self) -> None:
        """Ignore its control messages from now on, as those of an extension never added to this node."""
        for cls in self._control:
            self.inside.control.remove(cls)
        for table in self.extension.tables:
            table.withdraw()

    def end(self) -> None:
        """Send nothing more, and have the extension let go of the node."""
        self._is_ended = True
        for table in self.extension.tables:
            table.end()
        try:
            self.extension.ended()
        except Exception:  # the user's code; the others let go too
            logger.exception("the extension %s failed as it ended", self.extension.name)


class Extensions:
    """Extensions of one node, in the order of their start."""

    def __init__(self, extensions: Sequence[ClusterExtension]) -> None:
        self.all = tuple(extensions)
        self._nodes: list[AttachedNode] = []
        self._attached: list[AttachedNode] = []
        """Those that have yet to let go of the node."""
        self._started: list[AttachedNode] = []
        self._is_stopping = False
        self._failed: set[str] = set()
        """Names of those with unreadable figures, to say so once."""

    @property
    def extra(self) -> tuple[tuple[str, bytes], ...]:
        """Capabilities told to other nodes in the row of this member, by name."""
        told = ((each.name, each.capability) for each in self.all)
        capabilities = [(name, capability) for name, capability in told if capability is not None]
        return tuple(sorted([*capabilities, *told_of(self.all)]))

    @property
    def tables(self) -> tuple[ClusterTable[Any], ...]:
        """Tables of all, in their order."""
        return tables_of(self.all)

    def attach(self, node: ClusterNode) -> None:
        """Attach each, with its control messages. ConfigError for a bad name, class or capability."""
        check_unused(self.all)
        budget = ControlLaneBudget()
        self._nodes = [AttachedNode(each, node, budget, self._exit) for each in self.all]
        for each in self._nodes:
            each.attach()
            self._attached.append(each)

    def start(self, ctx: ActorContext[Any]) -> None:
        """Start each, with its actors under ``ctx``. ConfigError for a bad name."""
        for each in self._nodes:
            self._started.append(each)
            each.start(ctx)

    async def leave(self, seconds: float) -> None:
        """Let each finish its work while the node is a member, the last one first."""
        for each in self._started[::-1]:
            began = trio.current_time()
            with trio.move_on_after(seconds) as scope:
                try:
                    await each.extension.leave()
                except Exception:  # the user's code; one extension's failure keeps no other from leaving
                    logger.exception("the extension %s failed as it left", each.extension.name)
            if scope.cancelled_caught:
                logger.error("the extension %s did not leave in time, and is cancelled", each.extension.name)
            each.mute()
            seconds = max(0.0, seconds - (trio.current_time() - began))

    async def stop(self, system: ActorSystem) -> None:
        """Stop all actors, the last one first, each when the one after it has ended."""
        self._is_stopping = True
        for each in self._started:
            each.mute()
        deadline = trio.current_time() + LAST_SECONDS_MAX
        for each in self._started[::-1]:
            for ref in reversed(each.actors):
                await take_rest(ref, deadline)
                system.stop(ref)
                await system.wait_stopped(ref)

    def end(self) -> None:
        """End each attached one, the last one first; their actors have ended, or end now."""
        self._started.clear()
        try:
            while self._attached:
                self._attached.pop().end()
        finally:
            if self._attached:  # one has raised what ends a program, such as KeyboardInterrupt
                self.end()

    def lose(self, ref: ActorRef[Never], cause: BaseException | None) -> bool:
        """Take the end of an actor; False where the node cannot do without it."""
        owner = next((each for each in self._nodes if ref in each.actors), None)
        if owner is None or (owner.extension.when_it_fails == "end_node" and not self._is_stopping):
            return False
        if owner in self._started and not self._is_stopping:
            name = owner.extension.name
            logger.error("%s has ended, and the node goes on without the extension %s", ref.path, name, exc_info=cause)
            self._go_without(owner)
        return True

    def _exit(self, view: ExtensionNode, place: str, error: BaseException) -> None:
        """Take SystemExit or its kin, raised by a function of an extension that the node has called."""
        owner = next((each for each in self._attached if each is view), None)
        if owner is None:
            return  # it has ended already
        owner.mute()
        name, ends_node = view.extension.name, view.extension.when_it_fails == "end_node"
        what = "it ends the node" if ends_node else "the node goes on without it"
        logger.error("the extension %s failed in %s: %s", name, place, what, exc_info=error)
        if owner not in self._started or self._is_stopping:
            return
        if ends_node:
            owner.inside.fail_by(f"the extension {name}", error)
        else:
            self._go_without(owner)

    def _go_without(self, owner: AttachedNode) -> None:
        self._started.remove(owner)
        self._attached.remove(owner)
        for other in reversed(owner.actors):
            owner.inside.open_paths.pop(other.path, None)
            owner.system.stop(other)
        owner.forget()
        owner.end()

    def collect(self, metrics: Metrics) -> None:
        """Hand over the figures of those running; leave out all of one with a bad figure."""
        known = dict(OWN_FAMILIES)
        for each in self._started:
            name = each.extension.name
            figures = _NamedFigures(name, known)
            try:
                each.extension.collect(figures)
            except Exception:  # the user's code; all other figures are to be had
                if name not in self._failed:
                    self._failed.add(name)
                    logger.exception("the extension %s cannot tell its figures", name)
                continue
            known = figures.known
            for is_counter, metric, value, labels in figures.all:
                (metrics.counter if is_counter else metrics.gauge)(metric, value, *labels)

    def __repr__(self) -> str:
        return f"<Extensions {' '.join(each.name for each in self.all)} started={len(self._started)}>"


async def take_rest(ref: ActorRef[Any], deadline: float) -> None:
    """Let an actor take its queued messages, such as the node's last snapshots, dead letters otherwise."""
    actor = ref.owner() if isinstance(ref, OwnRef) else None
    turns = 0
    while actor is not None and len(actor.mailbox) and not actor.mailbox.closed:
        if turns < LAST_TURNS_MAX:
            await trio.lowlevel.checkpoint()
        elif trio.current_time() < deadline:
            await trio.sleep(LAST_LOOK)
        else:
            return
        turns += 1


class _NamedFigures:
    """Figures of one extension, with its name in front of theirs. ValueError or TypeError for a bad one.

    They are handed on when all are there, since a bad one fails an exporter, with all figures of the node.
    """

    def __init__(self, name: str, known: Mapping[str, Family]) -> None:
        self._name = name
        self.known = dict(known)
        self.all: list[tuple[bool, Metric, float, tuple[str, ...]]] = []

    def counter(self, metric: Metric, value: float, *labels: str) -> None:
        self._add(is_counter=True, metric=metric, value=value, labels=labels)

    def gauge(self, metric: Metric, value: float, *labels: str) -> None:
        self._add(is_counter=False, metric=metric, value=value, labels=labels)

    def _add(self, *, is_counter: bool, metric: object, value: object, labels: tuple[object, ...]) -> None:
        if not isinstance(metric, Metric):
            raise TypeError(f"a figure has a casty.Metric, got {metric!r}")
        if not METRIC_NAME.fullmatch(metric.name):
            raise ValueError(f"Metric.name must be lower-case letters, digits and underscores, got {metric.name!r}")
        if not isinstance(value, (int, float)):
            raise TypeError(f"the value of {metric.name} must be a number, got {value!r}")
        texts = tuple(label for label in labels if isinstance(label, str))
        if len(texts) != len(labels) or len(texts) != len(metric.labels):
            raise TypeError(f"{metric.name} must have a text for each of its labels {metric.labels!r}, got {labels!r}")
        whole = replace(metric, name=f"{self._name}_{metric.name}")
        family = (is_counter, whole)
        if self.known.setdefault(whole.name, family) != family:
            raise ValueError(f"{whole.name} is another figure of this node already: give {metric.name} another name")
        self.all.append((is_counter, whole, value, texts))
