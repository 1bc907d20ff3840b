"""The figures of a system for Prometheus: needs the extra ``prometheus``.

The registry of prometheus-client asks for them when it is scraped, in a thread of its own; the loop
of the system answers. Serving them over HTTP is prometheus-client's job.
"""

from __future__ import annotations

from queue import Empty, SimpleQueue
from threading import get_ident
from typing import TypeAlias

import trio
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from casty.runtime.system.metrics import Metric
from casty.runtime.system.system import ActorSystem, kernel_of

Family: TypeAlias = CounterMetricFamily | GaugeMetricFamily
Figure: TypeAlias = tuple[bool, Metric, float, tuple[str, ...]]
"""Whether it is a counter, its metric, its value and its labels."""

PREFIX = "casty_"

LOOP_TIMEOUT = 5.0
"""Seconds for the loop of the system to answer a scrape; Prometheus itself waits for 10."""

RUNNING = Metric("running", "1 where the loop of the system has answered, 0 where it has ended or stands still.")


class PrometheusCollector(Collector):
    """Collector of a `prometheus_client.CollectorRegistry` for the figures of running systems.

    ``registry.register(PrometheusCollector(system))``, inside of the block of the system; one collector takes all
    systems of a process. Each figure has the label ``system``. A scrape waits for a loop for at most LOOP_TIMEOUT
    seconds; of a system whose loop has ended or stands still ``casty_running`` alone is left, with the value 0.

    Parameters:
        *systems: Running systems, each with a name of its own.

    Raises:
        RuntimeError: A system has not been entered.
    """

    def __init__(self, *systems: ActorSystem) -> None:
        self._systems = systems
        for system in systems:
            kernel_of(system)  # raises for one that was not entered

    def describe(self) -> list[Family]:
        """Describe nothing: a registry must not ask a loop for figures when it takes a collector.

        Returns:
            An empty list.
        """
        return []

    def collect(self) -> list[Family]:
        """Ask each system for its figures. Callable in any thread.

        Returns:
            A family for each figure, with the systems' values.
        """
        families = _Families()
        for system in self._systems:
            families.system = system.name
            figures = _figures_of(system)
            families.gauge(RUNNING, float(figures is not None))
            for is_counter, metric, value, labels in figures or ():
                (families.counter if is_counter else families.gauge)(metric, value, *labels)
        return list(families.by_name.values())


class _Figures:
    """Metrics as they come: a loop hands them to another thread."""

    def __init__(self) -> None:
        self.all: list[Figure] = []

    def counter(self, metric: Metric, value: float, *labels: str) -> None:
        self.all.append((True, metric, value, labels))

    def gauge(self, metric: Metric, value: float, *labels: str) -> None:
        self.all.append((False, metric, value, labels))


class _Families:
    """Metrics as prometheus-client has them."""

    def __init__(self) -> None:
        self.system = ""
        self.by_name: dict[str, Family] = {}

    def counter(self, metric: Metric, value: float, *labels: str) -> None:
        self._add(CounterMetricFamily, metric, value, labels)

    def gauge(self, metric: Metric, value: float, *labels: str) -> None:
        self._add(GaugeMetricFamily, metric, value, labels)

    def _add(self, kind: type[Family], metric: Metric, value: float, labels: tuple[str, ...]) -> None:
        family = self.by_name.get(metric.name)
        if family is None:
            names = ("system", *metric.labels)
            family = self.by_name[metric.name] = kind(PREFIX + metric.name, metric.help, labels=names)
        family.add_metric((self.system, *labels), value)


def _figures_of(system: ActorSystem) -> list[Figure] | None:
    """Return the figures of a system; None when its loop does not answer."""
    kernel = kernel_of(system)
    if get_ident() == kernel.thread:
        return _collected(system)
    answers: SimpleQueue[list[Figure] | Exception] = SimpleQueue()

    def answer() -> None:
        try:
            answers.put(_collected(system))
        except Exception as error:  # raised here it would end the whole Trio run
            answers.put(error)

    try:
        kernel.token.run_sync_soon(answer)
        found = answers.get(timeout=LOOP_TIMEOUT)
    except (trio.RunFinishedError, Empty):
        return None
    if isinstance(found, Exception):
        raise found
    return found


def _collected(system: ActorSystem) -> list[Figure]:
    figures = _Figures()
    system.collect(figures)
    return figures.all
