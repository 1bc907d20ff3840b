"""Shapes of the functions handed in by users, for a behaviour above all, checked where they are handed in.

A mistake is a TypeError at its own line, instead of a failure of an actor later. Facts unknown before a call, such as
the result of a lambda, are left to the call.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from types import BuiltinFunctionType, CodeType, CoroutineType, FunctionType
from typing import Final, ParamSpec, TypeVar, cast, get_origin

from casty.config.validation import check_callable
from casty.runtime.annotations import annotated
from casty.runtime.behavior.behavior import SAME, Behavior
from casty.runtime.messaging.inbox import Inbox

P = ParamSpec("P")
T = TypeVar("T")

NOT_SYNC: Final = inspect.CO_COROUTINE | inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR


@dataclass(frozen=True, slots=True)
class Shape:
    """Argument expected by one of the makers of behaviours."""

    maker: str
    parameters: int
    text: str

    def refusal(self, function: object, fault: str) -> TypeError:
        """Return the error: the fault of ``function``, and the expected form."""
        return TypeError(f"{self.maker} needs `{self.text}`, and {_name_of(function)} {fault}")


RECEIVE: Final = Shape("Behaviors.receive", 2, "async def handler(ctx, message) -> Behavior")
SETUP: Final = Shape("Behaviors.setup", 1, "async def factory(ctx) -> Behavior")
TASK: Final = Shape("Behaviors.task", 2, "async def main(ctx, inbox) -> None")
TIMERS: Final = Shape("Behaviors.with_timers", 1, "async def factory(timers) -> Behavior")
STASH: Final = Shape("Behaviors.with_stash", 1, "async def factory(stash) -> Behavior")
INTERCEPT: Final = Shape("Behaviors.intercept", 3, "async def interceptor(ctx, message, target) -> Behavior")
HOOK: Final = Shape("Behaviors.with_lifecycle", 1, "async def hook(ctx) -> None")
PRE_RESTART: Final = Shape("Behaviors.with_lifecycle", 2, "async def pre_restart(ctx, exception) -> None")
DECIDE: Final = Shape("Behaviors.event_sourced", 2, "def decide(state, command) -> Effect")
APPLY: Final = Shape("Behaviors.event_sourced", 2, "def apply(state, event) -> state")
DECIDE_STATE: Final = Shape("Behaviors.durable_state", 2, "def decide(state, command) -> Effect")
DECIDE_ASYNC: Final = Shape("Behaviors.event_sourced_actor", 3, "async def decide(ctx, state, command) -> Effect")


def check_function(function: object, shape: Shape) -> None:
    """Raise TypeError unless ``function`` can be called as ``shape`` says; objects with a ``__call__`` pass."""
    if not callable(function):
        called = _is_result(function)
        fault = "is the result of a call: leave the brackets out" if called else "is no function"
        raise shape.refusal(function, fault)
    bound = 1 if inspect.ismethod(function) else 0
    code: object = getattr(function, "__code__", None)
    if not isinstance(code, CodeType):
        return
    fault = _plain_fault(function, code)
    if fault:
        raise shape.refusal(function, fault)
    _check_count(function, code, bound, shape)
    if shape.parameters == 2 and code.co_argcount > bound + 1:
        _check_kind(function, code.co_varnames[bound + 1], shape)


def check_pure(function: object, shape: Shape) -> None:
    """Raise TypeError unless ``function`` is a plain one that can be called as ``shape`` says."""
    if not callable(function):
        raise shape.refusal(function, "is no function")
    if isinstance(function, FunctionType) and _is_plain(function, shape):
        return
    if inspect.iscoroutinefunction(function):
        advice = "; Behaviors.event_sourced_actor takes an async decide" if "decide" in shape.text else ""
        raise shape.refusal(function, f"is async: write def{advice}")
    code: object = getattr(function, "__code__", None)
    if isinstance(code, CodeType):
        if code.co_flags & (inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR):
            raise shape.refusal(function, "contains a yield: return all of it at once")
        _check_count(function, code, 1 if inspect.ismethod(function) else 0, shape)


def check_behavior(value: object, maker: str) -> None:
    """Raise TypeError unless ``value`` is a behaviour."""
    if not isinstance(value, Behavior):
        raise TypeError(f"{maker} needs a Behavior, made by Behaviors, got {value!r}{_brackets(value)}")


def check_async_function(value: object, taker: str) -> None:
    """Raise TypeError for a value that is no async function, such as the coroutine of a call made already."""
    if not callable(value):
        called = ": give the function and its arguments, not a call of it" if isinstance(value, CoroutineType) else ""
        raise TypeError(f"{taker} takes an async function and its arguments, got {value!r}{called}")
    function: object = value
    while isinstance(function, partial):
        function = cast("partial[object]", function).func
    code: object = getattr(function, "__code__", None)
    fault = _plain_fault(function, code) if isinstance(code, CodeType) else _builtin_fault(function)
    if fault:
        raise TypeError(f"{taker} takes an async function and its arguments, and {_name_of(function)} {fault}")


def expect_awaitable(value: object, function: object, taker: str) -> Awaitable[object]:
    """Return ``value``, the result of a call of ``function``. TypeError where it cannot be awaited."""
    if not isinstance(value, Awaitable):
        returned = f"returned {value!r}, which cannot be awaited"
        raise TypeError(f"{taker} takes an async function and its arguments, and {_name_of(function)} {returned}")
    return cast("Awaitable[object]", value)


def check_piped(async_fn: object, mapper: object, on_failure: object) -> None:
    """Raise TypeError unless ``pipe_to_self`` can be given these."""
    check_async_function(async_fn, "pipe_to_self")
    if mapper is not None:
        check_callable("pipe_to_self", mapper, "as mapper a function of the result, which makes the message")
    if on_failure is not None:
        what = "as on_failure a function of the exception, which makes the message"
        check_callable("pipe_to_self", on_failure, what)


def check_adapter(fn: object) -> None:
    """Raise TypeError unless ``message_adapter`` can be given this."""
    check_callable("message_adapter", fn, "a function of a message, which makes one of the actor's own")


def call_plain(fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return the result of a function, unless it was an async one; nobody would await it."""
    if not callable(fn):
        raise TypeError(f"call takes a function and its arguments, got {fn!r}")
    result = fn(*args, **kwargs)
    if isinstance(result, CoroutineType):
        cast("CoroutineType[object, object, object]", result).close()
        raise TypeError(f"call takes a function that is not async, got {fn!r}: give async ones to run")
    return result


def check_end(answer: object, path: str) -> None:
    """Raise TypeError when the main function of a task has returned a behaviour, as a handler does."""
    if isinstance(answer, Behavior):
        raise TypeError(
            f"the main function of {path} returned {answer!r}: a handler of one message goes into "
            "Behaviors.receive; a task is over when it returns"
        )


def advice(value: object) -> str:
    """Return advice on a handler's result in place of a behaviour; "" where there is none."""
    if value is None:
        return ": end the function with `return Behaviors.same()`"
    if value is SAME:
        return ": there is none yet to keep"
    return ": write `return await ...`" if isinstance(value, CoroutineType) else _brackets(value)


def _brackets(value: object) -> str:
    name = str(getattr(value, "__qualname__", ""))
    if name.startswith("Behaviors."):
        return f": write {name}(), with the brackets"
    if inspect.iscoroutinefunction(value):
        return f": write Behaviors.receive({name}), or Behaviors.task({name}) where it takes an inbox"
    return ""


def _is_result(value: object) -> bool:
    return isinstance(value, (Behavior, CoroutineType))


def _name_of(function: object) -> str:
    return str(getattr(function, "__qualname__", None) or repr(function))


def _plain_fault(function: object, code: CodeType) -> str:
    """Return the fault of a function that is not async; "" for one that may return something to await."""
    if code.co_flags & (inspect.CO_COROUTINE | inspect.CO_ITERABLE_COROUTINE):
        return ""
    if code.co_flags & (inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR):
        return "contains a yield: tell what there is to say to a ref instead"
    returned = str(_annotations(function).get("return", ""))
    may_be_awaited = "Awaitable" in returned or "Coroutine" in returned
    if may_be_awaited or code.co_name == "<lambda>" or hasattr(function, "__wrapped__"):
        return ""
    return "is not async: write async def"


def _builtin_fault(function: object) -> str:
    """Return the fault of a function of Python's own, written in C: none of those is async."""
    if not isinstance(function, BuiltinFunctionType):
        return ""
    module = str(function.__module__ or "builtins").partition(".")[0]
    return "is not async: call it in an async def" if module in sys.stdlib_module_names else ""


def _is_plain(function: FunctionType, shape: Shape) -> bool:
    """Whether nothing more need be asked of a function: factories of entities give the same two to each of them."""
    code = function.__code__
    is_sync = not code.co_flags & NOT_SYNC and not function.__dict__  # a mark there may call it a coroutine function
    return is_sync and code.co_argcount == shape.parameters


def _check_count(function: object, code: CodeType, bound: int, shape: Shape) -> None:
    defaults: tuple[object, ...] = getattr(function, "__defaults__", None) or ()
    most = code.co_argcount - bound
    least = most - len(defaults)
    if least > shape.parameters or (most < shape.parameters and not code.co_flags & inspect.CO_VARARGS):
        raise shape.refusal(function, f"takes {', '.join(code.co_varnames[bound : bound + most]) or 'nothing'}")


def _check_kind(function: object, second: str, shape: Shape) -> None:
    """Refuse a handler in place of a main function, and the other way round, where annotations tell."""
    annotations = _annotations(function)
    if shape is TASK and "Behavior" in str(annotations.get("return", "")):
        raise shape.refusal(function, "returns a Behavior: a handler of one message goes into Behaviors.receive")
    if shape is not TASK and "Inbox" in str(annotations.get(second, "")):
        form = annotated(function, position=1)
        if form is Inbox or get_origin(form) is Inbox:
            raise shape.refusal(function, "takes an inbox: a function for the whole life goes into Behaviors.task")


def _annotations(function: object) -> dict[str, object]:
    return cast("dict[str, object]", getattr(function, "__annotations__", {}))
