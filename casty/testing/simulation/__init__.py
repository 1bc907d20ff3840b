"""Whole clusters in one process and in virtual time, from a seed, with faults at chosen moments."""

from casty.testing.simulation.invariants.extensions.listings_agree import ListingsAgree
from casty.testing.simulation.invariants.extensions.watchers_told import WatchersTold
from casty.testing.simulation.invariants.failure_detector.hearing import AccusedRightly
from casty.testing.simulation.invariants.failure_detector.holding import Held
from casty.testing.simulation.invariants.failure_detector.probing import Probed
from casty.testing.simulation.invariants.failure_detector.returning import ReturnHeard
from casty.testing.simulation.invariants.failure_detector.silence import SilenceNoticed, StallWithheld
from casty.testing.simulation.invariants.invariants import InvariantBroken, Watch, check_events, check_snapshots
from casty.testing.simulation.invariants.membership.acknowledging import Acknowledged
from casty.testing.simulation.invariants.membership.agreeing import Agreed
from casty.testing.simulation.invariants.membership.answering import Answered
from casty.testing.simulation.invariants.membership.ending import CrashSeen, LeavesInOrder
from casty.testing.simulation.invariants.membership.letting_in import Founded, OneRunJoins
from casty.testing.simulation.invariants.membership.publishing import SeenWhenPublished
from casty.testing.simulation.invariants.membership.spreading import NewsTravel, Weather
from casty.testing.simulation.invariants.rules import Rule, Rules
from casty.testing.simulation.invariants.split_brain.claiming import Claimed, KnownToAll
from casty.testing.simulation.invariants.split_brain.cutting import CutDecided
from casty.testing.simulation.invariants.split_brain.deciding import Decided
from casty.testing.simulation.invariants.split_brain.exclusive import OneOwner
from casty.testing.simulation.invariants.split_brain.granting import GrantsHold
from casty.testing.simulation.model.machine import ModelMachine, PureMachine
from casty.testing.simulation.model.model import ModelCluster
from casty.testing.simulation.model.run import ModelTask, Run
from casty.testing.simulation.nodes.tasks import OnNode, Simulation, simulate
from casty.testing.simulation.scenario.faults import (
    ClockSkew,
    Crash,
    Cut,
    Delay,
    Duplicate,
    Fault,
    Heal,
    JournalFault,
    Leave,
    Loss,
    Pause,
    Reorder,
    Restart,
    Wake,
)
from casty.testing.simulation.scenario.generating import partition_scenario, random_scenario
from casty.testing.simulation.scenario.lease import SimulatedLease
from casty.testing.simulation.scenario.scenario import Scenario
from casty.testing.simulation.search.checking import Play, ScenarioFailed, check
from casty.testing.simulation.search.extended import play_extensions
from casty.testing.simulation.search.player import Played, every_rule, play

__all__ = [
    "AccusedRightly",
    "Acknowledged",
    "Agreed",
    "Answered",
    "Claimed",
    "ClockSkew",
    "Crash",
    "CrashSeen",
    "Cut",
    "CutDecided",
    "Decided",
    "Delay",
    "Duplicate",
    "Fault",
    "Founded",
    "GrantsHold",
    "Heal",
    "Held",
    "InvariantBroken",
    "JournalFault",
    "KnownToAll",
    "Leave",
    "LeavesInOrder",
    "ListingsAgree",
    "Loss",
    "ModelCluster",
    "ModelMachine",
    "ModelTask",
    "NewsTravel",
    "OnNode",
    "OneOwner",
    "OneRunJoins",
    "Pause",
    "Play",
    "Played",
    "Probed",
    "PureMachine",
    "Reorder",
    "Restart",
    "ReturnHeard",
    "Rule",
    "Rules",
    "Run",
    "Scenario",
    "ScenarioFailed",
    "SeenWhenPublished",
    "SilenceNoticed",
    "SimulatedLease",
    "Simulation",
    "StallWithheld",
    "Wake",
    "Watch",
    "WatchersTold",
    "Weather",
    "check",
    "check_events",
    "check_snapshots",
    "every_rule",
    "partition_scenario",
    "play",
    "play_extensions",
    "random_scenario",
    "simulate",
]
