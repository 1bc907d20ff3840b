"""Types that a system is taught: how they travel, how they are refused, and what they must be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import attrs
import cattrs
import pytest

import casty
from casty.errors import DecodeError, EncodeError, UnsupportedTypeError
from casty.schema.names import message
from casty.schema.types import check
from casty.wire.codec.codec import Codec
from casty.wire_types import WireType, check_wire_types


class Money:
    def __init__(self, amount: int, unit: str = "EUR") -> None:
        if amount < 0:
            raise ValueError("nobody owns less than nothing")
        self.amount, self.unit = amount, unit

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Money) and (self.amount, self.unit) == (other.amount, other.unit)

    def __hash__(self) -> int:
        return hash((self.amount, self.unit))


class Gold(Money):
    pass


class Wallet:
    """Holds wallets: a class that is taught can contain itself."""

    def __init__(self, money: Money | None, inside: list[Wallet]) -> None:
        self.money, self.inside = money, inside

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Wallet) and (self.money, self.inside) == (other.money, other.inside)

    __hash__ = None  # type: ignore[assignment]  # it is changed


MONEY: WireType[Money, tuple[int, str]] = WireType(
    Money,
    "taught.Money",
    tuple[int, str],
    unstructure=lambda money: (money.amount, money.unit),
    structure=lambda sent, cls: cls(*sent),
)
WALLET: WireType[Wallet, tuple[Money | None, list[Wallet]]] = WireType(
    Wallet,
    "taught.Wallet",
    tuple[Money | None, list[Wallet]],
    unstructure=lambda wallet: (wallet.money, wallet.inside),
    structure=lambda sent, cls: cls(*sent),
)


@message("taught.Bill")
@dataclass(frozen=True)
class Bill:
    total: Money
    tip: Money | None
    lines: list[Money]
    by_name: dict[str, tuple[Money, int]]
    paid_by: Money | Wallet | int | None
    seen: frozenset[Money]


BILL = Bill(
    Money(5), None, [Money(1), Money(4)], {"a": (Money(2, "USD"), 3)}, Wallet(Money(7), []), frozenset({Money(0)})
)

MakeCodec = Callable[..., Codec]


@pytest.fixture
def taught(make_codec: MakeCodec) -> Codec:
    return make_codec(wire_types=check_wire_types([MONEY, WALLET], "System"))


def there_and_back(codec: Codec, value: object, form: object = None) -> object:
    return codec.decode_envelope(codec.frame_envelope("/x", 1, value, form)[5:]).message


@pytest.mark.parametrize(
    ("value", "form"),
    [
        (BILL, None),
        (Money(3), None),
        (Money(3), Money),
        (Money(3), Money | str),
        ([Money(3)], list[Money]),
        ({Money(1): None}, dict[Money, Money | None]),
        (Wallet(Money(1), [Wallet(None, [Wallet(Money(2), [])])]), Wallet),
    ],
)
def test_a_taught_class_travels_as_a_field_inside_of_anything_and_alone(taught: Codec, value: Any, form: Any) -> None:
    assert there_and_back(taught, value, form) == value


def test_a_taught_class_has_its_own_name_alone_and_in_unions(taught: Codec) -> None:
    assert taught.names_of(Money | list[Money]) == ("list[taught.Money]", "taught.Money")
    assert taught.decode_envelope(taught.frame_envelope("/x", 1, Money(3))[5:]).name == "taught.Money"
    assert b"\x92\xactaught.Money\x92\x03\xa3EUR" in taught.frame_envelope("/x", 1, [Money(3), 1], list[Money | int])


def test_the_hooks_of_a_converter_will_do(make_codec: MakeCodec) -> None:
    converter = cattrs.Converter()
    converter.register_unstructure_hook(Money, lambda money: f"{money.amount} {money.unit}")
    converter.register_structure_hook(Money, lambda text, cls: cls(int(text.split()[0]), text.split()[1]))
    hooks = {"unstructure": converter.get_unstructure_hook(Money), "structure": converter.get_structure_hook(Money)}
    codec = make_codec(wire_types=[WireType(Money, "taught.Money", str, **hooks)])
    converter.register_unstructure_hook(Money, lambda money: "later, and so not seen")
    assert there_and_back(codec, [Money(3)], list[Money]) == [Money(3)]


@attrs.define
class Changing:
    """Of a library whose annotations mean nothing here."""

    text: str
    helper: DefinedNowhere | None = None  # noqa: F821  # what this is about


def test_annotations_of_a_taught_class_are_its_own_affair(make_codec: MakeCodec) -> None:
    hooks: dict[str, Any] = {"unstructure": lambda value: value.text, "structure": lambda text, cls: cls(text)}
    codec = make_codec(wire_types=[WireType(Changing, "taught.Changing", str, **hooks)])
    assert there_and_back(codec, [Changing("a")], list[Changing]) == [Changing("a")]


@pytest.mark.parametrize(
    ("bill", "told"),
    [
        ({"total": 5}, "^taught.Bill.total: expected taught.Money, got int$"),
        ({"total": Gold(5)}, "^taught.Bill.total: expected taught.Money, got Gold$"),
        ({"lines": [Money(1), None]}, r"^taught.Bill.lines\[1\]: expected taught.Money, got NoneType$"),
        (
            {"total": Money(5, b"EUR")},  # type: ignore[arg-type]  # what its class lets pass
            r"^taught.Bill.total\[1\]: expected str, got bytes, from the unstructure hook of taught.Money$",
        ),
        ({"by_name": {"a": (Money(2**64), 1)}}, r"^taught.Bill.by_name\.a\[0\]\[0\]: an integer beyond 64 bits"),
    ],
)
def test_a_value_that_cannot_be_written_names_its_field(taught: Codec, bill: dict[str, Any], told: str) -> None:
    with pytest.raises(EncodeError, match=told):
        taught.frame_envelope("/x", 1, Bill(**{**vars(BILL), **bill}))


def test_what_a_peer_sends_is_of_the_type_before_the_hook_sees_it(taught: Codec) -> None:
    taught.register(list[Money])
    good = taught.frame_envelope("/x", 1, [Money(1), Money(3)], list[Money])[5:]
    assert taught.decode_envelope(good).message == [Money(1), Money(3)]
    for sent, told in (
        (b"\x92\x03\xa1x", None),
        (b"\x92\xff\xa3EUR", r"\[1\]: taught.Money refuses the value: ValueError"),
        (b"\x92\xc3\xa3EUR", r"\[1\]\[0\]: expected int, got bool"),
        (b"\x93\x03\xa3EUR\x01", r"\[1\]: expected 2 items, got 3"),
        (b"\x80", r"\[1\]: expected tuple\[int, str\], got dict"),
    ):
        body = good.replace(b"\x92\x03\xa3EUR", sent)
        if told is None:
            assert taught.decode_envelope(body).message == [Money(1), Money(3, "x")]
            continue
        with pytest.raises(DecodeError, match=told):
            taught.decode_envelope(body)


def test_a_hook_that_fails_is_an_error_that_names_field_and_hook(make_codec: MakeCodec) -> None:
    def fails(*_: object) -> Any:
        raise LookupError("nothing here")

    good = make_codec(wire_types=[MONEY, WALLET]).frame_envelope("/x", 1, BILL)[5:]
    broken = WireType(Money, "taught.Money", tuple[int, str], unstructure=fails, structure=fails)
    codec = make_codec(wire_types=[broken, WALLET])
    with pytest.raises(EncodeError, match=r"total: the unstructure hook of taught.Money raised LookupError: nothing"):
        codec.frame_envelope("/x", 1, BILL)
    with pytest.raises(DecodeError, match=r"^taught.Bill.total: taught.Money refuses the value: LookupError$"):
        codec.decode_envelope(good)
    other = WireType(Money, "taught.Money", tuple[int, str], unstructure=fails, structure=lambda sent, cls: Gold(1))
    with pytest.raises(DecodeError, match="structure hook of taught.Money returned Gold, no Money"):
        make_codec(wire_types=[other, WALLET]).decode_envelope(good)


def test_a_class_that_contains_itself_is_bounded(taught: Codec) -> None:
    deep = Wallet(None, [])
    for _ in range(15):
        deep = Wallet(None, [deep])
    assert there_and_back(taught, deep) == deep
    with pytest.raises(EncodeError, match="nested deeper than 32"):
        taught.frame_envelope("/x", 1, Wallet(None, [deep]))


def test_a_declared_message_with_a_field_that_nobody_was_taught_fails_where_it_is_registered(codec: Codec) -> None:
    casty.ServiceKey[Bill]("bills")  # a key belongs to no system
    with pytest.raises(UnsupportedTypeError) as caught:
        codec.register(Bill)
    told = str(caught.value)
    assert told.startswith(
        f"Bill.total: {Money.__module__}.Money cannot travel between nodes: write a frozen dataclass"
    )
    assert told.endswith("or teach it to the system of every node: wire_types=[casty.WireType(Money, ...)]")
    with pytest.raises(UnsupportedTypeError, match=r"Bill\.total"):
        codec.frame_envelope("/x", 1, BILL)


def test_what_can_never_travel_fails_where_it_is_declared() -> None:
    with pytest.raises(UnsupportedTypeError, match="Hopeless.rows: list cannot travel"):

        @message("taught.Hopeless")
        @dataclass(frozen=True)
        class Hopeless:
            money: Money
            rows: list  # type: ignore[type-arg]  # what this is about

    with pytest.raises(UnsupportedTypeError, match="is no dataclass where @casty.message sees it"):
        message("taught.Money2")(Money)


def test_the_digest_is_of_names_and_of_what_they_travel_as(make_codec: MakeCodec, codec: Codec) -> None:
    hooks: dict[str, Any] = {"unstructure": str, "structure": lambda sent, cls: cls(sent)}
    text = WireType(Money, "taught.Money", str, **hooks)
    digests = [make_codec(wire_types=some).wire_types_digest() for some in ([MONEY], [text], [MONEY, WALLET])]
    assert len({*digests, b""}) == 4
    assert make_codec(wire_types=[WALLET, MONEY]).wire_types_digest() == digests[2]
    assert codec.wire_types_digest() == b""


def taught_as(cls: Any = Fraction, name: Any = "taught.Fraction", travels_as: Any = str, **hooks: Any) -> object:
    return WireType(cls, name, travels_as, **{"unstructure": str, "structure": lambda text, cls: cls(text), **hooks})


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ({"cls": 3}, TypeError, "WireType needs a class, got 3"),
        ({"cls": int}, UnsupportedTypeError, "int travels between nodes by itself"),
        ({"cls": Bill}, UnsupportedTypeError, "Bill travels between nodes by itself"),
        ({"cls": list}, UnsupportedTypeError, "list cannot travel between nodes: say what it holds"),
        ({"name": None}, TypeError, 'WireType needs a name, such as "shop.Fraction", got None'),
        ({"name": "a b"}, ValueError, "printable characters without spaces"),
        ({"name": "path"}, ValueError, "is the name of a builtin type"),
        ({"travels_as": Any}, UnsupportedTypeError, "Any cannot travel between nodes"),
        ({"travels_as": str | None}, UnsupportedTypeError, "travels_as must not be None: wrap it"),
        ({"travels_as": Money}, UnsupportedTypeError, "travels_as must not be another taught class by itself: wrap it"),
        ({"name": "casty.Fraction"}, ValueError, "belong to the library"),
        ({"structure": None}, TypeError, "WireType.structure must be a function, got None"),
    ],
)
def test_a_wire_type_that_makes_no_sense_says_so(options: dict[str, Any], error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        taught_as(**options)


@pytest.mark.parametrize(
    ("wire_types", "error", "told"),
    [
        ([MONEY, "x"], TypeError, r"ActorSystem.wire_types must hold casty.WireType\(...\), got 'x'"),
        ([MONEY, MONEY], ValueError, "Money twice: once is enough"),
        ([MONEY, taught_as(name="taught.Money")], ValueError, "the wire name 'taught.Money' is taken"),
        ([taught_as(name="taught.Bill")], ValueError, "the wire name 'taught.Bill' is taken"),
        ([taught_as(travels_as=list[Path])], UnsupportedTypeError, "Path cannot travel between nodes"),
    ],
)
def test_the_wire_types_of_a_system_go_together(wire_types: Any, error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        casty.ActorSystem("shop", wire_types=wire_types)


def test_a_system_keeps_the_wire_types_that_it_was_given() -> None:
    given = [MONEY]
    system = casty.ActorSystem("shop", wire_types=given)
    given.clear()
    assert system.wire_types == (MONEY,)
    check(list[Money], known={Money})
