"""Driver of ``casty demo``: the actor that finds the workers, hands out chunks, and merges the answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias, assert_never

import trio

from casty import (
    ActorContext,
    ActorRef,
    Behavior,
    Behaviors,
    ClusteredActorSystem,
    EventStreamSubscribe,
    Inbox,
    Listing,
    MemberLeft,
    MemberUp,
    NodeAddress,
    ReachableMember,
    Subscribe,
    SubscribeTopology,
    TopologySnapshot,
    UnreachableMember,
)
from casty.cli.demo.progress import Display, Progress
from casty.cli.demo.words import WORD_COUNTERS, CountWords, WordsCounted
from casty.cluster.commands import GetSuspicions, Suspicions

TICK = 0.1
START_TIMEOUT = 30.0
"""Seconds for finding every worker."""
STALL_TIMEOUT = 30.0
"""Seconds without an answer before the driver gives up."""

MemberEvent: TypeAlias = MemberUp | MemberLeft | UnreachableMember | ReachableMember


@dataclass(frozen=True, slots=True)
class Tick:
    """Time to look at the clock."""


@dataclass(frozen=True, slots=True)
class ProcessEnded:
    """The process of a node has ended, with this exit code."""

    node_id: str
    code: int


DriverMessage: TypeAlias = (
    Listing[CountWords] | WordsCounted | TopologySnapshot | Suspicions | MemberEvent | ProcessEnded | Tick
)


@dataclass(slots=True)
class Driver:
    """The state of the actor. ``kill`` is called once with the node to kill, halfway; None to kill nobody.

    After the actor's end ``trouble`` says why it gave up, if it did.
    """

    system: ClusteredActorSystem
    progress: Progress
    display: Display
    workers: int
    """Workers to find before the counting starts."""
    began: float
    kill: Callable[[str], None] | None
    trouble: str | None = None
    victim: NodeAddress | None = None
    victim_killed_at: float = 0.0
    detected_after: float | None = None
    """Seconds from the kill until this node saw its member as unreachable."""
    _refs: dict[NodeAddress, ActorRef[CountWords]] = field(
        init=False, default_factory=lambda: dict[NodeAddress, ActorRef[CountWords]]()
    )
    _ended: set[str] = field(init=False, default_factory=set[str])
    _moved_at: float = field(init=False, default=0.0)

    def behavior(self) -> Behavior[DriverMessage]:
        """Return the behaviour of the actor; it ends with the work."""

        async def main(ctx: ActorContext[DriverMessage], inbox: Inbox[DriverMessage]) -> None:
            self._subscribe(ctx)
            async for message in inbox:
                self._take(message, ctx)
                if self.trouble is not None or self.is_done:
                    return

        return Behaviors.task(main)

    @property
    def is_done(self) -> bool:
        """Whether every chunk is answered, and the kill, if there was to be one, was seen by all of this node."""
        ledger = self.progress.ledger
        seen = self.detected_after is not None and self.victim not in ledger.workers
        return ledger.is_finished and (self.kill is None or seen)

    def _subscribe(self, ctx: ActorContext[DriverMessage]) -> None:
        self._moved_at = trio.current_time()
        for event_type in (MemberUp, MemberLeft, UnreachableMember, ReachableMember):
            self.system.event_stream.tell(EventStreamSubscribe(event_type, ctx.self))
        self.system.cluster.ref.tell(SubscribeTopology(ctx.self))
        self.system.receptionist.tell(Subscribe(WORD_COUNTERS, ctx.self))
        ctx.schedule_tick(Tick(), TICK)

    def _take(self, message: DriverMessage, ctx: ActorContext[DriverMessage]) -> None:
        match message:
            case Listing():
                self._found({instance.node: instance.ref for instance in message.instances})
            case WordsCounted(chunk, counts):
                if self.progress.ledger.answer(chunk, counts):
                    self._moved_at = trio.current_time()
            case TopologySnapshot():
                self.progress.take(message)
            case Suspicions(phi):
                self.progress.phi = phi
            case MemberUp() | MemberLeft() | UnreachableMember() | ReachableMember():
                self._member(message)
            case ProcessEnded():
                self._process_ended(message)
            case Tick():
                self._tick()
                self.system.cluster.ref.tell(GetSuspicions(ctx.self))
            case _ as never:
                assert_never(never)
        self._hand_out(ctx.self)

    def note(self, text: str) -> None:
        """Show an event with its time."""
        self.display.note(trio.current_time() - self.began, text)

    def _found(self, workers: dict[NodeAddress, ActorRef[CountWords]]) -> None:
        progress = self.progress
        self._refs.update(workers)
        if progress.counting_from is None:
            if len(workers) < self.workers:
                return
            progress.counting_from = trio.current_time() - self.began
            self.note(f"found {len(workers)} workers through the receptionist; counting {progress.tree}")
        for node, owed in progress.ledger.workers_are(workers).items():
            self.note(
                f"{self.progress.name_of(node)} is not listed any more: what it owed, {owed} chunks, goes to the others"
            )

    def _hand_out(self, reply_to: ActorRef[WordsCounted]) -> None:
        progress = self.progress
        for node, chunk in progress.ledger.assign(trio.current_time()):
            self._refs[node].tell(CountWords(chunk, progress.tree.chunk_text(chunk), reply_to))
        if progress.ledger.is_finished and progress.counting_to is None:
            progress.counting_to = trio.current_time() - self.began
            self.note(f"all {progress.ledger.chunks:,} chunks are counted")
        if progress.ledger.workers and 2 * progress.ledger.done >= progress.ledger.chunks - 1:
            self._kill()

    def _kill(self) -> None:
        if self.kill is None or self.victim is not None:
            return
        ledger = self.progress.ledger
        self.victim = max(ledger.workers, key=self.progress.name_of)
        self.victim_killed_at = trio.current_time()
        name = self.progress.name_of(self.victim)
        self.kill(name)
        owed = ledger.owed_by(self.victim)
        self.note(f"{name} is killed with SIGKILL after {ledger.done:,} chunks; it owes {owed}")

    def _member(self, event: MemberEvent) -> None:
        member = event.member
        match event:
            case MemberUp():
                self.note(f"{member.id} is up at {member.address}")
            case MemberLeft():
                self.note(f"{member.id} has left the cluster")
            case ReachableMember():
                self.note(f"{member.id} is reachable again")
            case UnreachableMember():
                text = f"{member.id} is unreachable"
                if member.address == self.victim and self.detected_after is None:
                    self.detected_after = trio.current_time() - self.victim_killed_at
                    text += f", {self.detected_after:.3f} s after it was killed"
                self.note(text)

    def _process_ended(self, event: ProcessEnded) -> None:
        self._ended.add(event.node_id)
        if len(self._ended) == self.workers:
            self.trouble = "the process of every node has ended"
        if self.victim is not None and event.node_id == self.progress.name_of(self.victim):
            return
        self.note(f"the process of {event.node_id} has ended by itself, with exit code {event.code}")
        if self.progress.counting_from is None:
            self.trouble = f"{event.node_id} ended before the counting began"

    def _tick(self) -> None:
        now, progress = trio.current_time(), self.progress
        self.display.show(progress)
        resent = progress.ledger.take_back(now)
        if resent:
            self.note(f"no answer for too long: {resent} chunks are sent again")
        if progress.counting_from is None:
            if now - self._moved_at > START_TIMEOUT:
                self.trouble = f"fewer than {self.workers} workers were found in {START_TIMEOUT:g} s"
        elif now - self._moved_at > STALL_TIMEOUT:
            self.trouble = f"no answer for {STALL_TIMEOUT:g} s"
