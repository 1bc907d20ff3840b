"""Whole clusters in one process and in virtual time, from a seed, with faults at chosen moments."""

from casty.testing.simulation.checking import Play, ScenarioFailed, check
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
from casty.testing.simulation.invariants import InvariantBroken, Watch, check_events, check_snapshots
from casty.testing.simulation.model import ModelCluster
from casty.testing.simulation.player import Played, play
from casty.testing.simulation.returning import ReturnHeard
from casty.testing.simulation.run import Run
from casty.testing.simulation.scenario import Scenario
from casty.testing.simulation.silence import SilenceNoticed
from casty.testing.simulation.tasks import OnNode, Simulation, simulate

__all__ = [
    "ClockSkew",
    "Crash",
    "Cut",
    "Delay",
    "Duplicate",
    "Fault",
    "Heal",
    "InvariantBroken",
    "Leave",
    "Loss",
    "ModelCluster",
    "OnNode",
    "OneOwner",
    "Pause",
    "Play",
    "Played",
    "Reorder",
    "Restart",
    "ReturnHeard",
    "Run",
    "Scenario",
    "ScenarioFailed",
    "SilenceNoticed",
    "Simulation",
    "Wake",
    "Watch",
    "check",
    "check_events",
    "check_snapshots",
    "partition_scenario",
    "play",
    "random_scenario",
    "simulate",
]
