"""Return of a member that answers again, unless it has come and gone too often.

Owns how often each member has come back lately, and since when each held one has answered steadily. It does not know
why a member was accused (`monitor`).

How it works: a member on its `FLAPS_MAX`th return within `FLAPS_WITHIN` is held: it stays accused until it has answered
for as long as a decision takes (`downing.stable_after`) without a silence long enough for an accusation. Nodes hearing
it again do not down it until it should have been taken back; if it falls silent once more, it gets no second delay. A
return counts only where less than half of the members monitored by this node were accused with it: else it is the
network that flaps, or this node's own link, and no member is to blame.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, field

from casty.address import UniqueAddress

FLAPS_MAX = 3
FLAPS_WITHIN = 120.0


def _no_returns() -> dict[UniqueAddress, deque[float]]:
    return {}


@dataclass(slots=True)
class Flapping:
    """The notes of one node."""

    _returns: dict[UniqueAddress, deque[float]] = field(init=False, default_factory=_no_returns)
    _excused: set[UniqueAddress] = field(init=False, default_factory=lambda: set[UniqueAddress]())
    _steady_since: dict[UniqueAddress, float] = field(init=False, default_factory=lambda: dict[UniqueAddress, float]())
    """Start of the steady answers of each held member."""

    def accused(self, accused: Collection[UniqueAddress], monitored: int) -> None:
        """Take note of the members accused now, one more than before."""
        if 2 * len(accused) >= monitored:
            self._excused.update(accused)

    def answered(self, node: UniqueAddress, now: float, *, was_silent: bool, steady_for: float) -> bool:
        """Take an answer of an accused member; return whether it may be taken back.

        ``was_silent``: it comes after a silence long enough for an accusation. ``steady_for``: how long a held one must
        answer without such a silence, in seconds.
        """
        if node in self._steady_since:
            if was_silent:
                self._steady_since[node] = now
            if now - self._steady_since[node] < steady_for:
                return False
            self.forget(node)
            return True
        if node in self._excused:
            self._excused.discard(node)
            return True
        returns = self._returns.setdefault(node, deque(maxlen=FLAPS_MAX))
        returns.append(now)
        if len(returns) < FLAPS_MAX or now - returns[0] > FLAPS_WITHIN:
            return True
        self._steady_since[node] = now
        return False

    def is_held(self, node: UniqueAddress) -> bool:
        """Return whether a member came back too often, and has not been taken back since."""
        return node in self._steady_since

    def forget(self, node: UniqueAddress) -> None:
        """Begin anew with a member, or forget a gone one."""
        self._returns.pop(node, None)
        self._steady_since.pop(node, None)
        self._excused.discard(node)
