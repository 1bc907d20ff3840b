"""Classes of other libraries, taught to two real nodes: as fields and as whole messages."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import pydantic
import pytest
import trio

import casty
from casty import ActorContext, ActorRef, Behavior, Behaviors, ClusteredActorSystem, JoinRefused, ServiceKey, WireType

TYPES = {np.dtype(kind).str: np.dtype(kind) for kind in ("?", "<i4", "<f4", "<f8")}
Array = np.ndarray[Any, np.dtype[Any]]


class Order(pydantic.BaseModel):
    number: int
    items: list[str] = []


class Quote(msgspec.Struct, frozen=True):
    price: float
    bids: dict[str, int]


def array_sent(array: Array) -> tuple[str, tuple[int, ...], bytes]:
    if array.dtype.str not in TYPES:
        raise TypeError(f"an array of {array.dtype} cannot travel: give it a dtype of numbers")
    return array.dtype.str, array.shape, array.tobytes()


def array_of(sent: tuple[str, tuple[int, ...], bytes], cls: type[Array]) -> Array:
    kind, shape, data = sent
    return np.frombuffer(data, TYPES[kind]).reshape(shape)


WIRE_TYPES: list[WireType[Any, Any]] = [
    WireType(np.ndarray, "test.Array", tuple[str, tuple[int, ...], bytes], unstructure=array_sent, structure=array_of),
    WireType(
        Order,
        "test.Order",
        str,
        unstructure=Order.model_dump_json,
        structure=lambda text, cls: cls.model_validate_json(text, strict=True),
    ),
    WireType(
        Quote,
        "test.Quote",
        bytes,
        unstructure=msgspec.msgpack.encode,
        structure=lambda data, cls: msgspec.msgpack.decode(data, type=cls),
    ),
]


OTHER_QUOTE = WireType(Quote, "test.Quote", str, unstructure=repr, structure=lambda _, cls: cls(1, {}))


@casty.message("test.Double")
@dataclass(frozen=True)
class Double:
    array: Array
    orders: list[Order]
    quote: Quote | None
    reply_to: ActorRef[Array | Order | Quote | None]


DESKS = ServiceKey[Double | Order]("desks")
SEEN: list[Order] = []


async def desk(ctx: ActorContext[Double | Order], asked: Double | Order) -> Behavior[Double | Order]:
    """Note an order, and answer with what was asked for: twice the array, the last order, or the quote."""
    if isinstance(asked, Order):
        SEEN.append(asked)
    elif asked.quote is not None:
        asked.reply_to.tell(asked.quote)
    elif asked.orders:
        asked.reply_to.tell(asked.orders[-1])
    else:
        asked.reply_to.tell(asked.array * 2)
    return Behaviors.same()


@asynccontextmanager
async def node(name: str, *seeds: ClusteredActorSystem, **options: Any) -> AsyncGenerator[ClusteredActorSystem]:
    seed_nodes = [(seed.self_node.host, seed.self_node.port) for seed in seeds]
    options = {"wire_types": WIRE_TYPES, **options}
    with trio.fail_after(30):
        async with ClusteredActorSystem(
            name="desk", host="127.0.0.1", port=0, node_id=name, seed_nodes=seed_nodes, **options
        ) as system:
            yield system


async def test_arrays_models_and_structs_travel_as_fields_and_as_whole_messages() -> None:
    array = np.arange(6, dtype="<f4").reshape(2, 3)
    orders, quote = [Order(number=1), Order(number=2, items=["tea"])], Quote(1.5, {"a": 3})
    async with node("one") as one, node("two", one) as two:
        one.spawn(Behaviors.discoverable(Behaviors.receive(desk), key=DESKS), "desk")
        ref = (await two.find(DESKS, at_least=1)).refs[0]
        assert not isinstance(two.lookup("/desk"), ActorRef)
        doubled: Any = await two.ask(ref, lambda reply_to: Double(array, [], None, reply_to))
        assert doubled.tolist() == [[0, 2, 4], [6, 8, 10]] and doubled.dtype == array.dtype
        order: Any = await two.ask(ref, lambda reply_to: Double(array, orders, None, reply_to))
        assert order == orders[1]
        found: Any = await two.ask(ref, lambda reply_to: Double(array, orders, quote, reply_to))
        assert found == quote
        ref.tell(orders[0])
        await two.ask(ref, lambda reply_to: Double(array, [], None, reply_to))
        assert SEEN == [orders[0]]


async def test_an_array_of_objects_is_refused_at_its_sender() -> None:
    objects: Any = np.array([object()])
    async with node("one") as one, node("two", one) as two:
        one.spawn(Behaviors.discoverable(Behaviors.receive(desk), key=DESKS), "desk")
        ref = (await two.find(DESKS, at_least=1)).refs[0]
        with pytest.raises(
            casty.EncodeError, match=r"test.Double.array: the unstructure hook of test.Array raised Type"
        ):
            await two.ask(ref, lambda reply_to: Double(objects, [], None, reply_to))


@pytest.mark.parametrize(
    ("wire_types", "told"),
    [
        ([], r"expected wire_types \['test.Array', 'test.Order', 'test.Quote'\], as the cluster has it, found \[\]"),
        (
            [
                *WIRE_TYPES[:2],
                WireType(Quote, "test.Quote", str, unstructure=repr, structure=lambda text, cls: cls(1, {})),
            ],
            "expected wire_types that travel as those of the cluster do, found others of the same names",
        ),
    ],
)
async def test_a_node_that_was_taught_other_types_is_refused_for_good(wire_types: Any, told: str) -> None:
    async with node("one") as one:
        with pytest.raises(JoinRefused, match=told):
            async with node("two", one, wire_types=wire_types):
                raise AssertionError("it was let in")


async def test_spawn_and_find_name_the_field_whose_class_the_node_was_not_taught() -> None:
    told = r"Double.array: numpy.ndarray.* cannot travel between nodes: .*; or teach it to the system of every node"
    async with node("one", wire_types=WIRE_TYPES[1:]) as one:
        with pytest.raises(casty.UnsupportedTypeError, match=told):
            one.spawn(Behaviors.receive(desk), "desk")
        assert one.lookup("/desk") is None
        with pytest.raises(casty.UnsupportedTypeError, match=told):
            await one.find(DESKS)
        one.spawn(Behaviors.receive(local), "local")


@dataclass(frozen=True)
class Local:
    """Declared by nobody: an actor that takes it is a local one."""

    array: Array


async def local(ctx: ActorContext[Local], asked: Local) -> Behavior[Local]:
    return Behaviors.same()
