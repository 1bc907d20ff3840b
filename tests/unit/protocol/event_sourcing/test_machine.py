"""The machine of one event-sourced entity: what is stored together, and when answers leave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from helpers.ledgers import CODEC, Ledger, Read, Write, Written, numbers, recovered
from helpers.refs import AddressRef

from casty import Effect, Every, event, nothing, persist, refuse, store
from casty.address import ActorAddress
from casty.errors import EncodeError, Fenced, JournalDamaged, JournalUnavailable, JournalUncertain, SequenceConflict
from casty.protocol.event_sourcing import machine as machines
from casty.protocol.event_sourcing.effect import EVENTS_MAX, EffectRefusal, EffectReply, EffectStep
from casty.protocol.event_sourcing.machine import (
    AppendEvents,
    CommandRefused,
    SourcedMachine,
    SourcedModel,
    SourcedPhase,
    SourcedStep,
    StoreValue,
    TakeSnapshot,
)
from casty.protocol.event_sourcing.purity import ImpureFunction

ASKER = AddressRef(ActorAddress("test", "/asker", uid=1))


def replies(steps: Sequence[SourcedStep]) -> list[object]:
    return [step.value for step in steps if isinstance(step, EffectReply)]


def failures(steps: Sequence[SourcedStep]) -> list[str]:
    return [step.failure for step in steps if isinstance(step, CommandRefused)]


def flushed(machine: SourcedMachine) -> AppendEvents:
    write = machine.flush()
    assert isinstance(write, AppendEvents)
    return write


def test_commands_of_a_batch_share_one_append_and_see_one_another() -> None:
    machine = recovered()
    assert [*machine.decide(Write((1,))), *machine.decide(Write((2, 3)))] == []
    assert machine.state == Ledger()
    write = flushed(machine)
    assert (write.after, [CODEC.decode(record) for record in write.records]) == (0, [Written(n) for n in (1, 2, 3)])
    assert replies(machine.written()) == [(1,), (1, 2, 3)]
    assert (machine.state, machine.seq) == (Ledger((1, 2, 3)), 3)


def test_a_read_waits_for_the_append_that_it_saw_and_for_none_that_it_did_not() -> None:
    machine = recovered()
    assert replies(machine.decide(Read())) == [()]
    assert machine.decide(Write((1,))) == ()
    assert machine.decide(Read()) == ()
    flushed(machine)
    assert replies(machine.written()) == [(1,), (1,)]


def test_a_refusal_behind_events_waits_with_them() -> None:
    machine = recovered()
    assert machine.decide(Write(())) == (EffectRefusal(ASKER, "nothing to write"),)
    assert machine.flush() is None
    machine.decide(Write((1,)))
    assert machine.decide(Write(())) == ()


@pytest.mark.parametrize(
    ("error", "failure", "phase"),
    [
        (JournalUnavailable("full"), "journal_unavailable", SourcedPhase.ready),
        (JournalUncertain("cut"), "outcome_unknown", SourcedPhase.recovering),
        (Fenced("claimed"), "journal_unavailable", SourcedPhase.recovering),
        (SequenceConflict("other"), "journal_unavailable", SourcedPhase.recovering),
        (OSError("a store that raises what it must not"), "outcome_unknown", SourcedPhase.recovering),
    ],
)
def test_a_failed_append_refuses_all_its_commands_and_leaves_the_state(
    error: Exception, failure: str, phase: SourcedPhase
) -> None:
    machine = recovered()
    machine.decide(Write((1,)))
    flushed(machine)
    machine.written()
    machine.decide(Write((2,)))
    machine.decide(Read())
    flushed(machine)
    assert failures(machine.write_failed(error)) == [failure, failure]
    assert (machine.state, machine.seq, machine.phase) == (Ledger((1,)), 1, phase)


def test_after_a_failed_append_nothing_decided_on_it_is_stored() -> None:
    machine = recovered()
    machine.decide(Write((1,)))
    flushed(machine)
    machine.write_failed(JournalUnavailable("full"))
    machine.decide(Write((2,)))
    assert flushed(machine).after == 0
    assert replies(machine.written()) == [(2,)]


def test_an_apply_that_raises_on_a_new_event_refuses_that_command_alone() -> None:
    machine = recovered()
    (refused,) = machine.decide(Write((5, -1)))
    assert isinstance(refused, CommandRefused) and refused.failure == "failed"
    assert machine.flush() is None
    machine.decide(Write((1,)))
    machine.decide(Write((-1,), stops=True))
    machine.decide(Write((2,)))
    assert len(flushed(machine).records) == 2
    assert failures(machine.written()) == ["failed"]
    assert (numbers(machine.state), machine.is_stopped) == ((1, 2), False)


def test_an_apply_that_raises_in_recovery_names_the_event() -> None:
    machine = recovered()
    machine.recover()
    machine.replay(1, Written(3))
    with pytest.raises(JournalDamaged, match=r"apply of 'ledger-1' fails at event 2, Written\(number=-1\)") as caught:
        machine.replay(2, Written(-1))
    assert (caught.value.persistence_id, caught.value.seq) == ("ledger-1", 2)
    machine.fail(caught.value)
    assert machine.phase is SourcedPhase.failed


def test_a_missing_event_is_damage() -> None:
    machine = recovered()
    machine.recover()
    machine.restore(4, Ledger((1, 2, 3, 4)))
    with pytest.raises(JournalDamaged, match="event 5 of 'ledger-1' is missing: the next one stored is 6"):
        machine.replay(6, Written(6))


def test_a_stop_closes_the_batch_and_ends_behind_it() -> None:
    machine = recovered()
    machine.decide(Write((1,), stops=True))
    assert machine.is_full and not machine.is_stopped
    flushed(machine)
    assert not machine.is_stopped
    assert replies(machine.written()) == [(1,)]
    assert machine.is_stopped


def test_a_batch_has_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = recovered()
    for _ in range(machines.BATCH_COMMANDS_MAX):
        assert not machine.is_full
        machine.decide(Read())
    assert machine.is_full
    assert machine.flush() is None
    machine.decide(Write(tuple(range(machines.BATCH_RECORDS_MAX))))
    assert machine.is_full
    monkeypatch.setattr(machines, "BATCH_BYTES_MAX", 5)
    machine = recovered()
    machine.decide(Write((1,)))
    assert machine.is_full


@pytest.mark.parametrize("result", [None, Written(1), "done"])
def test_a_decide_without_an_effect_is_told(result: object) -> None:
    machine = recovered(decide=lambda *_: result)
    with pytest.raises(TypeError, match=r"decide of 'ledger-1' returned .* it must return an Effect, such as persist"):
        machine.decide(Read())
    assert machine.flush() is None


def test_the_wrong_kind_of_effect_is_told() -> None:
    machine = recovered(decide=lambda *_: store(Ledger()))
    with pytest.raises(TypeError, match=r"returned store\(...\) for .*: write persist\(...\) here"):
        machine.decide(Read())
    machine = recovered(decide=lambda *_: persist(Written(1)), apply=None)
    with pytest.raises(TypeError, match=r"returned persist\(...\) for .*: write store\(state\) here"):
        machine.decide(Read())


def test_an_event_without_a_stored_name_refuses_its_command() -> None:
    machine = recovered(decide=lambda *_: persist("text"))
    (refused,) = machine.decide(Read())
    assert isinstance(refused, CommandRefused) and isinstance(refused.error, EncodeError)


def test_an_apply_that_forgets_to_return_refuses_the_command() -> None:
    machine = recovered(apply=lambda *_: None)
    (refused,) = machine.decide(Write((1,)))
    assert isinstance(refused, CommandRefused)
    assert str(refused.error) == "apply returned None for Written(number=1): return the state after it"


def test_of_a_durable_state_the_last_value_of_a_batch_is_stored() -> None:
    def decide(ledger: Ledger, command: Write) -> Effect[Ledger]:
        made = Ledger((*ledger.numbers, *command.numbers))
        return store(made).reply(command.asker, made.numbers)

    machine = recovered(decide=decide, apply=None)
    machine.decide(Write((1,)))
    machine.decide(Write((2,)))
    write = machine.flush()
    assert isinstance(write, StoreValue) and write.revision == 1
    assert CODEC.decode(write.record) == Ledger((1, 2))
    assert replies(machine.written()) == [(1,), (1, 2)]
    assert machine.seq == 1


def test_a_snapshot_is_due_after_so_many_events_and_again_after_a_failure() -> None:
    machine = recovered(Every(2))
    machine.decide(Write((1,)))
    flushed(machine)
    machine.written()
    assert machine.snapshot_due() is None
    machine.decide(Write((2, 3)))
    flushed(machine)
    machine.written()
    due = machine.snapshot_due()
    assert due == TakeSnapshot(3, Ledger((1, 2, 3)))
    assert machine.snapshot_due() is None
    machine.snapshot_over(due, is_stored=False)
    assert machine.snapshot_due() == due
    machine.snapshot_over(due, is_stored=True)
    assert machine.snapshot_due() is None


@event("test_machine.Notes")
@dataclass(frozen=True)
class Notes:
    lines: list[str] = field(default_factory=list[str])


def notes(apply: object) -> SourcedMachine:
    plain = lambda state: CODEC.plain(Notes, state)  # noqa: E731  # as short as it is used
    decides = lambda *_: persist(Written(1))  # noqa: E731  # as above
    made = SourcedMachine("notes", SourcedModel(Notes(), decides, apply, CODEC.encode, None, plain))
    made.recover()
    made.recovered()
    return made


def test_a_state_changed_in_place_names_the_field() -> None:
    def apply(state: Notes, event: Written) -> Notes:
        state.lines.append(str(event.number))
        return state

    (refused,) = notes(apply).decide("command")
    assert isinstance(refused, CommandRefused) and isinstance(refused.error, ImpureFunction)
    assert str(refused.error).startswith("apply has changed the state in place, in .lines: return a new one")


def test_a_decide_that_changes_the_state_is_told() -> None:
    def decide(state: Notes, command: object) -> Effect[Written]:
        state.lines.append("seen")
        return nothing()

    machine = SourcedMachine(
        "notes", SourcedModel(Notes(), decide, None, CODEC.encode, None, lambda state: CODEC.plain(Notes, state))
    )
    machine.recover()
    machine.recovered()
    with pytest.raises(ImpureFunction, match="decide has changed the state in place, in .lines"):
        machine.decide("command")


def test_an_apply_that_depends_on_more_than_its_arguments_is_told() -> None:
    calls: list[int] = []

    def apply(state: Notes, event: Written) -> Notes:
        calls.append(1)
        return Notes([*state.lines, str(len(calls))])

    (refused,) = notes(apply).decide("command")
    assert isinstance(refused, CommandRefused)
    assert "two states for one state and Written(number=1); they differ in .lines" in str(refused.error)


def test_effects_are_values() -> None:
    one = persist(Written(1), Written(2)).reply(ASKER, 3).tell(ASKER, "told").stop()
    assert one == persist(Written(1), Written(2)).reply(ASKER, 3).tell(ASKER, "told").stop()
    assert (one.events, one.stops, len(one.steps)) == ((Written(1), Written(2)), True, 2)
    step: EffectStep = EffectRefusal(ASKER, "no")
    assert refuse(ASKER, "no").steps == (step,)
    assert nothing() == Effect()


def test_wrong_effects_are_refused_where_they_are_made() -> None:
    with pytest.raises(ValueError, match="write nothing"):
        persist()
    with pytest.raises(ValueError, match="persist takes 1 to 4096 events, got 4097"):
        persist(*[Written(1)] * (EVENTS_MAX + 1))
    with pytest.raises(TypeError, match=r"got the class Written: write Written\(...\)"):
        persist(Written)
    with pytest.raises(TypeError, match="reply"):
        nothing().reply("asker", 1)
    with pytest.raises(TypeError, match="refuse takes the ref of the asker and a reason"):
        refuse(ASKER, 5)
