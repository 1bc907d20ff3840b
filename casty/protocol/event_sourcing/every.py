"""Choice of a user on snapshots and their number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from casty.config.validation import check_count
from casty.errors import ConfigError
from casty.schema.names import message


@message("casty.Every")
@dataclass(frozen=True, slots=True)
class Every:
    """Take a snapshot of the state after so many events, to spare a start the reading of all.

    Nobody waits for it, and a failed one is taken again after the next append.

    >>> Every(100, keep=2)
    Every(events=100, keep=2, forget=False)

    Raises:
        ConfigError: A number is below 1, or ``forget`` no bool.
    """

    events: int = 100
    """Events from one snapshot to the next. Fewer make starts shorter, and writes more."""
    keep: int = 2
    """Snapshots to keep. Two leave one to begin with, where the newest cannot be read after a change of its class."""
    forget: bool = False
    """Whether the events in all kept snapshots go, once the newest was read back. Nobody can replay them then."""

    def __post_init__(self) -> None:
        check_count(self, "events", "keep")
        if type(self.forget) is not bool:
            raise ConfigError(f"Every.forget must be True or False, got {self.forget!r}")


EVERY_HUNDRED: Final = Every()
