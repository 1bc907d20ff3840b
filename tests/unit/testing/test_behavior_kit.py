"""A behaviour in a kit: what it does is told as values, and nothing else runs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator

import pytest
import trio
from helpers.messages import Get

from casty import (
    ActorContext,
    Behavior,
    Behaviors,
    EntityKey,
    EventStreamSubscribe,
    Inbox,
    Mailbox,
    PoisonPill,
    Publish,
    Restart,
    ServiceKey,
    Terminated,
)
from casty.testing import (
    AdapterMade,
    BehaviorTestKit,
    Cancelled,
    Piped,
    RepliedError,
    Scheduled,
    Spawned,
    Stopped,
    TaskStarted,
    TestInbox,
    Told,
    Unwatched,
    Watched,
    WouldWait,
)

SAME = Behaviors.same()


Command = int | Get | str | Terminated
Main = Callable[[ActorContext[int], Inbox[int]], Awaitable[None]]
Does = Callable[[ActorContext[Command]], object]


def kit_doing(does: Does) -> BehaviorTestKit[Command]:
    """Return a kit whose behaviour does one thing for each message, if that is a word."""

    async def handle(ctx: ActorContext[Command], message: Command) -> Behavior[Command]:
        if isinstance(message, str):
            result = does(ctx)
            if isinstance(result, Awaitable):
                await result
        return Behaviors.same()

    return BehaviorTestKit(Behaviors.receive(handle), name="tested")


async def counter(ctx: ActorContext[Command]) -> Behavior[Command]:
    count = 0

    async def handle(ctx: ActorContext[Command], message: Command) -> Behavior[Command]:
        nonlocal count
        match message:
            case int():
                count += message
            case Get(reply_to):
                reply_to.tell(count)
            case "stop":
                return Behaviors.stopped()
            case _:
                return Behaviors.unhandled()
        return Behaviors.same()

    return Behaviors.receive(handle)


async def counting(ctx: ActorContext[Command], inbox: Inbox[Command]) -> None:
    count = 0
    async for message in inbox:
        match message:
            case int():
                count += message
            case Get(reply_to):
                await reply_to.send(count)
            case "stop":
                return
            case "fail":
                raise KeyError(count)
            case _:
                await trio.lowlevel.checkpoint()
    ctx.schedule_once(0, 1.0, key="ended")


@pytest.mark.parametrize("behavior", [Behaviors.setup(counter), Behaviors.task(counting)], ids=["receive", "task"])
def test_messages_are_handled_one_by_one(behavior: Behavior[Command]) -> None:
    kit = BehaviorTestKit(behavior)
    replies: TestInbox[int] = kit.inbox("replies")
    assert [kit.run(1), kit.run(2)] == [SAME, SAME]
    kit.run(Get(replies.ref))
    assert replies.take() == 3
    assert kit.effects() == [Told(replies.ref, 3)]
    kit.run("stop")
    assert not kit.is_alive
    assert kit.returned is Behaviors.stopped()
    with pytest.raises(AssertionError, match="/kit has ended, so it cannot handle 4"):
        kit.run(4)


def test_unhandled_is_an_answer() -> None:
    kit = BehaviorTestKit(Behaviors.setup(counter))
    assert kit.run("what?") is Behaviors.unhandled()
    assert kit.returned is Behaviors.unhandled()
    assert kit.is_alive


async def test_a_kit_works_inside_of_a_trio_test_too() -> None:
    kit = BehaviorTestKit(Behaviors.task(counting))
    replies: TestInbox[int] = kit.inbox()
    kit.run(5)
    kit.run("checkpoint")
    kit.run(Get(replies.ref))
    assert replies.messages == (5,)
    with pytest.raises(WouldWait, match=r"wait_for_event \(line \d+\) waits in Event.wait"):
        kit_doing(lambda ctx: wait_for_event()).run("go")
    await trio.lowlevel.checkpoint()


def test_a_kit_works_under_asyncio_too() -> None:
    async def main() -> int:
        kit = BehaviorTestKit(Behaviors.task(counting))
        replies: TestInbox[int] = kit.inbox()
        kit.run("checkpoint")
        kit.run(Get(replies.ref))
        return replies.take()

    assert asyncio.run(main()) == 0


def test_a_handler_that_answers_with_another_behaviour_becomes_it() -> None:
    async def first(ctx: ActorContext[int], message: int) -> Behavior[int]:
        return Behaviors.receive(second)

    async def second(ctx: ActorContext[int], message: int) -> Behavior[int]:
        ctx.schedule_once(message, 1.0)
        return Behaviors.same()

    kit = BehaviorTestKit(Behaviors.receive(first))
    kit.run(1)
    kit.expect_no_effects()
    kit.run(2)
    assert kit.effects() == [Scheduled(2, 1.0)]


def child() -> Behavior[int]:
    return Behaviors.ignore()


def test_spawning_watching_and_stopping_a_child_are_effects() -> None:
    async def setup(ctx: ActorContext[Command]) -> Behavior[Command]:
        worker = ctx.spawn(child(), "worker", mailbox=Mailbox(7))
        ctx.watch(worker)
        worker.tell(1)

        async def handle(ctx: ActorContext[Command], message: Command) -> Behavior[Command]:
            if message == "drop":
                ctx.unwatch(worker)
                ctx.stop(worker)
            return Behaviors.stopped() if isinstance(message, Terminated) else Behaviors.same()

        return Behaviors.receive(handle)

    kit = BehaviorTestKit(Behaviors.setup(setup))
    spawned = kit.expect_effect(Spawned)
    assert (spawned.name, spawned.ref.path, spawned.mailbox) == ("worker", "/kit/worker", Mailbox(7))
    assert kit.effects() == [Watched(spawned.ref), Told(spawned.ref, 1)]
    assert kit.children == (spawned.ref,)
    kit.run(Terminated(spawned.ref))
    assert (kit.is_alive, kit.children) == (False, ())

    again = BehaviorTestKit(Behaviors.setup(setup))
    ref = again.expect_effect(Spawned).ref
    again.effects()
    again.run("drop")
    assert again.effects() == [Unwatched(ref), Stopped(ref)]
    with pytest.raises(AssertionError, match="/kit/worker is not watched"):
        again.run(Terminated(ref))


def test_waiting_for_the_end_of_a_child_frees_its_name_at_once() -> None:
    async def replace(ctx: ActorContext[Command]) -> None:
        for old in ctx.children:
            await ctx.stopped(old, drain=1.0)
            await ctx.stopped(old)
        ctx.watch(ctx.spawn(child(), "worker"))

    kit = kit_doing(replace)
    kit.run("go")
    first = kit.expect_effect(Spawned).ref
    assert kit.effects() == [Watched(first)]
    kit.run("go")
    assert kit.expect_effect(Stopped) == Stopped(first)
    second = kit.expect_effect(Spawned).ref
    assert second != first
    assert kit.effects() == [Watched(second)]
    kit.run(Terminated(first))  # which it still is told, and which is not the end of the second
    assert kit.children == (second,)


def test_the_kit_too_waits_for_children_only() -> None:
    async def slip(ctx: ActorContext[Command]) -> None:
        await ctx.stopped(ctx.self)

    async def negative(ctx: ActorContext[Command]) -> None:
        await ctx.stopped(ctx.spawn(child(), "worker"), drain=-1.0)

    with pytest.raises(ValueError, match="/tested waits for the end of its own children only"):
        kit_doing(slip).run("go")
    with pytest.raises(ValueError, match="drain must be a finite number"):
        kit_doing(negative).run("go")


def test_slips_at_the_context_are_found_as_in_a_system() -> None:
    slips: list[tuple[Does, type[Exception], str]] = [
        (lambda ctx: ctx.watch(ctx.self), ValueError, "cannot watch itself"),
        (lambda ctx: [ctx.spawn(child(), "twice") for _ in range(2)], ValueError, "already"),
        (lambda ctx: ctx.spawn(child(), "a/b"), ValueError, "must be text"),
        (lambda ctx: ctx.spawn(child, "x"), TypeError, "needs a Behavior"),  # type: ignore[arg-type]  # the slip
        (lambda ctx: ctx.schedule_once(1, -1.0), ValueError, "delay must be"),
        (lambda ctx: ctx.schedule_tick(1, 0.0), ValueError, "interval must be"),
        (lambda ctx: ctx.pipe_to_self(1), TypeError, "takes an async function"),  # type: ignore[arg-type]  # the slip
        (lambda ctx: ctx.start_soon(1), TypeError, "takes an async function"),  # type: ignore[arg-type]  # the slip
    ]
    for does, error, text in slips:
        kit = kit_doing(does)
        with pytest.raises(error, match=text):
            kit.run("go")
        assert not kit.is_alive


def test_timers_are_effects_with_the_key_that_was_chosen() -> None:
    def does(ctx: ActorContext[Command]) -> None:
        ctx.schedule_once(1, 0.5)
        ctx.cancel_timer(ctx.schedule_tick(2, 0.25, key="tick"))

    kit = kit_doing(does)
    kit.run("go")
    assert kit.effects() == [Scheduled(1, 0.5), Scheduled(2, 0.25, interval=0.25, key="tick"), Cancelled("tick")]


async def fetch(number: int) -> int:
    return number


def test_tasks_do_not_run() -> None:
    def does(ctx: ActorContext[Command]) -> None:
        ctx.start_soon(fetch, 1)
        ctx.pipe_to_self(fetch, 2, mapper=lambda result: result + 1)

    kit = kit_doing(does)
    kit.run("go")
    assert kit.expect_effect(TaskStarted(fetch, (1,)))
    piped = kit.expect_effect(Piped)
    assert (piped.async_fn, piped.args) == (fetch, (2,))
    assert piped.mapper is not None and piped.mapper(2) == 3


def test_what_is_told_to_the_own_ref_and_to_adapters_waits_for_run_own() -> None:
    async def handle(ctx: ActorContext[Command], message: Command) -> Behavior[Command]:
        match message:
            case "adapt":
                ctx.message_adapter(len, str).tell("four")
                ctx.self.tell(1)
            case int() if message < 3:
                ctx.self.tell(message + 1)
            case _:
                ctx.schedule_once(message, 1.0)
        return Behaviors.same()

    kit: BehaviorTestKit[Command] = BehaviorTestKit(Behaviors.receive(handle))
    kit.run("adapt")
    assert kit.expect_effect(AdapterMade).ref.path.startswith("/kit/_adapter-")
    assert kit.effects() == [Told(kit.ref, 4), Told(kit.ref, 1)]
    assert kit.run_own() == 4
    assert [effect for effect in kit.effects() if isinstance(effect, Scheduled)] == [
        Scheduled(4, 1.0),
        Scheduled(3, 1.0),
    ]
    assert kit.run_own() == 0


def test_an_actor_that_keeps_itself_busy_does_not_hang_the_kit() -> None:
    async def handle(ctx: ActorContext[int], message: int) -> Behavior[int]:
        ctx.self.tell(message)
        return Behaviors.same()

    kit = BehaviorTestKit(Behaviors.receive(handle))
    kit.run(1)
    with pytest.raises(AssertionError, match="told itself more than 1000 messages"):
        kit.run_own()


def test_an_inbox_can_answer_what_the_behaviour_asks() -> None:
    async def handle(ctx: ActorContext[str], message: str) -> Behavior[str]:
        first: int = await ctx.ask(stock.ref, Get)
        second: int = await ctx.system.ask(stock.ref, Get)
        ctx.self.tell(f"{first + second}")
        return Behaviors.same()

    kit = BehaviorTestKit(Behaviors.receive(handle))
    stock: TestInbox[Get] = kit.inbox("stock", lambda message: message.reply_to.tell(21))
    kit.run("go")
    assert kit.expect_effect(Told(kit.ref, "42"))
    assert len(stock.messages) == 2


def test_an_ask_that_nobody_answers_says_so() -> None:
    kit = kit_doing(lambda ctx: ctx.ask(silent.ref, Get, timeout=2.0))
    silent: TestInbox[Get] = kit.inbox("silent")
    with pytest.raises(WouldWait, match=r"handle \(line \d+\) waits for a reply from /silent \(at most 2 s\)"):
        kit.run("go")


async def wait_for_event() -> None:
    await trio.Event().wait()


async def wait_in_a_nursery() -> None:
    async with trio.open_nursery() as nursery:
        await wait_for_event()
        nursery.cancel_scope.cancel()


async def wait_for_a_child() -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.lowlevel.checkpoint)


async def poll() -> None:
    while True:
        await trio.lowlevel.checkpoint()


class Foreign:
    """Awaitable on another library's loop only."""

    def __await__(self) -> Generator[object, object, None]:
        yield self


async def clean_up_slowly() -> None:
    try:
        await trio.sleep_forever()
    finally:
        with trio.move_on_after(60, shield=True):
            await trio.sleep_forever()


@pytest.mark.parametrize(
    ("waits", "text"),
    [
        (wait_for_event, r"wait_for_event \(line \d+\) waits in Event.wait"),
        (trio.sleep_forever, "waits in sleep_forever"),
        (wait_in_a_nursery, r"wait_for_event \(line \d+\) waits in Event.wait"),
        (wait_for_a_child, r"wait_for_a_child \(line \d+\) waits in NurseryManager.__aexit__"),
        (clean_up_slowly, "waits in sleep_forever"),
        (Foreign, "waits in a foreign awaitable"),
        (poll, "passes 10000 checkpoints"),
    ],
)
def test_an_await_that_really_waits_is_an_error(waits: Callable[[], Awaitable[object]], text: str) -> None:
    kit = kit_doing(lambda ctx: waits())
    with pytest.raises(WouldWait, match=text):
        kit.run("go")
    assert not kit.is_alive


async def test_a_wait_that_is_refused_leaves_the_trio_test_unharmed() -> None:
    event = trio.Event()
    with pytest.raises(WouldWait):
        kit_doing(lambda ctx: event.wait()).run("go")
    with pytest.raises(WouldWait):
        kit_doing(lambda ctx: wait_in_a_nursery()).run("go")
    with pytest.raises(WouldWait):
        kit_doing(lambda ctx: wait_for_a_child()).run("go")
    event.set()
    with trio.move_on_after(0) as scope:
        await trio.sleep_forever()
    assert scope.cancelled_caught


def test_a_cancel_scope_within_one_handler_works() -> None:
    async def handle(ctx: ActorContext[int], message: int) -> Behavior[int]:
        with trio.fail_after(5):
            await trio.lowlevel.checkpoint()
        with trio.CancelScope() as scope:
            scope.cancel()
            await trio.lowlevel.checkpoint()
        return Behaviors.stopped() if scope.cancelled_caught else Behaviors.same()

    kit = BehaviorTestKit(Behaviors.receive(handle))
    kit.run(1)
    assert not kit.is_alive


async def holds_a_nursery(ctx: ActorContext[int], inbox: Inbox[int]) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
        async for _ in inbox:
            ctx.cancel_timer("x")


async def holds_a_scope(ctx: ActorContext[int], inbox: Inbox[int]) -> None:
    with trio.CancelScope():
        async for _ in inbox:
            ctx.cancel_timer("x")


@pytest.mark.parametrize("main", [holds_a_scope, holds_a_nursery])
def test_a_task_that_holds_a_scope_between_messages_is_told_to_go_to_a_system(main: Main) -> None:
    with pytest.raises(WouldWait, match=rf"{main.__name__} \(line \d+\) keeps a cancel scope or a nursery open"):
        BehaviorTestKit(Behaviors.task(main))


@pytest.mark.parametrize("main", [holds_a_scope, holds_a_nursery])
async def test_a_task_that_holds_a_scope_leaves_the_trio_test_unharmed(main: Main) -> None:
    with pytest.raises(WouldWait, match="keeps a cancel scope"):
        BehaviorTestKit(Behaviors.task(main))
    with trio.move_on_after(0) as scope:
        await trio.sleep_forever()
    assert scope.cancelled_caught


def lifecycle(behavior: Behavior[Command], notes: list[str]) -> Behavior[Command]:
    async def pre_start(ctx: ActorContext[Command]) -> None:
        notes.append("pre_start")

    async def post_stop(ctx: ActorContext[Command]) -> None:
        notes.append("post_stop")

    return Behaviors.with_lifecycle(behavior, pre_start=pre_start, post_stop=post_stop)


def test_hooks_run_at_the_start_and_at_every_end() -> None:
    notes: list[str] = []
    kit = BehaviorTestKit(lifecycle(Behaviors.setup(counter), notes))
    assert notes == ["pre_start"]
    kit.run("stop")
    assert notes == ["pre_start", "post_stop"]

    stopped = BehaviorTestKit(lifecycle(Behaviors.task(counting), notes))
    stopped.stop()
    assert notes[2:] == ["pre_start", "post_stop"]
    assert stopped.effects() == [Scheduled(0, 1.0, key="ended")]
    stopped.stop()

    failing = BehaviorTestKit(lifecycle(Behaviors.task(counting), notes))
    with pytest.raises(KeyError):
        failing.run("fail")
    assert notes[4:] == ["pre_start", "post_stop"]
    assert not failing.is_alive


def test_what_setup_raises_leaves_the_making_of_the_kit() -> None:
    async def broken(ctx: ActorContext[int]) -> Behavior[int]:
        raise KeyError("setup")

    with pytest.raises(KeyError, match="setup"):
        BehaviorTestKit(Behaviors.setup(broken))


def test_expect_effect_takes_one_and_tells_what_there_is() -> None:
    kit = kit_doing(lambda ctx: [ctx.cancel_timer(key) for key in "abc"])
    kit.run("go")
    assert kit.expect_effect(Cancelled("b")) == Cancelled("b")
    assert kit.expect_effect(Cancelled) == Cancelled("a")
    with pytest.raises(AssertionError, match=r"expected the effect .*Stopped.*, found\s+Cancelled\(key='c'\)"):
        kit.expect_effect(Stopped)
    with pytest.raises(AssertionError, match="expected no effects"):
        kit.expect_no_effects()
    assert kit.effects() == [Cancelled("c")]
    with pytest.raises(AssertionError, match="found none"):
        kit.expect_effect(Cancelled("c"))
    kit.expect_no_effects()


def test_the_event_stream_is_an_inbox_like_others() -> None:
    def does(ctx: ActorContext[Command]) -> None:
        ctx.system.event_stream.tell(Publish("news"))
        ctx.system.event_stream.tell(EventStreamSubscribe(str, ctx.self))
        ctx.system.spawn(child(), "beside")
        ctx.log.debug("working")

    kit = kit_doing(does)
    kit.run("go")
    stream = kit.expect_effect(Told).ref
    assert stream.path == "/_event_stream"
    assert kit.expect_effect(Told) == Told(stream, EventStreamSubscribe(str, kit.ref))
    assert kit.expect_effect(Spawned).ref.path == "/beside"
    assert kit.children == ()


def test_what_the_kit_has_no_effect_for_says_where_to_test_it() -> None:
    with pytest.raises(RuntimeError, match="no system behind it.* in an ActorSystem with a TestProbe"):
        kit_doing(lambda ctx: ctx.system.statistics()).run("go")


def test_a_discoverable_behaviour_runs_and_something_else_is_refused() -> None:
    key = ServiceKey[int]("numbers")
    assert BehaviorTestKit(Behaviors.discoverable(Behaviors.ignore(), key=key)).run(1) is SAME
    with pytest.raises(TypeError, match="/kit needs a Behavior here, such as"):
        BehaviorTestKit(42)  # type: ignore[arg-type]  # the slip
    assert not BehaviorTestKit(Behaviors.stopped()).is_alive


def test_an_error_for_an_asker_is_an_effect() -> None:
    kit = kit_doing(lambda ctx: ctx.reply_error(replies.ref, "out of stock"))
    replies: TestInbox[int] = kit.inbox("replies")
    kit.run("go")
    assert kit.effects() == [RepliedError(replies.ref, "out of stock")]


def test_a_poison_pill_stops_the_behaviour_and_a_strategy_is_not_asked() -> None:
    kit = BehaviorTestKit(Behaviors.supervise(Behaviors.task(counting), Restart()))
    assert kit.run(PoisonPill()) is Behaviors.stopped()
    assert kit.effects() == [Scheduled(0, 1.0, key="ended")]
    failing = BehaviorTestKit(Behaviors.supervise(Behaviors.task(counting), Restart()))
    with pytest.raises(KeyError):
        failing.run("fail")
    assert not failing.is_alive


def test_repr_tells_the_state() -> None:
    kit = kit_doing(lambda ctx: ctx.cancel_timer(1))
    kit.run("go")
    assert repr(kit) == "<BehaviorTestKit /tested alive effects=1>"
    inbox: TestInbox[int] = kit.inbox("replies")
    assert repr(inbox) == "<TestInbox /replies messages=0>"
    with pytest.raises(AssertionError, match="expected a message at /replies, found none"):
        inbox.take()


def test_nobody_in_a_kit_waits_for_a_reply() -> None:
    seen: list[float] = []

    async def handle(ctx: ActorContext[str], message: str) -> Behavior[str]:
        seen.append(ctx.deadline)
        return Behaviors.same()

    BehaviorTestKit(Behaviors.receive(handle)).run("a")
    assert seen == [float("inf")]


def test_a_restart_by_choice_ends_what_belongs_to_a_life() -> None:
    async def make(ctx: ActorContext[str]) -> Behavior[str]:
        stash = ctx.stash_buffer(10)
        ctx.watch(ctx.spawn(Behaviors.ignore(), "child"))
        ctx.schedule_tick("tick", 1.0, key="tick")

        async def handle(ctx: ActorContext[str], message: str) -> Behavior[str]:
            if message == "again":
                return Behaviors.restart()
            handled.append((message, ctx.is_timer_active("old")))
            if message == "later":
                ctx.schedule_once("old", 1.0, key="old")
                stash.stash(message)
            return Behaviors.same()

        return Behaviors.receive(handle)

    handled: list[tuple[str, bool]] = []
    kit: BehaviorTestKit[str] = BehaviorTestKit(Behaviors.setup(make))
    first = kit.expect_effect(Spawned).ref
    kit.run("later")
    kit.effects()
    kit.run("again")
    assert [type(effect) for effect in kit.effects()] == [Stopped, Spawned, Watched, Scheduled]
    assert len(kit.children) == 1 and first not in kit.children
    assert kit.run_own() == 1
    assert handled == [("later", False), ("later", False)]
    with pytest.raises(AssertionError, match="is not watched"):
        kit.run(Terminated(first))


def test_messages_to_entities_are_effects_of_refs_equal_by_kind_and_id() -> None:
    carts, clock = EntityKey[int]("carts"), EntityKey[int]("clock")

    def tell(ctx: ActorContext[Command]) -> None:
        ctx.entity(carts, "a").tell(1)
        ctx.singleton(clock).tell(2)
        with pytest.raises(ValueError, match="an entity has no end"):
            ctx.watch(ctx.entity(carts, "a"))
        with pytest.raises(ValueError, match="1 to 255 characters"):
            ctx.entity(carts, "")

    kit = kit_doing(tell)
    kit.run("go")
    told = [(effect.ref.address.path, effect.message) for effect in kit.effects() if isinstance(effect, Told)]
    assert told == [("/carts/a", 1), ("/clock/singleton", 2)]
