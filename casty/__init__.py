"""A typed, clustered actor library on Trio."""

from __future__ import annotations

from casty.address import ActorAddress, NodeAddress, NodeId
from casty.config import (
    ClusterConfig,
    ClusterSettings,
    FailureDetectorConfig,
    Mailbox,
    MailboxOverflowStrategy,
    SystemConfig,
    TransportLimits,
)
from casty.errors import (
    ActorStoppedError,
    AskFailed,
    AskTimeoutError,
    BindError,
    CastyError,
    ClusterTimeoutError,
    ConfigError,
    DecodeError,
    EncodeError,
    FrameError,
    JoinRefused,
    MailboxFull,
    NodeDowned,
    ProtocolError,
    UnknownTypeError,
    UnsupportedTypeError,
)
from casty.refs import ActorRef

__all__ = [
    "ActorAddress",
    "ActorRef",
    "ActorStoppedError",
    "AskFailed",
    "AskTimeoutError",
    "BindError",
    "CastyError",
    "ClusterConfig",
    "ClusterSettings",
    "ClusterTimeoutError",
    "ConfigError",
    "DecodeError",
    "EncodeError",
    "FailureDetectorConfig",
    "FrameError",
    "JoinRefused",
    "Mailbox",
    "MailboxFull",
    "MailboxOverflowStrategy",
    "NodeAddress",
    "NodeDowned",
    "NodeId",
    "ProtocolError",
    "SystemConfig",
    "TransportLimits",
    "UnknownTypeError",
    "UnsupportedTypeError",
]
