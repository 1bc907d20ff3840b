"""Whatever an append comes to, what was acknowledged is in every later state, and nothing else was told or kept."""

from __future__ import annotations

from dataclasses import dataclass, field

from helpers.ledgers import CODEC, Read, Write, Written, model, numbers
from hypothesis import given, settings
from hypothesis import strategies as st

from casty import Every
from casty.errors import JournalUnavailable, JournalUncertain
from casty.journal import Record
from casty.protocol.event_sourcing.effect import EffectRefusal, EffectReply
from casty.protocol.event_sourcing.machine import (
    AppendEvents,
    CommandRefused,
    SourcedMachine,
    SourcedPhase,
    SourcedStep,
)

OUTCOMES = ("stored", "unavailable", "uncertain and lost", "uncertain and stored")

commands = st.one_of(
    st.just("read"), st.lists(st.integers(-1, 9), max_size=3).map(tuple), st.just("snapshot"), st.just("restart")
)
batches = st.lists(st.tuples(st.lists(commands, min_size=1, max_size=6), st.sampled_from(OUTCOMES)), max_size=12)


@dataclass
class Store:
    """A journal of one entity, and the model of what was promised about it."""

    machine: SourcedMachine
    records: list[Record] = field(default_factory=list[Record])
    snapshot: tuple[int, object] | None = None
    told: list[tuple[int, ...]] = field(default_factory=list[tuple[int, ...]])
    """Ledgers that somebody was told of."""
    refused: set[int] = field(default_factory=set[int])
    """Numbers of the writes certainly not stored."""

    def ledger(self) -> tuple[int, ...]:
        events = [CODEC.decode(record) for record in self.records]
        return tuple(event.number for event in events if isinstance(event, Written))

    def recover(self) -> None:
        machine, seq = self.machine, 0
        machine.recover()
        if self.snapshot is not None:
            machine.restore(*self.snapshot)
            seq = self.snapshot[0]
        for number, record in enumerate(self.records[seq:], seq + 1):
            machine.replay(number, CODEC.decode(record))
        machine.recovered()

    def take(self, steps: list[SourcedStep]) -> None:
        for step in steps:
            match step:
                case EffectReply(_, value):
                    assert isinstance(value, tuple)
                    self.told.append(value)
                case CommandRefused(Write(written), "journal_unavailable" | "failed"):
                    self.refused |= set(written)
                case CommandRefused() | EffectRefusal():
                    pass
                case _:
                    raise AssertionError(step)

    def write(self, outcome: str) -> None:
        write = self.machine.flush()
        if write is None:
            return
        assert isinstance(write, AppendEvents) and write.after == len(self.records)
        if "stored" in outcome:
            self.records += write.records
        if outcome == "stored":
            self.take(list(self.machine.written()))
        elif outcome == "unavailable":
            self.take(list(self.machine.write_failed(JournalUnavailable("full"))))
        else:
            self.take(list(self.machine.write_failed(JournalUncertain("cut"))))
            if self.machine.phase is SourcedPhase.recovering:
                self.recover()


@given(batches, st.booleans())
@settings(max_examples=300, deadline=None)
def test_what_was_told_stays_and_what_was_refused_is_nowhere(
    batches: list[tuple[list[str | tuple[int, ...]], str]], has_snapshots: bool
) -> None:
    store = Store(SourcedMachine("ledger-1", model(Every(2) if has_snapshots else None)))
    store.recover()
    serial = 0
    for batch, outcome in batches:
        for command in batch:
            machine = store.machine
            if machine.is_full:
                break
            if command == "read":
                store.take(list(machine.decide(Read())))
            elif isinstance(command, tuple):  # each number is written once, so that it says where it came from
                written = tuple(-1 if one < 0 else (serial := serial + 1) for one in command)
                store.take(list(machine.decide(Write(written))))
            elif command == "snapshot" and (due := machine.snapshot_due()) is not None:
                store.snapshot = due.seq, due.state
                machine.snapshot_over(due, is_stored=True)
        store.write(outcome)
        if "restart" in batch:
            store.recover()
        ledger = store.ledger()
        assert store.machine.phase is SourcedPhase.ready
        assert (numbers(store.machine.state), store.machine.seq) == (ledger, len(ledger))
        assert all(ledger[: len(seen)] == seen for seen in store.told)
        assert not store.refused & set(ledger)
