"""What a system hands over to whoever collects."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.behaviors import tell_all

from casty import (
    ActorSystem,
    AskTimeoutError,
    Behaviors,
    Mailbox,
    MailboxOverflowStrategy,
    Metric,
    Restart,
)
from casty.cluster.observability.cluster_metrics import CLUSTER_METRICS
from casty.cluster.sharding.sharding_metrics import SHARDING_METRICS
from casty.runtime.system.metrics import SYSTEM_METRICS

PAGE = Path(__file__).parents[4] / "docs" / "reference" / "metrics.md"


class Collected:
    """All figures, by name and labels."""

    def __init__(self, system: ActorSystem) -> None:
        self.counters: dict[tuple[str, ...], float] = {}
        self.gauges: dict[tuple[str, ...], float] = {}
        self.metrics: set[Metric] = set()
        system.collect(self)

    def counter(self, metric: Metric, value: float, *labels: str) -> None:
        self._take(self.counters, metric, value, labels)

    def gauge(self, metric: Metric, value: float, *labels: str) -> None:
        self._take(self.gauges, metric, value, labels)

    def _take(self, kept: dict[tuple[str, ...], float], metric: Metric, value: float, labels: tuple[str, ...]) -> None:
        assert len(labels) == len(metric.labels), metric
        key = (metric.name, *labels)
        assert key not in self.counters.keys() | self.gauges.keys(), f"{key} twice"
        kept[key] = value
        self.metrics.add(metric)


async def test_a_system_that_did_nothing_has_zeros(autojump_clock) -> None:
    async with ActorSystem("shop") as system:
        collected = Collected(system)
        assert set(collected.gauges.values()) | set(collected.counters.values()) == {0}
        assert collected.metrics | {m for m in SYSTEM_METRICS if m.labels} == set(SYSTEM_METRICS)


async def test_messages_dead_letters_asks_restarts_and_what_waits_are_counted(autojump_clock) -> None:
    async def handle(ctx, message: object):
        if message == "fail":
            raise ValueError("as asked")
        return Behaviors.same()

    def busy():
        async def main(ctx, inbox) -> None:
            await ctx.system.wait_stopped()

        return Behaviors.task(main)

    async with ActorSystem("shop") as system:
        ref = system.spawn(Behaviors.supervise(Behaviors.receive(handle), Restart()), "worker")
        tell_all(ref, "a", "fail", "b")
        with pytest.raises(AskTimeoutError):
            await system.ask(ref, lambda reply_to: reply_to, timeout=1.0)
        await system.ask_or_none(ref, lambda reply_to: reply_to, timeout=1.0)
        full = Mailbox(capacity=3, overflow=MailboxOverflowStrategy.drop_new)
        stuck, other = system.spawn(busy(), "stuck", mailbox=full), system.spawn(busy(), "other")
        for target, count in ((stuck, 5), (other, 2)):
            for _ in range(count):
                target.tell("wait")
        collected = Collected(system)
        statistics = system.statistics()
        assert collected.gauges == {
            ("actors",): 3,
            ("mailbox_messages",): 5,
            ("mailbox_messages_max",): 3,
            ("asks_pending",): 0,
            ("timers",): statistics.timers,
        }
        assert collected.counters == {
            ("messages_delivered",): 5,
            ("signals_delivered",): 0,
            ("messages_rejected",): 0,
            ("dead_letters", "mailbox full"): 2,
            ("asks",): 2,
            ("asks_timed_out",): 2,
            ("restarts",): 1,
            ("listener_failures",): 0,
        }
        assert (statistics.asks, statistics.asks_timed_out, statistics.restarts) == (2, 2, 1)
        system.stop(stuck)
        system.stop(other)


def test_the_reference_page_lists_every_metric_and_no_other() -> None:
    rows = re.findall(r"^\| `(\w+)`(?: by ([\w, ]+))? \| (.+?) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    sharding = [replace(metric, name=f"sharding_{metric.name}") for metric in SHARDING_METRICS]
    expected = [(m.name, ", ".join(m.labels), m.help) for m in (*SYSTEM_METRICS, *CLUSTER_METRICS, *sharding)]
    assert rows == expected
