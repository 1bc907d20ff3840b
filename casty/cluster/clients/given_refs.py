"""Refs given to a client in replies: each is a capability for one actor, good on that connection.

A client never sees where an actor is: it gets a number of its session's in place of the address.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from typing import Any, Final, Never, cast

from casty.cluster.clients.client_limits import GIVEN_MAX
from casty.refs import ActorRef

GIVEN_PREFIX: Final = "/_given/"


@dataclass(frozen=True, slots=True)
class GivenRef:
    """A ref, and the type of its messages as the field had it that gave it away."""

    ref: ActorRef[Any]
    message_type: object


class GivenRefs:
    """Those of one session."""

    __slots__ = ("_by_path", "_paths", "_serial")

    def __init__(self) -> None:
        self._by_path: dict[str, GivenRef] = {}
        self._paths: dict[tuple[ActorRef[Never], object], str] = {}
        self._serial = count(1)

    def give(self, ref: ActorRef[Never], message_type: object) -> str:
        """Return the client's path to the actor."""
        known = self._paths.get((ref, message_type))
        if known is not None:
            return known
        if len(self._by_path) >= GIVEN_MAX:
            oldest = next(iter(self._by_path))
            gone = self._by_path.pop(oldest)
            del self._paths[cast("ActorRef[Never]", gone.ref), gone.message_type]
        path = self._paths[ref, message_type] = f"{GIVEN_PREFIX}{next(self._serial)}"
        self._by_path[path] = GivenRef(cast("ActorRef[Any]", ref), message_type)
        return path

    def at(self, path: str) -> object | None:
        """Return the message type of the actor at a path; None where the client was given none."""
        given = self._by_path.get(path)
        return None if given is None else given.message_type

    def ref(self, path: str) -> ActorRef[Any] | None:
        """Return the ref at a path."""
        given = self._by_path.get(path)
        return None if given is None else given.ref

    def __len__(self) -> int:
        return len(self._by_path)

    def __repr__(self) -> str:
        return f"<GivenRefs {len(self)}>"
