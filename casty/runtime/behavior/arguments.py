"""Arguments of the calls of a context, checked in one place: for an actor, and for the kit that stands in for one."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final, Never

from casty.config import Mailbox
from casty.config.validation import check_kind
from casty.refs import EntityRef, check_ref
from casty.runtime.behavior.signatures import check_behavior
from casty.runtime.deadlines import check_delay

NAME_FORBIDDEN: Final = "/?#"
"""Characters forbidden in a name, because paths and addresses are made of names."""


def check_spawn(behavior: object, name: object, mailbox: object, *, internal: bool) -> None:
    """Raise TypeError, ValueError or ConfigError unless an actor can be made of these."""
    check_behavior(behavior, "spawn")
    if not isinstance(name, str) or not name or any(c in NAME_FORBIDDEN for c in name):
        raise ValueError(f"an actor's name must be text, not empty and without any of {NAME_FORBIDDEN!r}, got {name!r}")
    if name.startswith("_") and not internal:
        raise ValueError(f"an actor's name must not begin with '_', which marks casty's own, got {name!r}")
    if mailbox is not None:
        check_kind("mailbox", mailbox, Mailbox, "Mailbox(100)")


def check_timer_key(key: object) -> None:
    """Raise TypeError unless a timer can be known by ``key``."""
    try:
        hash(key)
    except TypeError:
        raise TypeError(f"key, the name of a timer, must be hashable, such as text or a tuple, got {key!r}") from None


def check_once(delay: object, key: Hashable) -> None:
    """Raise ValueError or TypeError unless a timer can have these."""
    check_delay("delay", delay, zero=True)
    if key is not None:
        check_timer_key(key)


def first_delay(name: str, seconds: float, initial_delay: float | None, key: Hashable) -> float:
    """Return the seconds until a repeated timer's first message; ValueError or TypeError where it cannot have these."""
    check_delay(name, seconds, zero=False)
    if key is not None:
        check_timer_key(key)
    if initial_delay is None:
        return seconds
    check_delay("initial_delay", initial_delay, zero=True)
    return initial_delay


def check_reply_error(reply_to: object, error: object) -> None:
    """Raise TypeError unless an ask can be answered with ``error``: any exception, or a text."""
    check_ref(reply_to, "reply_error")
    if not isinstance(error, (str, BaseException)):
        raise TypeError(f"reply_error needs an exception or a text, got {error!r}")


def refuse_own_watch(path: str) -> Never:
    """Refuse an actor's watch of itself."""
    raise ValueError(f"{path} cannot watch itself: when it ends, nobody is there to be told")


def refuse_no_actor(path: str) -> Never:
    """Refuse a watch of something in the place of an actor."""
    raise ValueError(f"cannot watch {path}: it is no actor, and ends with the system")


def refuse_entity_watch(ref: EntityRef[Never]) -> Never:
    """Refuse a watch of an entity."""
    raise ValueError(f"cannot watch {ref.address}: an entity has no end, its next message starts it again")


def refuse_no_child(parent: str, path: str) -> Never:
    """Refuse a wait for the end of an actor that is no child."""
    raise ValueError(f"{parent} waits for the end of its own children only, and {path} is none: watch it")
