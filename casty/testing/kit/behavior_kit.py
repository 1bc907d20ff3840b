"""Run a behaviour without a system, message by message, and see its actions as values."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import ClassVar, Generic, Never, TypeVar, overload

from casty import ActorContext, ActorRef, Behavior, PoisonPill, RestartRequested, ServiceKey, Terminated
from casty.config.validation import check_callable
from casty.runtime.behavior import behavior as forms
from casty.runtime.behavior.interpreter import Interpreter
from casty.runtime.behavior.signatures import check_end
from casty.testing.kit.effects import Effect
from casty.testing.kit.kit_context import END, KitContext, KitInbox, TestInbox, World
from casty.testing.kit.stepping import Stepper, run_now

E = TypeVar("E", bound=Effect)
M = TypeVar("M")
N = TypeVar("N")

OWN_MESSAGES_MAX = 1_000
"""Messages to itself handled by `BehaviorTestKit.run_own`, before it takes them for an endless chain."""


class KitHost:
    """In the place of the actor, for the interpreter of its behaviour."""

    def __init__(self, path: str, context: ActorContext[object]) -> None:
        self.path = path
        self.context = context
        self.wants_restart = False

    def announce(self, services: list[ServiceKey[Never]]) -> None:
        """Offer it to nobody: there is no receptionist."""

    def choose_restart(self) -> None:
        """Take note of the answer ``restart``."""
        self.wants_restart = True

    def note_unhandled(self, message: object) -> None:
        """Tell nobody: the test sees the answer itself."""


class BehaviorTestKit(Generic[M]):
    """Runs one behaviour synchronously: no loop, no other actors, no time.

    Making a kit starts the behaviour: its setup and ``pre_start`` run. Children, timers, watches and tasks are effects,
    they do not run. An ``await`` with a real wait is a WouldWait. An exception of the behaviour leaves the call running
    it, and is the end of it: no strategy is asked. A later failure of its clean-up is a note of the first one.

    >>> from casty.testing import BehaviorTestKit, Scheduled
    >>> async def remind(ctx: ActorContext[str], message: str) -> Behavior[str]:
    ...     ctx.schedule_once(message.upper(), 5.0)
    ...     return Behaviors.stopped() if message == "STOP" else Behaviors.same()
    >>> kit = BehaviorTestKit(Behaviors.receive(remind))
    >>> kit.run("stop")
    Behaviors.same()
    >>> kit.expect_effect(Scheduled("STOP", delay=5.0))
    Scheduled(message='STOP', delay=5.0, interval=None, key=None, fixed_delay=False)
    >>> kit.run("STOP"), kit.is_alive
    (Behaviors.stopped(), False)

    Parameters:
        behavior: Behaviour to test.
        name: Name of the actor; its path is ``/name``.

    Raises:
        WouldWait: The setup or ``pre_start`` waits for something.
    """

    __test__: ClassVar[bool] = False

    def __init__(self, behavior: Behavior[M], *, name: str = "kit") -> None:
        self._world = World(name)
        self._context: ActorContext[object] = KitContext(self._world)
        self._host = KitHost(self._world.path, self._context)
        self._life = Interpreter()
        self._main: Stepper[None] | None = None
        self._alive = True
        self._behavior: Behavior[Never] = behavior
        self._returned: Behavior[Never] = behavior
        self._guarded(self._begin, behavior)

    def __repr__(self) -> str:
        state = "alive" if self._alive else "ended"
        return f"<BehaviorTestKit {self._world.path} {state} effects={len(self._world.effects)}>"

    @property
    def ref(self) -> ActorRef[M]:
        """The behaviour's own ref. Messages told to it wait for `run_own`."""
        return self._world.ref

    @property
    def is_alive(self) -> bool:
        """Whether the behaviour takes messages: it did not stop, fail or return."""
        return self._alive

    @property
    def returned(self) -> Behavior[Never]:
        """The latest answer of a handler, such as ``Behaviors.same()`` or ``Behaviors.unhandled()``."""
        return self._returned

    @property
    def children(self) -> tuple[ActorRef[Never], ...]:
        """Children spawned and not reported as Terminated."""
        return self._context.children

    def inbox(self, name: str = "inbox", respond: Callable[[N], None] | None = None) -> TestInbox[N]:
        """Make an inbox, whose ref goes into messages for the behaviour; telling it is a `Told`.

        ``replies: TestInbox[int] = kit.inbox("replies")`` declares the type of its messages.

        Parameters:
            name: Name of the inbox; its path is ``/name``.
            respond: Plain function, called with each message as it comes; it may answer. None keeps the messages
                only.

        Returns:
            The inbox.

        Raises:
            TypeError: ``respond`` cannot be called, or is an async function.
        """
        if respond is not None:
            check_callable("inbox", respond, "as respond a function of a message")
        return TestInbox(lambda take: self._world.ref_at(f"/{name}", take), respond)

    def run(self, message: M | Terminated | PoisonPill) -> Behavior[Never]:
        """Handle a message with the behaviour, or the end of a watched actor.

        A task-style behaviour runs until it wants the next message. An exception of the behaviour leaves this call.

        Parameters:
            message: A message of the actor's type; Terminated of a watched actor; PoisonPill.

        Returns:
            The behaviour's answer; of a task-style one ``same``, or ``stopped`` when it returned.

        Raises:
            AssertionError: The behaviour has ended, or Terminated names an actor without a watch.
            DeathPactError: The behaviour has answered a Terminated with ``unhandled``.
            WouldWait: The handler waits for something.
        """
        if not self._alive:
            raise AssertionError(f"{self._world.path} has ended, so it cannot handle {message!r}")
        if isinstance(message, Terminated):
            self._terminated(message)
        self._guarded(self._handle, message)
        return self._returned

    def run_own(self) -> int:
        """Handle the messages of the behaviour to itself, adapted and unstashed ones too.

        Returns:
            Number of messages handled.

        Raises:
            AssertionError: There are more than 1,000: an endless chain.
            WouldWait: A handler waits for something.
        """
        own = self._world.own_messages
        for handled in range(OWN_MESSAGES_MAX):
            if not own or not self._alive:
                return handled
            self._guarded(self._handle, own.popleft())
        raise AssertionError(f"{self._world.path} told itself more than {OWN_MESSAGES_MAX} messages")

    def stop(self) -> None:
        """Stop the behaviour as its system would: a task's inbox ends, then ``post_stop`` runs.

        Raises:
            AssertionError: A task goes on after the end of its inbox.
        """
        if self._alive:
            self._guarded(self._stop)

    def effects(self) -> list[Effect]:
        """Take the behaviour's actions since the last time, and forget them.

        Returns:
            The effects in their order.
        """
        done = list(self._world.effects)
        self._world.effects.clear()
        return done

    @overload
    def expect_effect(self, expected: type[E]) -> E: ...

    @overload
    def expect_effect(self, expected: E) -> E: ...

    def expect_effect(self, expected: object) -> object:
        """Take the first effect of this type, or equal to this value, and forget it alone.

        Parameters:
            expected: A class of effects, or an effect.

        Returns:
            The effect found.

        Raises:
            AssertionError: There is none; the message lists those there are.
        """
        for index, effect in enumerate(self._world.effects):
            if isinstance(effect, expected) if isinstance(expected, type) else effect == expected:
                del self._world.effects[index]
                return effect
        found = "".join(f"\n  {effect!r}" for effect in self._world.effects) or " none"
        raise AssertionError(f"expected the effect {expected!r}, found{found}")

    def expect_no_effects(self) -> None:
        """Check that no effect is left unseen.

        Raises:
            AssertionError: There is one; the message tells which.
        """
        if self._world.effects:
            found = "".join(f"\n  {effect!r}" for effect in self._world.effects)
            raise AssertionError(f"expected no effects, found{found}")

    def _guarded(self, step: Callable[..., None], *args: object) -> None:
        """Take a step; when it fails, clean up as a system would, and raise."""
        try:
            step(*args)
            if self._world.stop_requested and self._alive:
                self._stop()
        except BaseException as failure:
            try:
                self._end()
            except Exception as late:  # reported second by an actor, too: the first is the one to mend
                failure.add_note(f"then the clean-up of {self._world.path} failed with {late!r}")
            raise
        if not self._alive:
            self._end()

    def _begin(self, behavior: Behavior[Never]) -> None:
        self._alive = run_now(self._life.become(behavior, self._host))
        self._start_main()

    def _start_main(self) -> None:
        if self._alive and self._life.main is not None and self._main is None and not self._world.stop_requested:
            self._world.is_task_style = True
            self._main = Stepper(_run_main(self._life.main, self._host, self._world))
            self._main.step()
            self._note_main()

    def _note_main(self) -> None:
        if self._main is not None:
            self._alive = not self._main.is_done
            self._returned = forms.SAME if self._alive else forms.STOPPED

    def _handle(self, message: object) -> None:
        if isinstance(message, PoisonPill):
            self._stop()
        elif self._main is not None:
            self._main.step(message)
            self._note_main()
        else:
            run_now(self._answer(message))
            self._start_main()

    async def _answer(self, message: object) -> None:
        assert self._life.handler is not None
        self._returned = answer = await self._life.handler(self._context, message)
        is_going_on = await self._life.follow(answer, message, self._host)
        if self._host.wants_restart:
            self._host.wants_restart = False
            is_going_on = not self._world.stop_requested and await self._restart()
        self._alive = is_going_on or self._life.main is not None

    async def _restart(self) -> bool:
        """Begin again, as the behaviour has asked for itself; its children are stopped first."""
        ended, self._life = self._life, Interpreter(self._life.strategies)
        for child in self._context.children:
            self._context.stop(child)
            del self._world.children[child.path]
        error = RestartRequested(f"{self._world.path} asked for a restart")
        await _run_all(ended.before_restart(self._context, error))
        self._world.end_life()
        if not await self._life.become(self._behavior, self._host):
            return False
        await self._life.after_restart(self._context)
        return True

    def _terminated(self, message: Terminated) -> None:
        if message.ref not in self._world.watched:
            raise AssertionError(f"{message.ref.path} is not watched, so its end would not be told")
        del self._world.watched[message.ref]
        if self._world.children.get(message.ref.path) == message.ref:  # another child may have the name by now
            del self._world.children[message.ref.path]

    def _stop(self) -> None:
        if self._main is not None and self._world.has_read:
            self._main.step(END)
            if not self._main.is_done:
                self._main.close()
                raise AssertionError(f"{self._world.path} goes on after the end of its inbox")
        self._alive, self._returned = False, forms.STOPPED

    def _end(self) -> None:
        self._alive = False
        if self._main is not None:
            self._main.close()
        ended, self._life = self._life, Interpreter()
        if ending := ended.at_end(self._context):
            run_now(_run_all(ending))


async def _run_main(main: forms.Main, host: KitHost, world: World) -> None:
    check_end(await main(host.context, KitInbox(world)), host.path)


async def _run_all(hooks: Sequence[Callable[[], Awaitable[None]]]) -> None:
    """Run all hooks, in order; raise the first failure after the last one."""
    failed: Exception | None = None
    for hook in hooks:
        try:
            await hook()
        except Exception as error:  # raised below: each hook has its turn, as in an actor
            failed = failed or error
    if failed is not None:
        raise failed
