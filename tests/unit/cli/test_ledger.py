"""The driver's book-keeping: every chunk is counted once, whatever becomes of the workers."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from casty.cli.demo.ledger import Ledger


def ledger_with(*workers: str, chunks: int = 10, in_flight_max: int = 2) -> Ledger[str]:
    ledger: Ledger[str] = Ledger(chunks, in_flight_max=in_flight_max, patience=10.0)
    ledger.workers_are(workers)
    return ledger


def test_chunks_go_to_the_workers_in_turn_and_only_so_many_at_a_time() -> None:
    ledger = ledger_with("a", "b")
    assert ledger.assign(0.0) == [("a", 0), ("b", 1), ("a", 2), ("b", 3)]
    assert ledger.assign(0.0) == []
    ledger.answer(1, {})
    assert ledger.assign(1.0) == [("b", 4)]


def test_what_a_lost_worker_owed_goes_first_to_the_others() -> None:
    ledger = ledger_with("a", "b")
    ledger.assign(0.0)
    ledger.answer(0, {"x": 1})
    assert ledger.workers_are(["b"]) == {"a": 1}
    ledger.answer(1, {})
    ledger.answer(3, {})
    assert ledger.assign(1.0) == [("b", 2), ("b", 4)]
    assert ledger.answers == {"a": 1, "b": 2}


def test_an_answer_that_comes_twice_counts_once() -> None:
    ledger = ledger_with("a", "b")
    ledger.assign(0.0)
    ledger.workers_are(["b"])
    assert ledger.answer(0, {"x": 1})
    assert not ledger.answer(0, {"x": 1})
    assert ledger.counts == {"x": 1}
    assert ledger.repeated == 1


def test_a_late_answer_of_a_lost_worker_saves_the_second_sending() -> None:
    ledger = ledger_with("a", "b", chunks=3)
    ledger.assign(0.0)
    ledger.workers_are(["b"])
    assert ledger.answer(0, {"x": 1})
    ledger.answer(1, {})
    assert ledger.assign(1.0) == [("b", 2)]
    ledger.answer(2, {})
    assert ledger.is_finished


def test_a_chunk_that_a_living_worker_owes_for_too_long_is_sent_again() -> None:
    ledger = ledger_with("a", chunks=1)
    ledger.assign(0.0)
    assert ledger.take_back(10.0) == 0
    assert ledger.take_back(10.1) == 1
    assert ledger.assign(10.1) == [("a", 0)]


def test_an_answer_for_a_chunk_that_does_not_exist_is_not_counted() -> None:
    ledger = ledger_with("a", chunks=1)
    assert not ledger.answer(1, {"x": 1})
    assert not ledger.answer(-1, {"x": 1})
    assert not ledger.counts


class AnyFate(RuleBasedStateMachine):
    """Workers come and go, answers are early, late, doubled or lost."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger: Ledger[int] = Ledger(12, in_flight_max=3, patience=5.0)
        self.now = 0.0
        self.on_their_way: list[int] = []

    @rule(present=st.sets(st.integers(0, 3)))
    def workers_change(self, present: set[int]) -> None:
        self.ledger.workers_are(present)

    @rule()
    def hand_out(self) -> None:
        self.on_their_way += [chunk for _, chunk in self.ledger.assign(self.now)]

    @rule(data=st.data(), lost=st.booleans(), doubled=st.booleans())
    def answer_arrives(self, data: st.DataObject, lost: bool, doubled: bool) -> None:
        if not self.on_their_way:
            return
        chunk: Any = self.on_their_way.pop(data.draw(st.integers(0, len(self.on_their_way) - 1)))
        for _ in range(0 if lost else 2 if doubled else 1):
            self.ledger.answer(chunk, {str(chunk): 1})

    @rule(seconds=st.floats(0.1, 10.0))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.ledger.take_back(self.now)

    @invariant()
    def nothing_is_counted_twice_and_nobody_owes_too_much(self) -> None:
        ledger = self.ledger
        assert set(ledger.counts.values()) <= {1}
        assert ledger.done == ledger.counts.total()
        assert all(ledger.owed_by(worker) <= 3 for worker in ledger.workers)

    def teardown(self) -> None:
        """Whatever has happened, one worker that answers brings the run to its end."""
        self.ledger.workers_are([0])
        for _ in range(2 * self.ledger.chunks):
            self.now += 6.0
            self.ledger.take_back(self.now)
            for _, chunk in self.ledger.assign(self.now):
                self.ledger.answer(chunk, {str(chunk): 1})
        assert self.ledger.is_finished
        assert self.ledger.counts == Counter({str(chunk): 1 for chunk in range(12)})


TestAnyFate = AnyFate.TestCase
TestAnyFate.settings = settings(max_examples=30)
