"""Tasks of simulated nodes on a heap of events, in virtual time.

Owns the heap, the hand-over of an event from one task of a run to another, timers by the task that owns them, and the
way of a message from a machine of one run to one of another. It knows no feature: which machine takes a message and
what follows from an effect is in the tables of the node (`machine`).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from heapq import heappop, heappush
from typing import cast

from casty.address import UniqueAddress
from casty.errors import ConfigError
from casty.protocol.effects import Note, PublishEvent, Send, SendIfUp, StartTimer, TimerFired
from casty.testing.simulation.model.machine import Performers
from casty.testing.simulation.model.network import ModelNetwork
from casty.testing.simulation.model.run import TASKS, Came, ModelTask, Run
from casty.testing.simulation.model.shapes import check_machine
from casty.testing.simulation.model.taps import Taps
from casty.testing.simulation.model.trace import Fact, Trace

Action = Callable[..., None]
Due = tuple[float, int, Run, Action, tuple[object, ...]]
"""Time, number among all, run, action, and arguments: ties break by the number."""


class ModelEngine(ModelNetwork):
    """Runs by name, their tasks, and the time."""

    def __init__(self, seed: int, delay: float) -> None:
        super().__init__(random.Random(seed), delay)
        self.now: float = 0.0
        """Virtual time, in seconds."""
        self.seed: int = seed
        """Number behind all draws."""
        self.handover_max: dict[str, float] = {}
        """Longest time, in seconds, until a task of a run takes an event from another one of the run, or from its
        links; by the name of the task, drawn for each event, in their order. A task without a name here takes it at
        once.
        """
        self.trace: Trace | None = None
        """Recorder of each event; None records nothing."""
        self.taps: Taps = Taps()
        """Listeners to all messages."""
        self.acted: dict[UniqueAddress, Run] = {}
        """The runs whose membership was told something since somebody emptied this."""
        self.said: dict[type, int] = {}
        """Messages of each class sent so far."""
        self.runs: dict[str, Run] = {}
        """The latest run of each node, by name."""
        self._handovers = random.Random(seed)  # of its own: what is drawn of the network stays the same
        self._of_machines: dict[str, random.Random] = {}
        """Draws of further machines, by name: their doings change no draw for others."""
        self._heap: list[Due] = []
        self._sequence = 0
        self._texts: dict[UniqueAddress, str] = {}

    def hand(self, run: Run, machine: str, event: object) -> None:
        """Let a machine of a run take an event, as soon as its task gets to it; once it wakes, if the run is paused.

        Parameters:
            run: The run; nothing follows if it has ended.
            machine: Name of the machine.
            event: Event of that machine.

        Raises:
            TypeError: ``run`` is no run.
            ConfigError: The run has no such machine.
        """
        self.call(run, self.hand_over, _task_of(run, machine), event)

    def hand_later(self, delay: float, run: Run, machine: str, event: object) -> None:
        """Let a machine of a run take an event after a while, such as the answer of a store.

        Parameters:
            delay: Seconds until then.
            run: The run; nothing follows if it has ended by then.
            machine: Name of the machine.
            event: Event of that machine.

        Raises:
            TypeError: ``run`` is no run.
            ConfigError: The run has no such machine.
        """
        self.call_later(delay, run, self.hand_over, _task_of(run, machine), event)

    def hand_over(self, task: ModelTask, event: object, came: Came | None = None) -> None:
        """Queue an event for a task, behind those waiting for it.

        Parameters:
            task: The task.
            event: Event of its machine.
            came: The message in it, and its sender: shown to the rules when the task takes it.
        """
        longest = self.handover_max.get(task.name)
        if longest is None:
            self._take(task, event, came)
            return
        now = self.now
        at = now + longest * task.handovers.random()
        if at > task.due:
            task.due = at
        task.inbox.append((event, came))
        self._sequence += 1
        # The difference is added again, as for any delay: its rounding is a part of each course.
        heappush(self._heap, (now + (task.due - now), self._sequence, task.run, self._take_next, (task,)))

    def handle(self, task: ModelTask, event: object) -> None:
        """Feed the machine of a task, and perform its effects.

        Parameters:
            task: The task.
            event: Event of its machine.

        Raises:
            TypeError: The machine wants an effect that nobody performs, or returns no effects.
        """
        run = task.run
        if task.is_topology:
            self.acted[run.node] = run
        effects = task.machine.handle(event, run.clock_offset + run.clock_rate * self.now)
        if effects == ():
            return
        try:
            self.perform(task, effects)
        except TypeError:
            if isinstance(cast("object", effects), Iterable):
                raise
            raise TypeError(
                f"handle of the machine {task.name!r} must return a sequence of effects, () for none, got {effects!r}"
            ) from None

    def perform(self, task: ModelTask, effects: Sequence[object]) -> None:
        """Perform effects of a machine, in their order.

        Parameters:
            task: Task of the machine.
            effects: The effects.

        Raises:
            TypeError: Nobody performs one of them.
        """
        performers, listening = task.performers, self.taps.performed_of
        for effect in effects:
            kind = type(effect)
            if kind in listening:
                for tap in listening[kind]:
                    tap(task.run, effect)
            perform = performers.get(kind)
            if perform is None:
                raise TypeError(
                    f"nobody performs {effect!r} of the machine {task.name!r} in the model: give its class a function "
                    "in `performs` of the machine, or in `hears` of another one"
                )
            perform(self, task, effect)

    def call_later(self, delay: float, run: Run, action: Action, *values: object) -> None:
        """Let a run act after a while; once it wakes, if it is paused then; never, if it has ended.

        Parameters:
            delay: Seconds until then.
            run: The run.
            action: Function to be called.
            *values: Its arguments.
        """
        self._sequence += 1
        heappush(self._heap, (self.now + delay, self._sequence, run, action, values))

    def call(self, run: Run, action: Action, *values: object) -> None:
        """Let a run act now; once it wakes, if it is paused; never, if it has ended.

        Parameters:
            run: The run.
            action: Function to be called.
            *values: Its arguments.
        """
        if run.paused:
            run.held.append(partial(action, *values))
        elif run.alive:
            action(*values)

    def run_for(self, seconds: float, *, until: Callable[[], bool] | None = None) -> None:
        """Let virtual time pass.

        Parameters:
            seconds: At most so many.
            until: Function called before each event; time stops once it returns True. Its exceptions leave this call.
        """
        end, heap = self.now + seconds, self._heap
        while heap and heap[0][0] <= end:
            if until is not None and until():
                return
            self.now, _, run, action, values = heappop(heap)
            if run.paused:
                run.held.append(partial(action, *values))
            elif run.alive:
                action(*values)
        self.now = end if until is None or not until() else self.now

    def note(self, run: Run, does: str, what: Fact) -> None:
        """Record what a run does.

        Parameters:
            run: The run.
            does: A verb.
            what: Its object.
        """
        if self.trace is not None:
            self.trace.add(self.now, run.name, does, what)

    def _equip(self, run: Run, chance: random.Random) -> None:
        """Make the tasks and machines of a run; those of the membership draw from what is drawn for all."""
        for kind in run.parts.machines:
            name = kind.name
            if name in TASKS:
                draws, handovers, own = self.rng, self._handovers, chance
            else:
                draws = handovers = self._of_machines.setdefault(name, random.Random(f"{self.seed} {name}"))
                own = random.Random(f"{self.seed} {name} {run.node}")
            machine = kind.make(self, run, own)
            check_machine(name, machine)
            run.tasks[name] = ModelTask(run, kind, machine, run.parts.performers[name], draws, handovers)
        topology, gossip, availability, heartbeat = (run.tasks[name].inbox for name in TASKS)
        run.inboxes = topology, gossip, availability, heartbeat

    def _take(self, task: ModelTask, event: object, came: Came | None) -> None:
        if came is not None:
            sender, message = came
            for tap in self.taps.received_of.get(type(message), ()):
                tap(task.run, sender, message)
        self.handle(task, event)

    def _take_next(self, task: ModelTask) -> None:
        if task.inbox:  # a timer may have had it taken already
            event, came = task.inbox.popleft()
            self._take(task, event, came)

    def _send(self, task: ModelTask, effect: Send | SendIfUp) -> None:
        run, to, message, taps = task.run, effect.to, effect.message, self.taps
        kind = type(message)
        self.said[kind] = self.said.get(kind, 0) + 1
        for tap in taps.sent:
            tap(run, to, message)
        for tap in taps.sent_of.get(kind, ()):
            tap(run, to, message)
        if self.trace is not None:
            text = self._texts.get(to) or self._texts.setdefault(to, str(to))
            self.trace.add(self.now, run.name, "sends", kind.__name__, text)
        target = self.runs.get(to.address.host)
        if target is None or (to is not target.node and to.incarnation not in (0, target.node.incarnation)):
            return
        chance, lane, receive = task.chance, "", self._receive
        if not task.is_membership:
            lane, receive = task.kind.lanes.get(kind, task.name), self._deliver
        for arrival in self.arrivals(run.node, target.name, self.now, chance, lane):
            self._sequence += 1
            heappush(self._heap, (arrival, self._sequence, target, receive, (target, run.node, message)))
        if self.late_joins and kind in task.kind.late and chance.random() < self.late_joins:
            self.call_later(self.late_joins_by * chance.random(), target, self._receive_late, target, run.node, message)

    def _receive(self, run: Run, sender: UniqueAddress, message: object) -> None:
        """Take a message of the membership: a sign of life."""
        self._deliver(run, sender, message)

    def _receive_late(self, run: Run, sender: UniqueAddress, message: object) -> None:
        if self.late_joins:  # it says nothing of who is alive now, so nobody counts as heard
            self._deliver(run, sender, message)

    def _deliver(self, run: Run, sender: UniqueAddress, message: object) -> None:
        kind = type(message)
        found = run.parts.receivers.get(kind)
        if found is None:
            run.unknown[kind] += 1
            return
        task, came = run.tasks[found[0]], (sender, message)
        about = task.kind
        if about.sender == "member":
            state = run.topology.state
            if state is None or sender not in state.members:
                run.refused[kind] += 1
                return
        event = found[1](sender, message, run.clock_offset + run.clock_rate * self.now)
        if about.is_direct:
            self._take(task, event, came)
        else:
            self.hand_over(task, event, came)

    def _start_timer(self, task: ModelTask, timer: StartTimer) -> None:
        generation = task.timers[timer.key] = self._sequence + 1
        self.call_later(timer.delay / task.run.clock_rate, task.run, self._fire, task, timer.key, generation)

    def _fire(self, task: ModelTask, key: str, generation: int) -> None:
        if task.timers.get(key) != generation:
            return
        del task.timers[key]
        drained = task.kind.drains.get(key)
        if drained is not None:
            for waiting in [one for one in task.inbox if isinstance(one[0], drained)]:
                task.inbox.remove(waiting)
                self._take(task, *waiting)
        self.handle(task, TimerFired(key))

    def _publish(self, task: ModelTask, effect: PublishEvent) -> None:
        task.run.published.append((self.now, task.name, effect.event))
        self.note(task.run, "publishes", type(effect.event).__name__)

    def _write(self, task: ModelTask, effect: Note) -> None:
        task.run.notes.append(effect.text)
        self.note(task.run, "notes", effect.text)

    @classmethod
    def standard(cls) -> Performers:
        """Return the effects that each machine may ask for, and who performs them.

        Returns:
            Functions of the cluster, the task and the effect, by the class of the effect.
        """
        return {
            Send: cls._send,
            SendIfUp: cls._send,
            StartTimer: cls._start_timer,
            PublishEvent: cls._publish,
            Note: cls._write,
        }


def _task_of(run: object, machine: str) -> ModelTask:
    """Return a task of a run, for events from outside."""
    if not isinstance(run, Run):
        raise TypeError(f"hand needs a run, such as cluster.runs['a'], got {run!r}")
    if machine not in run.tasks:
        raise ConfigError(f"{run.name} has no machine {machine!r}, but {', '.join(run.tasks)}")
    return run.tasks[machine]
