"""What a node of a cluster hands over to whoever collects."""

from __future__ import annotations

import trio

from casty import Metric
from casty.cluster.observability.cluster_metrics import CLUSTER_METRICS
from casty.runtime.system.metrics import SYSTEM_METRICS


class Collected(dict[tuple[str, ...], float]):
    """All figures of a node, by name and labels."""

    def __init__(self, nodes, name: str) -> None:
        super().__init__()
        self.metrics: set[Metric] = set()
        nodes.handles[name].system.collect(self)

    def counter(self, metric: Metric, value: float, *labels: str) -> None:
        assert len(labels) == len(metric.labels), metric
        assert (metric.name, *labels) not in self, metric
        self[(metric.name, *labels)] = value
        self.metrics.add(metric)

    gauge = counter


async def test_a_node_counts_its_members_its_gossip_and_its_links(autojump_clock, nodes) -> None:
    await nodes.join(*"abc")
    before = Collected(nodes, "b")
    await trio.sleep(10)
    after = Collected(nodes, "b")
    names = {
        "dead_letters",
        "refused_messages",
        "control_messages_unknown",
        "tables_unknown",
        "control_messages_dropped",
        "tls_certificate_seconds_left",
    }  # there are none
    assert after.metrics == {metric for metric in (*SYSTEM_METRICS, *CLUSTER_METRICS) if metric.name not in names}
    assert (after["members", "up"], after["members", "joining"], after["unreachable_members",]) == (3, 0, 0)
    assert (after["leader",], Collected(nodes, "a")["leader",]) == (0, 1)
    assert after["monitored_members",] == 2
    assert 0 < after["phi_max",] < 1e-3
    assert 9 <= after["gossip_rounds",] - before["gossip_rounds",] <= 11
    for direction in ("sent", "received"):
        beats = ("control_messages_" + direction, "casty.heartbeat")
        assert 38 <= after[beats] - before[beats] <= 42
        assert after["control_bytes_" + direction, "casty.heartbeat"] >= 20 * after[beats]
    assert after["links", "control"] == 2
    assert after["bytes_sent",] == sum(value for key, value in after.items() if key[0] == "control_bytes_sent")
    assert after["bytes_received",] == sum(value for key, value in after.items() if key[0] == "control_bytes_received")
    assert (after["accusations",], after["decode_errors",]) == (0, 0)


async def test_a_lost_member_raises_phi_and_is_counted_once(autojump_clock, nodes) -> None:
    await nodes.join(*"abc")
    nodes.network.freeze("c")
    await trio.sleep(6)
    seen = Collected(nodes, "a")
    assert (seen["unreachable_members",], seen["accusations",]) == (1, 1)
    assert seen["phi_max",] > 1
    await trio.sleep(20)
    after = Collected(nodes, "a")
    assert (after["members", "up"], after["members", "down"], after["unreachable_members",]) == (2, 0, 0)
    assert after["accusations",] == 1
    assert after["phi_max",] < 1e-3
