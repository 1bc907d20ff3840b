"""The decision about a failure, the budget of restarts, and the pauses between them."""

from __future__ import annotations

import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casty.errors import ConfigError
from casty.protocol.actor.supervision import (
    RESTARTS_REMEMBERED_MAX,
    Decision,
    Directive,
    Escalate,
    OneForOneStrategy,
    Restart,
    RestartBudget,
    Resume,
    Stop,
    SupervisionStrategy,
    decide,
)
from casty.protocol.backoff import backoff_delay

PROMPT = {"backoff_min": 0.0, "backoff_max": 0.0}


def directive(*strategies: SupervisionStrategy, exception: Exception, budget: RestartBudget | None = None) -> Directive:
    return decide(strategies, exception, budget or RestartBudget(), 0.0, Random(1)).directive


def test_without_a_strategy_the_answer_is_to_stop() -> None:
    assert decide((), ValueError(), RestartBudget(), 0.0, Random(1)) == Decision(Directive.stop)


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        (Stop(), Directive.stop),
        (Resume(), Directive.resume),
        (Escalate(), Directive.escalate),
        (Restart(), Directive.restart),
        (OneForOneStrategy(), Directive.restart),
        (OneForOneStrategy(decider=lambda exception: Directive.resume), Directive.resume),
    ],
)
def test_each_strategy_has_its_answer(strategy: SupervisionStrategy, expected: Directive) -> None:
    assert directive(strategy, exception=ValueError()) is expected


def test_the_inner_strategy_decides_and_what_it_leaves_goes_to_the_outer() -> None:
    row = (Escalate(), Restart(on=OSError), Resume(on=(ValueError, KeyError)))
    assert directive(*row, exception=KeyError()) is Directive.resume
    assert directive(*row, exception=FileNotFoundError()) is Directive.restart
    assert directive(*row, exception=ZeroDivisionError()) is Directive.escalate


def test_a_group_is_decided_by_what_is_in_it_as_a_nursery_raises_it() -> None:
    row = (Escalate(), Restart(on=OSError), Resume(on=(ValueError, KeyError)))
    inner = ExceptionGroup("inner", [KeyError()])
    assert directive(*row, exception=ExceptionGroup("nursery", [ValueError(), inner])) is Directive.resume
    assert directive(*row, exception=ExceptionGroup("nursery", [FileNotFoundError()])) is Directive.restart
    assert directive(*row, exception=ExceptionGroup("nursery", [KeyError(), OSError()])) is Directive.escalate
    assert directive(Stop(), Resume(on=ExceptionGroup), exception=inner) is Directive.resume


def test_a_decider_that_has_no_answer_leaves_it_to_the_outer() -> None:
    assert directive(Escalate(), OneForOneStrategy(decider=lambda _: None), exception=OSError()) is Directive.escalate


def test_a_strategy_without_a_restart_left_leaves_it_to_the_outer() -> None:
    budget, row = RestartBudget(), (Escalate(), Restart(2))
    answers = [directive(*row, exception=OSError(), budget=budget) for _ in range(3)]
    assert answers == [Directive.restart, Directive.restart, Directive.escalate]


def test_the_restarts_of_one_actor_are_counted_together_over_its_strategies() -> None:
    budget, row = RestartBudget(), (Restart(3, on=OSError), Restart(1, on=ValueError))
    assert directive(*row, exception=OSError(), budget=budget) is Directive.restart
    assert directive(*row, exception=ValueError(), budget=budget) is Directive.stop


def test_one_strategy_gives_each_actor_a_budget_of_its_own() -> None:
    strategy = OneForOneStrategy(max_restarts=1)
    assert [directive(strategy, exception=OSError(), budget=RestartBudget()) for _ in range(3)] == [
        Directive.restart
    ] * 3


def test_a_custom_strategy_needs_a_decision_only() -> None:
    class Patient(SupervisionStrategy):
        def decide(self, exception: Exception) -> Directive | None:
            return Directive.restart

    assert decide((Patient(),), OSError(), RestartBudget(), 0.0, Random(1)).delay >= Restart().backoff_min


def test_restarts_count_for_the_length_of_the_window() -> None:
    budget, restart = RestartBudget(), Restart(2, within=10.0, **PROMPT)
    taken = [budget.take(restart, at, Random(1)) is not None for at in (0.0, 5.0, 9.9, 10.0, 12.0, 15.0)]
    assert taken == [True, True, False, True, False, True]


def test_the_pause_doubles_up_to_its_cap_and_begins_anew_after_a_quiet_window() -> None:
    budget = RestartBudget()
    restart = Restart(None, within=100.0, backoff_min=1.0, backoff_max=5.0, backoff_jitter=0.0)
    assert [budget.take(restart, at, Random(1)) for at in (0, 1, 2, 3, 4)] == [1.0, 2.0, 4.0, 5.0, 5.0]
    assert budget.take(restart, 200.0, Random(1)) == 1.0


def test_what_is_remembered_is_bounded() -> None:
    budget, restart = RestartBudget(), Restart(None, within=math.inf)
    for _ in range(3 * RESTARTS_REMEMBERED_MAX):
        assert budget.take(restart, 0.0, Random(1)) is not None
    assert len(budget._moments) == RESTARTS_REMEMBERED_MAX
    assert budget.take(Restart(RESTARTS_REMEMBERED_MAX, within=math.inf), 0.0, Random(1)) is None


@given(
    st.integers(0, 2_000),
    st.floats(0, 1e3),
    st.floats(0, 1e6),
    st.floats(0, 1),
    st.integers(),
)
def test_a_pause_lies_between_its_bounds(attempt: int, least: float, more: float, jitter: float, seed: int) -> None:
    delay = backoff_delay(attempt, Random(seed), delay_min=least, delay_max=least + more, jitter=jitter)
    assert least <= delay <= least + more


@given(
    st.lists(st.floats(0, 20), max_size=30),
    st.integers(1, 5),
    st.floats(0.1, 30),
)
def test_no_window_holds_more_restarts_than_the_budget(gaps: list[float], most: int, window: float) -> None:
    budget, now, granted = RestartBudget(), 0.0, list[float]()
    for gap in gaps:
        now += gap
        if budget.take(Restart(most, within=window), now, Random(1)) is not None:
            granted.append(now)
        assert sum(now - moment < window for moment in granted) <= most


@pytest.mark.parametrize(
    "make",
    [
        lambda: Restart(0),
        lambda: Restart(RESTARTS_REMEMBERED_MAX + 1),
        lambda: Restart(within=0.0),
        lambda: Restart(within=math.nan),
        lambda: Restart(backoff_min=-1.0),
        lambda: Restart(backoff_min=2.0, backoff_max=1.0),
        lambda: Restart(backoff_max=math.inf),
        lambda: Restart(backoff_jitter=1.5),
        lambda: OneForOneStrategy(max_restarts=-1),
    ],
)
def test_nonsense_is_refused(make: object) -> None:
    assert callable(make)
    with pytest.raises(ConfigError, match="must be"):
        make()
