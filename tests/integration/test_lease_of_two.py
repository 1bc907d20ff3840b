"""Two real nodes with a lease in a file: either may be lost, and never do both work."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

import pytest
from exclusive_work import next_owner, turns
from processes import Rig, show


@pytest.fixture
def spec(tmp_path: Path) -> dict[str, Any]:
    """Settings of both nodes, who decide soon."""
    lease = {"downing": "lease_majority", "lease": str(tmp_path / "lease.db"), "lease_minority_delay": 0.5}
    return {"settings": {**lease, "stable_after": 1.0}, "exclusive": True}


@pytest.mark.parametrize("lost", ["a", "b"])
async def test_either_of_two_may_be_killed(rig: Rig, spec: dict[str, Any], lost: str) -> None:
    nodes = {node.node_id: node for node in await rig.cluster("a", "b", **spec)}
    await nodes["a"].wait_for("worked")
    killed_at = await nodes.pop(lost).kill()
    ((name, stays),) = nodes.items()
    mark = stays.mark()
    await stays.wait_members(mark, **{name: "up"})
    await stays.wait_for("worked", mark)
    show(f"{lost} killed: {name} works {stays.seen('worked', mark)[0]['at'] - killed_at:.2f} s later")
    turns(rig.nodes)


async def test_who_wakes_after_the_other_has_the_lease_does_not_get_it(rig: Rig, spec: dict[str, Any]) -> None:
    a, b = await rig.cluster("a", "b", **spec)
    await a.wait_for("worked")
    await a.send_signal(signal.SIGSTOP)
    stopped = time.monotonic()
    await b.wait_members(b="up")
    _, begun = await next_owner([b])
    await a.send_signal(signal.SIGCONT)
    error = await a.wait_for("error")
    assert error["type"] == "NodeDowned"
    assert await a.wait_ended() == 1
    show(f"b works {begun - stopped:.2f} s after a was stopped; a: {error['message']}")
    again = await rig.start("a", port=a.address[1], seeds=[b], **spec)
    await again.wait_members(a="up", b="up")
    assert [name for name, *_ in turns(rig.nodes)] == ["a", "b"]
