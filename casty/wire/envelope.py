"""What the frames between actors hold, once decoded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

NoticeCode: TypeAlias = Literal["unknown_type", "no_actor", "ill_typed"]
"""Why an envelope was not delivered."""

NOTICE_CODES: tuple[NoticeCode, ...] = ("unknown_type", "no_actor", "ill_typed")


Wait: TypeAlias = tuple[float, int]
"""How many seconds the sender of a request waits for a reply, and the number by which it can withdraw it."""


class Envelope(NamedTuple):
    """A message for the actor at ``path``; ``uid`` 0 means whichever actor has the path now.

    A tuple, because one is made for every message and it costs a third of a frozen dataclass.
    """

    path: str
    uid: int
    message: object
    name: str
    """How the type of the message is called on the wire."""
    wait: Wait | None = None
    """Of an ask; None for any other message."""


@dataclass(frozen=True, slots=True)
class Notice:
    """The answer to an envelope that could not be delivered: why, for whom, and its wire name."""

    code: NoticeCode
    path: str
    uid: int
    name: str
