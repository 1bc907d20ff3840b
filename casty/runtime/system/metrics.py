"""Figures for whoever watches a system from outside: counters and gauges, collected when they are asked for.

Nothing is pushed and nothing is measured in advance: `casty.ActorSystem.collect` reads the counters kept by the system
anyway, so an unwatched system pays nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

from casty.runtime.system.statistics import SystemStatistics
from casty.schema.names import message


@message("casty.Metric")
@dataclass(frozen=True, slots=True)
class Metric:
    """Description of a figure: its name, its meaning, and the names of its labels, if it has any.

    >>> Metric("dead_letters", "Messages that nobody handled.", ("reason",)).labels
    ('reason',)
    """

    name: str
    """In lower case with underscores, without a prefix for the library and without a suffix for its kind."""
    help: str
    """Meaning of the figure, in one sentence."""
    labels: tuple[str, ...] = ()
    """Names of the labels; a value for each comes with every figure."""


class Metrics(Protocol):
    """Taker of figures, as implemented by an exporter for a monitoring system.

    >>> class Printed:
    ...     def counter(self, metric: Metric, value: float, *labels: str) -> None:
    ...         print("counter", metric.name, *labels, value)
    ...
    ...     def gauge(self, metric: Metric, value: float, *labels: str) -> None:
    ...         print("gauge", metric.name, *labels, value)
    >>> system.collect(Printed())
    gauge actors 0
    ...
    """

    def counter(self, metric: Metric, value: float, *labels: str) -> None:
        """Take a total since the start; it only grows.

        Parameters:
            metric: Description of the figure.
            value: The total.
            *labels: A value for each name in ``metric.labels``.
        """
        ...

    def gauge(self, metric: Metric, value: float, *labels: str) -> None:
        """Take a value as it is now.

        Parameters:
            metric: Description of the figure.
            value: The value.
            *labels: A value for each name in ``metric.labels``.
        """
        ...


ACTORS: Final = Metric("actors", "Actors that are alive, those of the library included.")
MESSAGES_DELIVERED: Final = Metric("messages_delivered", "Messages and signals handed to handlers and inboxes.")
SIGNALS_DELIVERED: Final = Metric("signals_delivered", "How many of those were timers and ends of watched actors.")
MESSAGES_REJECTED: Final = Metric("messages_rejected", "Messages refused with MailboxFull.")
MAILBOX_MESSAGES: Final = Metric("mailbox_messages", "Messages that wait in all mailboxes and stashes together.")
MAILBOX_MESSAGES_MAX: Final = Metric("mailbox_messages_max", "Messages that wait for the actor with the most of them.")
DEAD_LETTERS: Final = Metric("dead_letters", "Messages that nobody will handle, by the reason.", ("reason",))
ASKS: Final = Metric("asks", "Asks that were begun.")
ASKS_PENDING: Final = Metric("asks_pending", "Asks that wait for their reply.")
ASKS_TIMED_OUT: Final = Metric("asks_timed_out", "Asks that got no reply in time.")
RESTARTS: Final = Metric("restarts", "Restarts of actors, after a failure or by their own choice.")
LISTENER_FAILURES: Final = Metric("listener_failures", "Errors raised by lifecycle listeners.")
TIMERS: Final = Metric("timers", "Deadlines that are kept: timers, schedules, asks, bounds of stops.")

SYSTEM_METRICS: Final = (
    ACTORS,
    MESSAGES_DELIVERED,
    SIGNALS_DELIVERED,
    MESSAGES_REJECTED,
    MAILBOX_MESSAGES,
    MAILBOX_MESSAGES_MAX,
    DEAD_LETTERS,
    ASKS,
    ASKS_PENDING,
    ASKS_TIMED_OUT,
    RESTARTS,
    LISTENER_FAILURES,
    TIMERS,
)
"""All figures of a system without a cluster."""


def collect_system(statistics: SystemStatistics, metrics: Metrics) -> None:
    """Hand over the figures of a system."""
    metrics.gauge(ACTORS, statistics.actors)
    metrics.counter(MESSAGES_DELIVERED, statistics.messages_delivered)
    metrics.counter(SIGNALS_DELIVERED, statistics.signals_delivered)
    metrics.counter(MESSAGES_REJECTED, statistics.messages_rejected)
    metrics.gauge(MAILBOX_MESSAGES, statistics.mailbox_size)
    metrics.gauge(MAILBOX_MESSAGES_MAX, max(statistics.mailboxes.values(), default=0))
    for reason, count in sorted(statistics.dead_letters.items()):
        metrics.counter(DEAD_LETTERS, count, reason)
    metrics.counter(ASKS, statistics.asks)
    metrics.gauge(ASKS_PENDING, statistics.asks_pending)
    metrics.counter(ASKS_TIMED_OUT, statistics.asks_timed_out)
    metrics.counter(RESTARTS, statistics.restarts)
    metrics.counter(LISTENER_FAILURES, statistics.listener_failures)
    metrics.gauge(TIMERS, statistics.timers)
