"""The functions that are made for each class: whatever its fields are called, and nothing else gets into them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import attrs
import pytest

from casty.errors import UnsupportedTypeError
from casty.wire.codec.hook import HookPair
from casty.wire.codec.records import FieldHooks, empty_hook, fill_decode, fill_encode


@dataclass(frozen=True)
class Confusing:
    """Fields that are called as the names in the source are, and as builtins."""

    value: int
    raw: int
    cls: int
    refuse: int
    v0: int
    kind0: int
    rest: int
    type: int
    MAP: int


@attrs.frozen
class Hidden:
    _secret: int
    open: int = attrs.field(kw_only=True)


@dataclass(frozen=True, init=False)
class Turned:
    """Its constructor takes the fields in an order of its own."""

    amount: int
    price: int

    def __init__(self, price: int, amount: int) -> None:
        object.__setattr__(self, "amount", amount)
        object.__setattr__(self, "price", price)


def refuse(value: object) -> TypeError:
    return TypeError(f"refused {value!r}")


def explain(raw: object, error: Exception, field: str) -> None:
    if not isinstance(error, TypeError):
        raise TypeError(f"explained {raw!r}: {error!r} in {field!r}") from None


NAMES = {"refuse": refuse, "explain": explain}


def strict_int(value: object) -> int:
    if type(value) is not int:
        raise refuse(value)
    return value


def number(name: str, init_name: str = "", *, is_optional: bool = False, keyword_only: bool = False) -> FieldHooks:
    return FieldHooks(name, init_name or name, is_optional, keyword_only, int, HookPair(strict_int, strict_int))


def both(cls: type, *fields: FieldHooks, is_exact: bool = True) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    encode, decode = empty_hook(), empty_hook()
    fill_encode(encode, cls, fields, NAMES)
    fill_decode(decode, cls, fields, NAMES, is_exact=is_exact)
    return encode, decode


def test_fields_that_are_called_as_the_names_in_the_source_are_no_trouble() -> None:
    names = list(Confusing.__annotations__)
    encode, decode = both(Confusing, *map(number, names))
    one = Confusing(*range(len(names)))
    assert encode(one) == {name: position for position, name in enumerate(names)}
    assert decode(encode(one)) == one


def test_a_field_is_given_under_the_name_that_the_class_takes_it_by() -> None:
    encode, decode = both(Hidden, number("open", keyword_only=True), number("_secret", "secret"))
    assert encode(Hidden(1, open=2)) == {"open": 2, "_secret": 1}
    assert decode({"open": 2, "_secret": 1}) == Hidden(1, open=2)


def test_a_constructor_with_another_order_gets_each_value_under_its_name() -> None:
    encode, decode = both(Turned, number("amount"), number("price"))
    one = Turned(amount=3, price=5)
    assert encode(one) == {"amount": 3, "price": 5}
    assert decode({"amount": 3, "price": 5}) == one


def test_what_is_of_another_kind_is_given_to_the_hook_of_the_field() -> None:
    def halve(value: float) -> float:
        return value / 2

    field = FieldHooks("_secret", "secret", False, False, int, HookPair(halve, halve))
    encode, decode = both(Hidden, field, number("open", keyword_only=True))
    assert encode(Hidden(3.0, open=2)) == {"_secret": 1.5, "open": 2}  # type: ignore[arg-type]  # on purpose
    assert decode({"_secret": 3.0, "open": 2}) == Hidden(1.5, open=2)  # type: ignore[arg-type]  # on purpose


@pytest.mark.parametrize("value", [Confusing, 1, None, {"_secret": 1, "open": 2}])
def test_only_an_instance_of_the_class_itself_is_encoded(value: object) -> None:
    encode, _ = both(Hidden, number("_secret", "secret"), number("open", keyword_only=True))
    with pytest.raises(TypeError, match="^refused"):
        encode(value)


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        ([1, 2], "^refused"),
        ({"_secret": 1}, "^refused"),
        ({"_secret": 1, "open": 2, "more": 3}, "^refused"),
        ({"_secret": 1, "more": 3}, "^explained.*KeyError"),
        ({"_secret": 1, "open": True}, "^refused True"),
    ],
)
def test_a_map_with_other_keys_or_values_is_refused(raw: object, told: str) -> None:
    _, decode = both(Hidden, number("_secret", "secret"), number("open", keyword_only=True))
    with pytest.raises(TypeError, match=told):
        decode(raw)


def test_an_optional_field_may_be_missing_and_is_checked_when_it_is_there() -> None:
    @dataclass(frozen=True)
    class Settings:
        name: int
        size: int = 7

    _, decode = both(Settings, number("name"), number("size", is_optional=True), is_exact=False)
    assert decode({"name": 1}) == Settings(1)
    assert decode({"name": 1, "size": 2, "later": []}) == Settings(1, 2)
    with pytest.raises(TypeError, match="^refused None"):
        decode({"name": 1, "size": None})


@pytest.mark.parametrize("name", ["x y", "1", "", "x=print()", "class", "x\n"])
def test_a_name_that_is_no_identifier_gets_into_no_source(name: str) -> None:
    with pytest.raises(UnsupportedTypeError, match="must be named by an identifier"):
        fill_encode(empty_hook(), Hidden, [number(name)], NAMES)
    with pytest.raises(UnsupportedTypeError, match="must be named by an identifier"):
        fill_decode(empty_hook(), Hidden, [number("x", name or "-")], NAMES, is_exact=True)
