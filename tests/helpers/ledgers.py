"""A ledger as events, for tests of the machine: what is in it says by itself what was stored, and in which order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from casty import Effect, Every, event, nothing, persist, refuse
from casty.address import ActorAddress
from casty.protocol.event_sourcing.machine import SourcedMachine, SourcedModel
from casty.wire.storing.stored_codec import StoredCodec
from helpers.refs import AddressRef


@event("ledgers.Written")
@dataclass(frozen=True)
class Written:
    number: int


@event("ledgers.Ledger")
@dataclass(frozen=True)
class Ledger:
    numbers: tuple[int, ...] = ()


@dataclass(frozen=True)
class Write:
    numbers: tuple[int, ...]
    stops: bool = False
    asker: AddressRef = AddressRef(ActorAddress("test", "/asker", uid=1))


@dataclass(frozen=True)
class Read:
    asker: AddressRef = AddressRef(ActorAddress("test", "/reader", uid=2))


def apply(ledger: Ledger, event: Written) -> Ledger:
    if event.number < 0:
        raise ValueError("a ledger has no negative numbers")
    return Ledger((*ledger.numbers, event.number))


def decide(ledger: Ledger, command: Write | Read) -> Effect[Written]:
    match command:
        case Read(asker):
            return nothing().reply(asker, ledger.numbers)
        case Write(numbers, stops, asker) if numbers:
            effect = persist(*map(Written, numbers)).reply(asker, (*ledger.numbers, *numbers))
            return effect.stop() if stops else effect
        case Write(_, _, asker):
            return refuse(asker, "nothing to write")


CODEC = StoredCodec()


def model(snapshots: Every | None = None, *, is_checked: bool = False, **functions: Any) -> SourcedModel:
    given = {"decide": decide, "apply": apply, **functions}
    plain = (lambda state: CODEC.plain(type(state), state)) if is_checked else None
    return SourcedModel(Ledger(), given["decide"], given["apply"], CODEC.encode, snapshots, plain)


def recovered(snapshots: Every | None = None, **options: Any) -> SourcedMachine:
    machine = SourcedMachine("ledger-1", model(snapshots, **options))
    machine.recover()
    machine.recovered()
    return machine


def numbers(state: object) -> tuple[int, ...]:
    return cast("Ledger", state).numbers
