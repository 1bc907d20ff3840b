"""Whole clusters in one process and in virtual time, from a seed, with faults at chosen moments."""

from casty.testing.simulation.invariants import InvariantBroken, Watch, check_events
from casty.testing.simulation.model import ModelCluster, Run

__all__ = ["InvariantBroken", "ModelCluster", "Run", "Watch", "check_events"]
