"""The contract of a journal, tried on any: `check_journal` and the names of its promises."""

from casty.testing.journal_contract.check import (
    HISTORY_PROMISES,
    JOURNAL_PROMISES,
    SNAPSHOT_PROMISES,
    STATE_PROMISES,
    check_journal,
)

__all__ = ["HISTORY_PROMISES", "JOURNAL_PROMISES", "SNAPSHOT_PROMISES", "STATE_PROMISES", "check_journal"]
