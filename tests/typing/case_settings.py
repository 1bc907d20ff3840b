"""Settings are keyword-only where they could be mixed up, and frozen."""

from __future__ import annotations

from casty import ClusterConfig, ClusterSettings, NodeAddress, PartitionView


def a_node_is_configured() -> ClusterConfig:
    seed = ("127.0.0.1", 2552)
    return ClusterConfig("127.0.0.1", 2551, node_id="node-1", seed_nodes=(seed,), roles=frozenset({"web"}))


def a_node_needs_a_name() -> ClusterConfig:
    return ClusterConfig("127.0.0.1", 2551)  # expect-error


def a_port_is_a_number() -> NodeAddress:
    return NodeAddress("127.0.0.1", "2551")  # expect-error


def settings_are_frozen(config: ClusterConfig) -> None:
    config.port = 1  # expect-error


class Whoever:
    def against(self, partition: PartitionView) -> str:
        return "" if partition.reachable else "nobody is here"


class Wrong:
    def against(self, partition: int) -> str:
        return ""


def a_strategy_is_a_name_or_an_object() -> list[ClusterSettings]:
    return [ClusterSettings(downing="keep_oldest"), ClusterSettings(downing=Whoever())]


def a_name_is_one_of_few() -> ClusterSettings:
    return ClusterSettings(downing="keep_all")  # expect-error


def a_strategy_judges_partitions() -> ClusterSettings:
    return ClusterSettings(downing=Wrong())  # expect-error
