"""Settings of mailboxes and of an actor system."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from types import MappingProxyType
from typing import cast

from casty.config.validation import (
    check_count,
    check_kind,
    check_positive,
)
from casty.errors import ConfigError
from casty.journal import Journal
from casty.schema.names import message


@message("casty.MailboxOverflowStrategy")
class MailboxOverflowStrategy(Enum):
    """Treatment of a message for a full mailbox.

    It decides for ``tell`` and for ``await ref.send``. A message from another node waits for room where a ``send``
    would, while its node holds back; where ``send`` would raise, it becomes a dead letter. So does one without room
    from a timer of the scheduler: it has no sender to tell.
    """

    drop_new = "drop_new"
    """The new message becomes a dead letter; ``send`` waits for room."""
    drop_oldest = "drop_oldest"
    """The oldest waiting message becomes a dead letter and the new one is taken; so does ``send``."""
    reject = "reject"
    """``tell`` and ``send`` raise MailboxFull: the sender has something better to do than wait."""
    back_pressure = "back_pressure"
    """``send`` waits for room, and ``tell``, unable to wait, raises MailboxFull: nothing is dropped."""


@message("casty.Mailbox")
@dataclass(frozen=True, slots=True)
class Mailbox:
    """Bound of an actor's mailbox, and the treatment of messages beyond it.

    Raises:
        ConfigError: ``capacity`` is below 1, or ``overflow`` no `MailboxOverflowStrategy`.
    """

    capacity: int = 1_000_000
    """Waiting messages, at least 1; system signals (stop, Terminated, timers) bypass it. Too low drops in bursts, too
    high hides an actor unable to keep up: a small waiting message costs about 100 bytes.
    """
    overflow: MailboxOverflowStrategy = MailboxOverflowStrategy.drop_new
    """Treatment of a message for a full mailbox."""

    def __post_init__(self) -> None:
        check_count(self, "capacity")
        check_kind("Mailbox.overflow", self.overflow, MailboxOverflowStrategy, "MailboxOverflowStrategy.drop_oldest")


@dataclass(frozen=True, slots=True)
class SystemConfig:
    """Settings of an `ActorSystem`, clustered or not.

    Raises:
        ConfigError: A field has a bad value; the message names it and the expected values.
    """

    mailbox: Mailbox = Mailbox()
    """For actors spawned without a mailbox of their own, and matched by no pattern."""
    mailboxes: Mapping[str, Mailbox] = field(default_factory=dict[str, Mailbox], hash=False)
    """Mailboxes by patterns of paths, such as ``{"/orders/*": Mailbox(100)}``. In a pattern ``*`` stands for any part
    of one name, ``**`` for any number of names. The first match counts.
    """
    stop_timeout: float = 5.0
    """Seconds for one actor's clean-up (``post_stop``, ``finally`` blocks) when it stops."""
    shutdown_timeout: float = 10.0
    """Seconds for each phase of a shutdown (stopping the users' actors, leaving the cluster, stopping the rest) before
    a hanging actor or task is cancelled and named.
    """
    slow_handler_after: float = 0.2
    """Seconds for a handler to hold the loop; a slower one is named in a rate-limited warning."""
    check_messages: bool | None = None
    """Whether a message told to an actor of this system is compared with the actor's type, as it is for messages from
    other nodes always: another one is a TypeError at its sender, instead of falling through a ``match``. None means
    with ``python -X dev`` only. It costs nothing when off; when on, a ``tell`` takes more than twice as long.
    """
    check_states: bool | None = None
    """Whether ``apply`` of event-sourced actors runs twice and is compared, and a state changed in place is an error
    with the name of the field. None means with ``python -X dev`` only. It takes as long as a state is large.
    """
    seed: int | None = None
    """Makes the system's random choices repeatable: the jitter of restarts, the addresses of asks, and in a cluster the
    choices of the node, so each run of a node needs another one. For simulations only: an address that can be computed
    can be forged.
    """
    journal: Journal | None = None
    """Store of event-sourced actors and durable states; None: the system has none. It is opened before the first actor
    starts, and closed after the last one has ended.
    """
    recoveries_max: int = 64
    """Event-sourced actors reading their history at one time; more wait in line. Too low makes a start of many slow,
    too high lets their reads get in the way of the writes of others.
    """

    def __post_init__(self) -> None:
        check_count(self, "recoveries_max")
        journal = cast("object", self.journal)
        if journal is not None and (isinstance(journal, type) or not isinstance(journal, Journal)):
            raise ConfigError(f"SystemConfig.journal must be a casty.Journal or None, got {self.journal!r}")
        if self.seed is not None:
            check_count(self, "seed", least=0)
        check_positive(self, "stop_timeout", "shutdown_timeout", "slow_handler_after")
        check_kind("SystemConfig.mailbox", self.mailbox, Mailbox, "Mailbox(100)")
        for pattern, mailbox in self.mailboxes.items():
            check_kind(f"SystemConfig.mailboxes[{pattern!r}]", mailbox, Mailbox, "Mailbox(100)")
            if not pattern.startswith("/"):
                raise ConfigError(f"SystemConfig.mailboxes: a pattern of paths begins with '/', got {pattern!r}")
        object.__setattr__(self, "mailboxes", MappingProxyType(dict(self.mailboxes)))

    def mailbox_for(self, path: str) -> Mailbox:
        """Return the mailbox of an actor spawned without one at ``path``.

        >>> config = SystemConfig(mailboxes={"/orders/*": Mailbox(100), "/**/log": Mailbox(10)})
        >>> [config.mailbox_for(path).capacity for path in ("/orders/7", "/orders/7/log", "/log", "/orders")]
        [100, 10, 10, 1000000]

        Parameters:
            path: Path of the actor.

        Returns:
            The mailbox of the first matching pattern, else ``mailbox``.
        """
        for pattern, mailbox in self.mailboxes.items():
            if _compiled(pattern).fullmatch(path):
                return mailbox
        return self.mailbox


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    parts = [".*" if name == "**" else re.escape(name).replace(r"\*", "[^/]*") for name in pattern.split("/")[1:]]
    return re.compile("".join("(?:/.*)?" if part == ".*" else "/" + part for part in parts))
