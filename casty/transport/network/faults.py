"""Faults on the paths between the hosts of a `casty.transport.network.memory.MemoryNetwork`.

A fault is directed and holds bytes, it never damages or reorders them: more of a bad network TCP lets no program see.
Everything is deterministic; for random faults draw them outside, from a seed, and call these methods.
"""

from __future__ import annotations

from abc import abstractmethod
from itertools import count

from casty.errors import ConfigError

TIE_BREAK = 1e-9
"""Seconds between two arrivals at one instant: equal deadlines have no defined order."""

TIE_BREAKS = 1024


class Faults:
    """State of all paths: cuts, frozen hosts, delays.

    Hosts are named as in `MemoryNetwork.host`; a name may come before its host exists.
    """

    def __init__(self) -> None:
        self._cuts: set[tuple[str, str]] = set()
        self._frozen: set[str] = set()
        self._delays: dict[tuple[str, str], float] = {}
        self._serial = count()

    @abstractmethod
    def _wake(self) -> None:
        """Let everybody waiting for bytes or for a path look again."""

    def cut(self, a: str, b: str, *, one_way: bool = False) -> None:
        """Turn the path from ``a`` to ``b`` silent, and the way back unless ``one_way``.

        Bytes on it are held, and so are the ends and resets of connections; a new connection needs
        both directions and waits.

        Parameters:
            a: Name of a host.
            b: Name of another.
            one_way: Let bytes from ``b`` to ``a`` still arrive.
        """
        self._cuts.add((a, b))
        if not one_way:
            self._cuts.add((b, a))

    def heal(self, a: str, b: str) -> None:
        """End the cuts between ``a`` and ``b`` in both directions; held bytes arrive now.

        Parameters:
            a: Name of a host.
            b: Name of another.
        """
        self._cuts -= {(a, b), (b, a)}
        self._wake()

    def heal_all(self) -> None:
        """End all cuts and thaw all hosts; delays stay."""
        self._cuts.clear()
        self._frozen.clear()
        self._wake()

    def freeze(self, host: str) -> None:
        """Stop a host as SIGSTOP does: its port still accepts, nothing goes in or out.

        The tasks of the host keep running in this process, only their bytes do not.

        Parameters:
            host: Name of the host.
        """
        self._frozen.add(host)

    def thaw(self, host: str) -> None:
        """Let a frozen host continue; held bytes arrive now.

        Parameters:
            host: Name of the host.
        """
        self._frozen.discard(host)
        self._wake()

    def delay(self, a: str, b: str, seconds: float, *, one_way: bool = False) -> None:
        """Let bytes take their time on a path. Those under way keep theirs, and later ones stay behind them.

        Parameters:
            a: Name of a host.
            b: Name of another.
            seconds: Seconds from ``a`` to ``b``, and back; 0 ends the delay.
            one_way: Whether the way back stays as it is.

        Raises:
            ConfigError: ``seconds`` is no finite number of at least 0.
        """
        if not 0 <= seconds < float("inf"):
            raise ConfigError(f"delay must be a finite number of at least 0, got {seconds!r}")
        for path in ((a, b),) if one_way else ((a, b), (b, a)):
            self._delays[path] = seconds

    def is_held(self, source: str, target: str) -> bool:
        """Look whether bytes do not arrive.

        Parameters:
            source: Name of the sending host.
            target: Name of the receiving host.

        Returns:
            Whether the path is cut, or one of the two is frozen.
        """
        return (source, target) in self._cuts or source in self._frozen or target in self._frozen

    def is_unreachable(self, source: str, target: str) -> bool:
        """Look whether a dial hangs; a frozen target still accepts.

        Parameters:
            source: Name of the dialling host.
            target: Name of the dialled host.

        Returns:
            Whether there is a cut between them, or the source is frozen.
        """
        return (source, target) in self._cuts or (target, source) in self._cuts or source in self._frozen

    def is_frozen(self, host: str) -> bool:
        """Look whether a host is stopped.

        Parameters:
            host: Name of the host.

        Returns:
            Whether it is.
        """
        return host in self._frozen

    def arrival(self, source: str, target: str, now: float) -> float:
        """Compute the arrival of something sent now from one host to another, cuts apart.

        Parameters:
            source: Name of the sending host.
            target: Name of the receiving host.
            now: Time of Trio's clock.

        Returns:
            Time of Trio's clock.
        """
        seconds = self._delays.get((source, target), 0.0)
        return now + seconds + next(self._serial) % TIE_BREAKS * TIE_BREAK if seconds else now
