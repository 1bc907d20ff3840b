"""Last versions of the membership at this node, and the nodes known to have had them.

Owns the memory behind differences: a node known to have had an older version needs only the changes since. It does not
know what is sent (`anti_entropy`).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from casty.address import UniqueAddress
from casty.protocol.state.membership_state import Gossip

RECENT_MAX = 8
"""Each version is acknowledged before long, so a few suffice; a node further behind gets the whole state."""


@dataclass(slots=True)
class RecentVersions:
    """The memory of one node; call `note` with each state."""

    _states: list[Gossip] = field(default_factory=lambda: list[Gossip]())

    def note(self, state: Gossip) -> None:
        """Keep a state, in place of the same version seen by fewer."""
        if self._states:
            last = self._states[-1].version
            if last is state.version or last == state.version:
                self._states[-1] = state
                return
        self._states.append(state)
        del self._states[:-RECENT_MAX]

    def find(self, digest: bytes) -> Gossip | None:
        """Return the version of that digest, or None when this node never had it or has forgotten it."""
        return next((state for state in reversed(self._states) if state.version_digest == digest), None)

    def base_of(self, node: UniqueAddress) -> Gossip | None:
        """Return the newest version that ``node`` is known to have had, or None."""
        return next((state for state in reversed(self._states) if node in state.seen), None)

    def was_seen(self, digest: bytes, bits: bytes) -> bool:
        """Take note of the nodes in ``bits`` as having had the version of that digest; return whether it is known.

        DecodeError for bits out of its range.
        """
        for place, state in enumerate(self._states):
            if state.version_digest == digest:
                self._states[place] = state.seen_by_all(state.named_by(bits))
                return True
        return False
