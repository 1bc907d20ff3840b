"""Instances made without their constructor.

The constructor that ``dataclass`` writes for a frozen class does nothing but store its arguments, one call each, and is
half of the time it takes to decode a record. Put into the dict of the instance, they cost a third of that. Such a dict
takes 64 bytes, and before Python 3.13 an attribute in it 20 ns longer to read. What else a constructor may do is not
done without it, so any other one is called.
"""

from __future__ import annotations

import dataclasses
import inspect
from copy import copy
from typing import Any

new = object.__new__


def only_stores(cls: type[Any]) -> bool:
    """Whether calling a class does nothing but put its arguments, each under its name, into the dict of an instance."""
    if "__dataclass_params__" not in vars(cls) or hasattr(cls, "__post_init__") or "__dict__" not in dir(cls):
        return False
    its_own: tuple[object, ...] = (type(cls).__call__, cls.__new__, cls.__getattribute__)
    fields = dataclasses.fields(cls)
    if its_own != (type.__call__, new, object.__getattribute__) or any(_has_setter(cls, one.name) for one in fields):
        return False
    # Whoever wrote it: a constructor is the one of a dataclass if its code is that of another one with such fields.
    twin = dataclasses.make_dataclass("Twin", [(field.name, Any, copy(field)) for field in fields], frozen=True)
    return all(field.init for field in fields) and _code_of(cls) == _code_of(twin)


def _has_setter(cls: type[Any], name: str) -> bool:
    found: object = inspect.getattr_static(cls, name, None)
    return hasattr(type(found), "__set__")


def _code_of(cls: type[Any]) -> object:
    code = getattr(cls.__init__, "__code__", None)
    return code and (code.co_code, code.co_consts, code.co_names, code.co_freevars)
