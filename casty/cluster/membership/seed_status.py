"""Last news of each seed, in words for a node waiting to be let in, or to begin a cluster."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from itertools import chain, repeat

import trio

from casty.address import LastMembership, NodeAddress
from casty.cluster.membership.membership_status import MembershipStatus
from casty.protocol.membership.founding import FOUND_MAX
from casty.protocol.membership.joining import FORM_AFTER
from casty.protocol.messages.membership import JoinAnswer, JoinState
from casty.schema.names import printable

WARN_AFTER = 2.0
"""A present seed answers within milliseconds; a dial to an absent host takes longer."""
WARN_AGAIN_AFTER = (8.0, 20.0)
WARN_EVERY = 60.0
PATIENCE = 30.0
"""A seed waiting for the others is no cause for a warning before: they start one after the other."""
REASON_LENGTH_MAX = 300

logger = logging.getLogger("casty.cluster")


class SeedStatus:
    """The seeds of this node. News of other addresses are not kept.

    >>> node, seed = NodeAddress("10.0.0.8", 2551), NodeAddress("10.0.0.7", 2551)
    >>> contacts = SeedStatus()
    >>> contacts.expect([seed], node)
    >>> str(contacts)
    '10.0.0.7:2551 has not answered yet'
    >>> contacts.failed(seed, "cannot connect to 10.0.0.7:2551: Connection refused")
    >>> str(contacts)
    'cannot connect to 10.0.0.7:2551: Connection refused'
    """

    def __init__(self) -> None:
        self._last: dict[NodeAddress, str] = {}
        self._seeds = 0
        self._is_seed = False
        self._was_member: LastMembership | None = None
        self._is_free = False
        self._is_long = False
        """Whether the wait is over PATIENCE, so others may be gone for good: before, they may just be starting."""

    def expect(
        self,
        seeds: Sequence[NodeAddress],
        self_node: NodeAddress,
        was_member: LastMembership | None = None,
        *,
        is_free: bool = False,
    ) -> None:
        """Begin with these seeds, still without any news; ``self_node`` may be one of them.

        ``was_member``: the last membership known to the last run of this node; ``is_free``: it may begin a cluster
        alone.
        """
        self._last = {seed: f"{seed} has not answered yet" for seed in seeds if seed != self_node}
        self._seeds, self._is_seed = len(set(seeds)), self_node in seeds
        self._was_member, self._is_free = was_member, is_free

    def found(self, seeds: Iterable[NodeAddress], self_node: NodeAddress) -> None:
        """Note further addresses to ask; the seeds counted for the beginning of a cluster stay the same."""
        for seed in seeds:
            if seed != self_node and len(self._last) < FOUND_MAX:
                self._last.setdefault(seed, f"{seed} has not answered yet")

    def failed(self, seed: NodeAddress, reason: str) -> None:
        """Nobody could be reached there."""
        text = printable(reason, REASON_LENGTH_MAX)
        self._note(seed, text if str(seed) in text else f"{seed}: {text}")

    def refused(self, seed: NodeAddress, reason: str) -> None:
        """The node there wants no connection with this one."""
        self._note(seed, f"{seed} refused the connection: {printable(reason, REASON_LENGTH_MAX)}")

    def is_self(self, seed: NodeAddress) -> None:
        """The address leads back to this node."""
        self._is_seed = self._is_seed or seed in self._last
        self._note(seed, f"{seed} is this node itself")

    def answered(self, seed: NodeAddress, answer: JoinAnswer) -> None:
        """The node there has answered."""
        match answer.state:
            case JoinState.not_in_cluster:
                self._note(seed, f"{seed} answered that it is in no cluster yet either")
            case JoinState.waiting:
                self._note(seed, f"{seed} was downed, and waits for those whom it knew{self._not_counted}")
            case JoinState.in_cluster:
                self._note(seed, f"{seed} would let this node in, and the welcome has not come yet")
            case JoinState.retry:
                self._note(seed, f"{seed} asks this node to wait: {printable(answer.reason, REASON_LENGTH_MAX)}")
            case JoinState.refused:
                self._note(seed, f"{seed} refused this node: {printable(answer.reason, REASON_LENGTH_MAX)}")

    async def wait_joined(self, board: MembershipStatus) -> None:
        """Return once this node is a member; log, now and then, the nodes it waits for."""
        waited = 0.0
        for delay in chain((WARN_AFTER, *WARN_AGAIN_AFTER), repeat(WARN_EVERY)):
            with trio.move_on_after(delay):
                return await board.wait_joined()
            waited += delay
            self._is_long = waited >= PATIENCE
            if self._rule and not self._is_long:
                logger.info("waiting for other seeds for %g s: %s", waited, str(self))
            else:
                logger.warning("no seed has let this node in for %g s: %s", waited, str(self))

    @property
    def _not_counted(self) -> str:
        """Return the words for a node without memory on a seed with one; to a node with memory, the seed counts."""
        if self._was_member is not None:
            return ""
        return ": it does not count here (are they gone for good? end its process, and start it anew)"

    @property
    def _rule(self) -> str:
        """Condition for this node to begin a cluster, in words; "" if it never may."""
        if self._was_member is not None:
            known = len(self._was_member.voters)
            return f"this node was downed, and begins no cluster without more than half of the {known} voters it knew"
        if not self._is_seed or self._seeds == 1:
            return ""
        if self._is_free:
            return (
                f"this node begins a cluster alone if no seed answers for {FORM_AFTER:g} s, "
                "not even one that was downed, and waits"
            )
        rule = f"a cluster begins with {self._seeds // 2 + 1} of {self._seeds} seeds, this one included"
        return f"{rule} (others are gone for good? see allow_new_cluster)" if self._is_long else rule

    def _note(self, seed: NodeAddress, text: str) -> None:
        if seed in self._last:
            self._last[seed] = text

    def __str__(self) -> str:
        return (
            "; ".join([*self._last.values(), *filter(None, [self._rule])])
            or "it is about to begin a cluster of its own"
        )
