"""Plants a bug: one line of a function of the protocol goes, another takes its place, until the test is over."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable
from types import FunctionType
from typing import cast

import pytest


def plant(patch: pytest.MonkeyPatch, function: object, line: str, instead: str) -> None:
    """Have ``function`` run with ``instead`` in place of ``line``, a part of its source that occurs in it once."""
    target = cast(FunctionType, inspect.unwrap(cast(Callable[..., object], getattr(function, "fget", function))))
    lines = textwrap.dedent(inspect.getsource(target)).splitlines(keepends=True)
    start = next(at for at, text in enumerate(lines) if text.startswith("def "))
    source = "".join(lines[start:])
    if source.count(line) != 1:
        raise LookupError(f"{target.__qualname__} has {line!r} {source.count(line)} times: it should have it once")
    made: dict[str, FunctionType] = {}
    text = "from __future__ import annotations\n" + source.replace(line, instead)
    exec(compile(text, inspect.getfile(target), "exec"), target.__globals__, made)
    patch.setattr(target, "__code__", made[target.__name__].__code__)
