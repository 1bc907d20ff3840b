"""Settings are keyword-only where they could be mixed up, and frozen."""

from __future__ import annotations

from casty import ClusterConfig, NodeAddress


def a_node_is_configured() -> ClusterConfig:
    seed = ("127.0.0.1", 2552)
    return ClusterConfig("127.0.0.1", 2551, node_id="node-1", seed_nodes=(seed,), roles=frozenset({"web"}))


def a_node_needs_a_name() -> ClusterConfig:
    return ClusterConfig("127.0.0.1", 2551)  # expect-error


def a_port_is_a_number() -> NodeAddress:
    return NodeAddress("127.0.0.1", "2551")  # expect-error


def settings_are_frozen(config: ClusterConfig) -> None:
    config.port = 1  # expect-error
