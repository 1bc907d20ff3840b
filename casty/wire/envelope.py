"""What the frames between actors hold, once decoded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

NoticeCode: TypeAlias = Literal["unknown_type", "no_actor", "ill_typed"]
"""Why an envelope was not delivered."""

NOTICE_CODES: tuple[NoticeCode, ...] = ("unknown_type", "no_actor", "ill_typed")


@dataclass(frozen=True, slots=True)
class Envelope:
    """A message for the actor at ``path``; ``uid`` 0 means whichever actor has the path now."""

    path: str
    uid: int
    message: object


@dataclass(frozen=True, slots=True)
class Notice:
    """The answer to an envelope that could not be delivered: why, for whom, and its wire name."""

    code: NoticeCode
    path: str
    uid: int
    name: str
