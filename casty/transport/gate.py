"""How many strangers may stand at the door: connections that have not said hello yet."""

from __future__ import annotations


class Gate:
    """Counts connections before their hello, in all and per remote host.

    >>> gate = Gate(total_max=2, per_host_max=1)
    >>> gate.enter("10.0.0.9"), gate.enter("10.0.0.9"), gate.enter("10.0.0.8")
    (True, False, True)
    """

    __slots__ = ("_per_host", "_per_host_max", "_total_max", "inside")

    def __init__(self, *, total_max: int, per_host_max: int) -> None:
        self.inside = 0
        self._total_max = total_max
        self._per_host_max = per_host_max
        self._per_host: dict[str, int] = {}

    def enter(self, host: str) -> bool:
        """Count one more; False when there is no place, then nothing was counted."""
        count = self._per_host.get(host, 0)
        if self.inside >= self._total_max or count >= self._per_host_max:
            return False
        self.inside += 1
        self._per_host[host] = count + 1
        return True

    def leave(self, host: str) -> None:
        """Uncount what `enter` has counted."""
        self.inside -= 1
        self._per_host[host] -= 1
        if not self._per_host[host]:
            del self._per_host[host]
