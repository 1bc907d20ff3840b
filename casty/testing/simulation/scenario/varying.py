"""Settings and roles drawn from a seed: the rules have to hold with each of them.

Owns the settings of a scenario besides the defaults. Left out are those that leave a cluster to an operator: with
``downing="none"`` nobody is ever removed after a crash.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

from casty.config import ClusterSettings, FailureDetectorConfig
from casty.testing.simulation.scenario.lease import SimulatedLease

Roles = dict[str, tuple[str, ...]]

ROLES: tuple[tuple[str, ...], ...] = (("db",), ("web",), ("db", "web"), ())


def settings_for(seed: int, names: Sequence[str]) -> tuple[ClusterSettings, Roles]:
    """Return the settings of a cluster of these nodes, and their roles; of two seeds one has the defaults.

    >>> settings_for(1, ("a", "b", "c")) == settings_for(1, ("a", "b", "c"))
    True
    """
    rng = random.Random(f"settings {seed}")
    if rng.random() < 0.5:
        return ClusterSettings(), {}
    roles: Roles = {name: rng.choice(ROLES) for name in names} if rng.random() < 0.5 else {}
    settings = ClusterSettings()
    for change, share in ((_strategy, 0.6), (_minimum, 0.5), (_timing, 0.5), (_detection, 0.3)):
        if rng.random() < share:
            settings = change(rng, settings, names, roles)
    return settings, roles


def _strategy(rng: random.Random, settings: ClusterSettings, names: Sequence[str], roles: Roles) -> ClusterSettings:
    databases = sum("db" in held for held in roles.values())
    role = "db" if databases and rng.random() < 0.5 else None
    voters = databases if role else len(names)
    half = voters // 2 + 1
    choices: list[Callable[[], ClusterSettings]] = [
        lambda: replace(settings, downing_role=role),
        lambda: replace(settings, downing="static_quorum", quorum_size=half, downing_role=role),
        lambda: replace(settings, downing="static_quorum", quorum_size=odd),
        lambda: replace(settings, downing="keep_oldest", downing_role=role),
        lambda: replace(settings, downing="keep_oldest", down_if_alone=False, downing_role=role),
        lambda: replace(settings, downing="lease_majority", lease=SimulatedLease(), downing_role=role),
        lambda: replace(settings, downing="lease_majority", lease=SimulatedLease(), lease_minority_delay=delay),
        lambda: replace(settings, downing="down_all"),
    ]
    delay, odd = rng.choice((0.5, 4.0)), rng.choice((max(half - 1, 1), half + 1))
    return rng.choice(choices)()


def _minimum(rng: random.Random, settings: ClusterSettings, names: Sequence[str], roles: Roles) -> ClusterSettings:
    least = {role: sum(role in held for held in roles.values()) for role in ("db", "web")}
    per_role = {role: rng.randint(1, count) for role, count in least.items() if count and rng.random() < 0.7}
    return replace(settings, min_members=rng.randint(1, len(names)), min_members_per_role=per_role)


def _timing(rng: random.Random, settings: ClusterSettings, names: Sequence[str], roles: Roles) -> ClusterSettings:
    return replace(
        settings,
        stable_after=rng.choice((None, 5.0, 6.0, 12.0)),
        leave_timeout=rng.choice((2.0, 5.0, 8.0)),
        gossip_interval=rng.choice((0.5, 1.0, 2.0)),
        gossip_fanout=rng.choice((1, 2, 3, 5)),
    )


def _detection(rng: random.Random, settings: ClusterSettings, names: Sequence[str], roles: Roles) -> ClusterSettings:
    return replace(
        settings,
        heartbeat_interval=rng.choice((0.25, 0.5, 1.0)),
        availability_interval=rng.choice((0.5, 2.0, 4.0)),
        monitored_max=rng.choice((2, 3, 5, 9)),
        failure_detector=FailureDetectorConfig(
            threshold=rng.choice((6.0, 8.0, 12.0)),
            acceptable_heartbeat_pause_ms=rng.choice((2000.0, 3000.0, 5000.0)),
        ),
    )
