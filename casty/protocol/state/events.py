"""Membership events, published on the event stream of every node, once per change and run."""

from __future__ import annotations

from dataclasses import dataclass

from casty.protocol.state.member import Member
from casty.schema.names import message


@message("casty.MemberUp")
@dataclass(frozen=True, slots=True)
class MemberUp:
    """A member is up: seen here as up, or beyond, for the first time."""

    member: Member
    """The member, in its new state."""


@message("casty.MemberLeft")
@dataclass(frozen=True, slots=True)
class MemberLeft:
    """A member, once up, has been removed, after it left or was downed."""

    member: Member
    """The member, as it was last."""


@message("casty.UnreachableMember")
@dataclass(frozen=True, slots=True)
class UnreachableMember:
    """Somebody has stopped hearing from the member; an observation, it may return."""

    member: Member
    """The member; its status is the last one."""


@message("casty.ReachableMember")
@dataclass(frozen=True, slots=True)
class ReachableMember:
    """All accusers of the member hear from it again."""

    member: Member
    """The member; its status is the last one."""


MemberEvent = MemberUp | MemberLeft | UnreachableMember | ReachableMember
