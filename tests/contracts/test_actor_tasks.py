"""Actors with a task each, and actors with shared tasks: what they promise is the same."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import pytest
import trio

from casty import ActorContext, ActorRef, ActorSystem, Behavior, Behaviors, Inbox
from casty.runtime.actor.children import Children
from casty.runtime.actor.fast_shared_tasks import SharedTasks
from casty.runtime.system.context import ActorParts, spawn_cell

NOTE = ContextVar("NOTE", default="")
Spawn = Callable[[Behavior[Any], str], ActorRef[Any]]


def family_of(ctx: ActorContext[Any]) -> Children:
    """Return the children of an actor, for actors spawned as entities are."""
    return ctx._cell.own_family()


@pytest.fixture(params=["own", "shared"])
async def spawn(request, autojump_clock):
    """Spawns children of one actor, in either way."""
    contexts: list[ActorContext[Any]] = []

    async def begin(ctx: ActorContext[Any]) -> Behavior[Any]:
        contexts.append(ctx)
        return Behaviors.ignore()

    async with ActorSystem("test") as system:
        system.spawn(Behaviors.setup(begin), "parent")
        await trio.testing.wait_all_tasks_blocked()
        home = family_of(contexts[0])
        parts = ActorParts(tasks=SharedTasks(home)) if request.param == "shared" else ActorParts()
        yield lambda behavior, name: spawn_cell(home, behavior, name, None, parts, internal=False).ref


class Recorder:
    """Notes of all actors, and how they handle messages."""

    def __init__(self) -> None:
        self.notes: list[object] = []
        self.gate = trio.Event()

    def behavior(self, name: str) -> Behavior[Any]:
        async def stopped(ctx: ActorContext[Any]) -> None:
            self.notes.append((name, "stopped"))

        async def handle(ctx: ActorContext[Any], message: object) -> Behavior[Any]:
            match message:
                case "wait":
                    with trio.CancelScope():
                        await self.gate.wait()
                case "set":
                    NOTE.set(name)
                case "get":
                    message = NOTE.get()
                case "fail":
                    raise ValueError(name)
                case "stop":
                    return Behaviors.stopped()
                case "helper":
                    ctx.start_soon(self.help, name)
                case Exit():
                    raise SystemExit
            self.notes.append((name, message))
            return Behaviors.same()

        return Behaviors.with_lifecycle(Behaviors.receive(handle), post_stop=stopped)

    async def help(self, name: str) -> None:
        await trio.lowlevel.checkpoint()
        self.notes.append((name, "helped"))


class Exit:
    pass


async def settle() -> None:
    await trio.testing.wait_all_tasks_blocked()


async def test_who_waits_keeps_nobody_else_waiting(spawn: Spawn):
    seen = Recorder()
    a, b, c = [spawn(seen.behavior(name), name) for name in "abc"]
    for message in ("wait", "next"):
        a.tell(message)
    b.tell("wait")
    c.tell(1)
    await settle()
    assert seen.notes == [("c", 1)]
    c.tell(2)
    await settle()
    assert seen.notes == [("c", 1), ("c", 2)]
    seen.gate.set()
    await settle()
    assert sorted(seen.notes[2:]) == [("a", "next"), ("a", "wait"), ("b", "wait")]
    a.tell(3)
    await settle()
    assert seen.notes[-1] == ("a", 3)


async def test_context_variables_are_those_of_one_actor(spawn: Spawn):
    seen = Recorder()
    a, b = spawn(seen.behavior("a"), "a"), spawn(seen.behavior("b"), "b")
    a.tell("set")
    await settle()
    for ref in (b, a):
        ref.tell("get")
        await settle()
    assert seen.notes == [("a", "set"), ("b", ""), ("a", "a")]


async def test_one_that_fails_or_stops_runs_its_hook_and_leaves_the_others(spawn: Spawn):
    seen = Recorder()
    refs = {name: spawn(seen.behavior(name), name) for name in "abc"}
    refs["a"].tell("fail")
    refs["b"].tell("stop")
    refs["c"].tell("helper")
    await settle()
    assert sorted(seen.notes) == [("a", "stopped"), ("b", "stopped"), ("c", "helped"), ("c", "helper")]
    refs["c"].tell("last")
    await settle()
    assert seen.notes[-1] == ("c", "last")


async def test_one_is_killed_at_rest_and_while_it_waits(spawn: Spawn):
    seen = Recorder()
    a, b = spawn(seen.behavior("a"), "a"), spawn(seen.behavior("b"), "b")
    a.tell("wait")
    b.tell(1)
    await settle()
    for ref in (a, b):
        ref.cell.kill()
    await settle()
    assert sorted(map(str, seen.notes)) == ["('a', 'stopped')", "('b', 'stopped')", "('b', 1)"]


async def test_a_task_style_actor_reads_its_inbox(spawn: Spawn):
    notes: list[int] = []

    async def main(ctx: ActorContext[int], inbox: Inbox[int]) -> None:
        async for message in inbox:
            notes.append(message)

    seen = Recorder()
    a, b = spawn(Behaviors.task(main), "a"), spawn(seen.behavior("b"), "b")
    for number in range(3):
        a.tell(number)
        b.tell(number)
        await settle()
    assert notes == [0, 1, 2]
    assert seen.notes == [("b", 0), ("b", 1), ("b", 2)]


@pytest.mark.parametrize("shared", [False, True])
async def test_system_exit_of_one_ends_all_with_their_hooks(autojump_clock, shared):
    seen, refs = Recorder(), list[ActorRef[Any]]()

    async def begin(ctx: ActorContext[Any]) -> Behavior[Any]:
        home = family_of(ctx)
        parts = ActorParts(tasks=SharedTasks(home)) if shared else ActorParts()
        refs.extend(spawn_cell(home, seen.behavior(name), name, None, parts, internal=False).ref for name in "abc")
        return Behaviors.ignore()

    with pytest.raises(BaseException) as raised:
        async with ActorSystem("test") as system:
            system.spawn(Behaviors.setup(begin), "parent")
            await settle()
            refs[0].tell(1)
            refs[2].tell("wait")
            await settle()
            refs[1].tell(Exit())
            await trio.sleep(5)
    assert isinstance(raised.value, SystemExit) or raised.group_contains(SystemExit)
    assert {("a", "stopped"), ("b", "stopped"), ("c", "stopped")} <= set(seen.notes)
