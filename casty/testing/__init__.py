"""Tools for the tests of programs that use casty, and of casty itself."""

from casty.testing.detector_check import check_failure_detector
from casty.testing.downing_check import check_downing_strategy
from casty.testing.harness import ProbeFactory, autojump_backend, system_with_probes
from casty.testing.history import History, Operation
from casty.testing.journal_contract import (
    HISTORY_PROMISES,
    JOURNAL_PROMISES,
    SNAPSHOT_PROMISES,
    STATE_PROMISES,
    check_journal,
)
from casty.testing.kit.behavior_kit import BehaviorTestKit
from casty.testing.kit.effects import (
    AdapterMade,
    Cancelled,
    Effect,
    Piped,
    ReceiveTimeoutSet,
    RepliedError,
    Scheduled,
    Spawned,
    Stopped,
    TaskStarted,
    Told,
    Unwatched,
    Watched,
)
from casty.testing.kit.event_sourced_kit import EventSourcedTestKit
from casty.testing.kit.kit_context import TestInbox
from casty.testing.kit.stepping import WouldWait
from casty.testing.leaks import no_leaks
from casty.testing.linearizability import HistoryUndecided, NotLinearizable, check_linearizable
from casty.testing.probe import TestProbe
from casty.testing.simulated_journal import SimulatedJournal

__all__ = [
    "AdapterMade",
    "BehaviorTestKit",
    "Cancelled",
    "Effect",
    "EventSourcedTestKit",
    "HISTORY_PROMISES",
    "History",
    "HistoryUndecided",
    "JOURNAL_PROMISES",
    "NotLinearizable",
    "Operation",
    "Piped",
    "ProbeFactory",
    "ReceiveTimeoutSet",
    "RepliedError",
    "SNAPSHOT_PROMISES",
    "STATE_PROMISES",
    "Scheduled",
    "SimulatedJournal",
    "Spawned",
    "Stopped",
    "TaskStarted",
    "TestInbox",
    "TestProbe",
    "Told",
    "Unwatched",
    "Watched",
    "WouldWait",
    "autojump_backend",
    "check_downing_strategy",
    "check_failure_detector",
    "check_journal",
    "check_linearizable",
    "no_leaks",
    "system_with_probes",
]
