"""Whole clusters in one process and in virtual time, from a seed, with faults at chosen moments."""

from casty.testing.simulation.acknowledging import Acknowledged
from casty.testing.simulation.agreeing import Agreed
from casty.testing.simulation.answering import Answered
from casty.testing.simulation.checking import Play, ScenarioFailed, check
from casty.testing.simulation.claiming import Claimed, KnownToAll
from casty.testing.simulation.cutting import CutDecided
from casty.testing.simulation.deciding import Decided
from casty.testing.simulation.ending import CrashSeen, LeavesInOrder
from casty.testing.simulation.exclusive import OneOwner
from casty.testing.simulation.faults import (
    ClockSkew,
    Crash,
    Cut,
    Delay,
    Duplicate,
    Fault,
    Heal,
    Leave,
    Loss,
    Pause,
    Reorder,
    Restart,
    Wake,
)
from casty.testing.simulation.generating import partition_scenario, random_scenario
from casty.testing.simulation.granting import GrantsHold
from casty.testing.simulation.hearing import AccusedRightly
from casty.testing.simulation.holding import Held
from casty.testing.simulation.invariants import InvariantBroken, Watch, check_events, check_snapshots
from casty.testing.simulation.lease import SimulatedLease
from casty.testing.simulation.letting_in import Founded, OneRunJoins
from casty.testing.simulation.model import ModelCluster
from casty.testing.simulation.player import Played, every_rule, play
from casty.testing.simulation.probing import Probed
from casty.testing.simulation.returning import ReturnHeard
from casty.testing.simulation.rules import Rule, Rules
from casty.testing.simulation.run import Run
from casty.testing.simulation.scenario import Scenario
from casty.testing.simulation.silence import SilenceNoticed, StallWithheld
from casty.testing.simulation.spreading import NewsTravel, Weather
from casty.testing.simulation.tasks import OnNode, Simulation, simulate

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
    "KnownToAll",
    "Leave",
    "LeavesInOrder",
    "Loss",
    "ModelCluster",
    "NewsTravel",
    "OnNode",
    "OneOwner",
    "OneRunJoins",
    "Pause",
    "Play",
    "Played",
    "Probed",
    "Reorder",
    "Restart",
    "ReturnHeard",
    "Rule",
    "Rules",
    "Run",
    "Scenario",
    "ScenarioFailed",
    "SilenceNoticed",
    "SimulatedLease",
    "Simulation",
    "StallWithheld",
    "Wake",
    "Watch",
    "Weather",
    "check",
    "check_events",
    "check_snapshots",
    "every_rule",
    "partition_scenario",
    "play",
    "random_scenario",
    "simulate",
]
