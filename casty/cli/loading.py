"""The user's code: a module by its name, a thing in it, and the errors of both in one line with their place."""

from __future__ import annotations

import difflib
import importlib
import inspect
import os
import sys
import traceback
from collections.abc import Callable
from types import ModuleType
from typing import TypeVar

from casty import ConfigError

T = TypeVar("T")

NOT_THE_USERS = ("<frozen", importlib.__file__, os.path.dirname(__file__))
"""Beginnings of the files of frames between casty and the user's code, left out of a shown error."""


def parts_of(target: str, expected: str) -> tuple[str, str]:
    """Return module and name of ``MODULE:NAME``. ConfigError where the text has another form."""
    module_name, _, name = target.partition(":")
    if not all(part.isidentifier() for part in (name, *module_name.split("."))) or module_name.endswith(".py"):
        raise ConfigError(f"{expected}, got {target!r}")
    return module_name, name


def imported(module_name: str) -> ModuleType:
    """Import a module, looked for in the working directory first. ConfigError where it cannot be imported."""
    folder = os.getcwd()
    if folder not in sys.path:
        sys.path.insert(0, folder)
    return attempt(lambda: importlib.import_module(module_name), f"{module_name} cannot be imported")


def no_function(module: ModuleType, name: str) -> str:
    """Explain that a module has no function of this name, with the nearest one."""
    if hasattr(module, name):
        return f"{module.__name__}:{name} is {getattr(module, name)!r}, and must be a function that returns a behaviour"
    functions = [other for other, value in vars(module).items() if inspect.isfunction(value)]
    near = difflib.get_close_matches(name, functions, n=1)
    return f"{module.__name__} has no function {name!r}" + (f"; the nearest that exists is {near[0]!r}" if near else "")


def attempt(user_code: Callable[[], T], what: str) -> T:
    """Return the result of the user's code; its error is a ConfigError with the place of it."""
    try:
        return user_code()
    except (Exception, SystemExit) as error:  # the user's code may raise anything; told in one line with its place
        frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(NOT_THE_USERS)]
        place = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
        raise ConfigError(f"{what}: {type(error).__name__}: {error}{place}") from None
