"""A node under attack: the asks that go on meanwhile, and the figures before and after."""

from __future__ import annotations

from collections.abc import Iterable

from processes import NodeProcess, show

RISE_BYTES_MAX = 64 * 1024 * 1024
LOG_LINES_MAX = 1_000
"""A peer causes at most 20 a second, and the hello of a stranger takes as long as dialling it back."""
LOG_LINE_LENGTH_MAX = 1_000


class Siege:
    """What was so before the attack, and the asks that go on during it."""

    def __init__(self, target: NodeProcess, others: Iterable[NodeProcess]) -> None:
        self.target = target
        self.others = list(others)

    async def begin(self) -> None:
        """Take the measure of the node and have the others ask it, and it them."""
        for node in self.others:
            await self.target.call("ask", node=node.node_id)
            await node.call("ask", node=self.target.node_id)
        self.resident = self.target.resident_bytes()
        self.descriptors = self.target.descriptors()
        self.tasks = (await self.target.call("statistics"))["tasks"]
        self.lines = len(self.target.log)
        pairs = [(self.target, self.others[0]), *((other, self.target) for other in self.others)]
        self.monitors = [(node, await node.begin("monitor", node=asked.node_id)) for node, asked in pairs]

    async def end(self) -> None:
        """Show the figures and require what must hold after any attack."""
        for node, number in self.monitors:
            await node.call("unmonitor")
            asked = await node.wait_for("answer", id=number)
            show(
                f"asks of {node.node_id}: {asked['count']}, p99 {asked['p99']:.3f} s, longest {asked['longest']:.3f} s"
            )
            assert asked["failed"] == 0
        rise = self.target.resident_bytes() - self.resident
        lines = self.target.log[self.lines :]
        show(f"memory rose by {rise / 1024**2:.1f} MiB, {len(lines)} log lines")
        assert rise < RISE_BYTES_MAX
        assert len(lines) <= LOG_LINES_MAX
        assert max(map(len, lines), default=0) <= LOG_LINE_LENGTH_MAX
        assert not any("Traceback" in line for line in lines), self.target.story()
        await self._settle()
        for node in (self.target, *self.others):
            assert not node.seen("UnreachableMember"), node.story()
            assert not node.seen("MemberLeft"), node.story()

    async def _settle(self) -> None:
        def has_settled(statistics: dict[str, int]) -> bool:
            return self.target.descriptors() <= self.descriptors and statistics["tasks"] <= self.tasks + 1

        await self.target.wait_statistics(has_settled, f"{self.descriptors} descriptors and {self.tasks} tasks again")
