"""Real nodes with failure detectors of a user's, over the memory network."""

from __future__ import annotations

import pytest
import trio
from helpers.detectors import FAULTY, FixedTimeout

from casty import ClusterSettings, ConfigError, UnreachableMember
from casty.testing.inspect import node_of


def settings(factory: object) -> ClusterSettings:
    return ClusterSettings(failure_detector_factory=factory, downing="none")  # type: ignore[arg-type]  # built of what a test gives


async def noticed(nodes, name: str) -> float:
    """Cut a and b off from each other; return after how long one has noticed."""
    nodes.network.cut("a", "b")
    began = trio.current_time()
    with trio.fail_after(20):
        async with nodes.handles[name].system.events(UnreachableMember) as events:
            if not nodes.handles[name].told(UnreachableMember):
                await anext(events)
    return trio.current_time() - began


async def test_each_node_notices_a_cut_as_its_own_detectors_say(autojump_clock, nodes):
    await nodes.start("a", settings=settings(lambda node: FixedTimeout(1.0)))
    await nodes.start("b", "a", settings=settings(lambda node: FixedTimeout(2.5)))
    await nodes.all_up("a", "b")
    await trio.sleep(30)
    assert nodes.handles["a"].told(UnreachableMember) == nodes.handles["b"].told(UnreachableMember) == []
    assert 0.4 < await noticed(nodes, "a") < 1.1
    assert 1.4 < 1.1 + await noticed(nodes, "b") < 2.7


@pytest.mark.parametrize("fault", FAULTY)
async def test_a_detector_at_fault_costs_a_log_line_and_no_task(autojump_clock, nodes, caplog, fault):
    factory, text = FAULTY[fault]
    await nodes.start("a", settings=settings(factory))
    await nodes.start("b", "a", settings=settings(None))
    await nodes.all_up("a", "b")
    await trio.sleep(10)
    told = [record.getMessage() for record in caplog.records if "failure detector" in record.getMessage()]
    assert len(told) == 1
    assert "its failure detector is at fault, phi accrual judges it now: " + text in told[0]
    assert node_of(nodes.handles["a"].system).cluster_metrics.detector_failures == 1
    assert not nodes.handles["a"].ended.is_set()
    assert 3 < await noticed(nodes, "a") < 5.6


async def test_a_factory_that_cannot_make_detectors_is_the_error_of_the_block(autojump_clock, nodes):
    with pytest.raises(ConfigError, match="failure_detector_factory makes no detector that can judge: TypeError"):
        await nodes.start("a", settings=settings(lambda node: None))
