"""Bounds of the transport."""

from __future__ import annotations

from dataclasses import dataclass, fields

from casty.config.validation import (
    check_count,
    check_positive,
)
from casty.errors import ConfigError
from casty.schema.names import message

FRAME_BYTES_LEAST = 256 * 1024
"""Size of frames sent by nodes of their own accord: a page of the membership has so much, a slice a quarter of it."""


STRANGER_FRAMES_LEAST = 6
"""Frames of the largest size with room for strangers at least, two of them for those held by their links."""


@message("casty.TransportLimits")
@dataclass(frozen=True, slots=True)
class TransportLimits:
    """Bounds that keep a hostile or broken peer from costing more than a connection.

    Raises:
        ConfigError: A field has a bad value; the message names it and the expected values.
    """

    hello_frame_bytes_max: int = 4 * 1024
    """Largest frame before the hello is accepted."""
    frame_bytes_max: int = 1024 * 1024 + 4096
    """Largest frame afterwards: a payload of 1 MiB and its envelope. At least 256 KiB, the size of a page of the
    membership, and the same on all nodes: one with less hangs up on those with more.
    """
    message_bytes_max: int = 16 * 1024 * 1024
    """Bytes of one message between actors. Larger ones than ``frame_bytes_max`` travel in slices on a connection of
    their own. A node puts together four such messages at a time, of members only.
    """
    hello_timeout: float = 5.0
    """For the whole exchange of hellos, not for each read."""
    unauthenticated_max: int = 64
    """Connections at one time without a hello yet. The next one takes the place of the longest silent one."""
    unauthenticated_per_host_max: int = 16
    """Such connections of one remote host."""
    links_max: int = 4_096
    """Established links over all peers and lanes; beyond it newcomers are refused for a while."""
    strangers_max: int = 1_024
    """The part of them open to peers outside of the cluster, joining ones among them. The next one takes the place of
    the longest one.
    """
    strangers_per_host_max: int = 256
    """Such connections of one remote host."""
    strangers_bytes_max: int = 64 * 1024 * 1024
    """Memory for all such peers together: their frames received in part, frames waiting for them, 16 KiB for each of
    their links, and their messages waiting in mailboxes. Where their links hold more than three eighths of it, the
    largest holder, of the host that holds the most, is hung up on. Where their messages take up more than a quarter,
    further ones are dead letters.
    """
    idle_timeout: float = 60.0
    """A link is closed after so long without traffic, and dialled again when there is something to send.
    Heartbeats keep the control links of monitored nodes."""
    nesting_max: int = 32
    """Depth of containers inside a message. A type with more cannot be used; of a type that contains itself, a message
    with more is refused where it is sent, and where it comes."""
    elements_max: int = 65_536
    """Values inside one message, counted over all containers."""
    outbound_messages_max: int = 4_096
    """Frames waiting for one peer and lane; beyond it ``tell`` makes dead letters, ``send`` waits."""
    outbound_bytes_max: int = 8 * 1024 * 1024
    """Bytes waiting for one peer and lane."""
    dial_timeout: float = 5.0
    """Seconds for one attempt to connect, the exchange of hellos included."""
    write_timeout: float = 10.0
    """Seconds for a write without progress; then the link is dropped. On Linux it is dropped too when the other machine
    does not acknowledge bytes for this long, and on the control lane for 5 s at most.
    """

    def __post_init__(self) -> None:
        durations = ("hello_timeout", "dial_timeout", "write_timeout", "idle_timeout")
        check_positive(self, *durations)
        check_count(self, *(f.name for f in fields(self) if f.name not in durations))
        if self.frame_bytes_max < FRAME_BYTES_LEAST:
            raise ConfigError(
                f"TransportLimits.frame_bytes_max must be at least {FRAME_BYTES_LEAST}, got {self.frame_bytes_max!r}: "
                "pages of the membership and slices of large messages have to fit"
            )
        if self.strangers_bytes_max < STRANGER_FRAMES_LEAST * self.frame_bytes_max:
            raise ConfigError(
                f"TransportLimits.strangers_bytes_max must be at least {STRANGER_FRAMES_LEAST} times frame_bytes_max, "
                f"{STRANGER_FRAMES_LEAST * self.frame_bytes_max}, got {self.strangers_bytes_max!r}: a node that joins "
                "is a stranger at first"
            )
