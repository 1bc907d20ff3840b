"""All exceptions raised by casty on purpose.

Three families: a programmer's mistake is a ``TypeError`` or ``ValueError`` raised at once, a peer's
mistake is a `ProtocolError`, and weather (time-outs, lost nodes, refusals) is a named error below
`CastyError`.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

from casty.address import LastMembership

AskFailure: TypeAlias = Literal[
    "not_sent",
    "not_delivered",
    "circle",
    "failed",
    "lost",
    "reply_lost",
    "node_removed",
    "system_ended",
    "moved",
    "buffer_full",
    "timed_out",
    "no_host",
    "journal_unavailable",
    "outcome_unknown",
]
"""Reason for an ask without a reply.

``not_sent``: the request has not left this node. ``not_delivered``: it came to its node, or its mailbox, no further.
``circle``: the actors would wait for one another. In these three nobody has begun with it. ``failed``: the actor failed
while it handled it, or has refused it. ``lost``: who got it has handed the ref for the reply on, in a message that was
lost; or a client's connection broke that it went by, and nobody knows how far it came. ``reply_lost``: the reply was
not sent, or cannot be read. ``node_removed``: the node that has it was removed, and nobody knows how far it came.
``system_ended``: that of the asker has ended.
``moved``: the entity moved to another node at that time. ``buffer_full``: too much waits for entities already.
``no_host``: no node hosts the kind of the entity. In these three nobody has begun with it either.
``timed_out``: of several that were asked at one time, this one has not replied.
``journal_unavailable``: what the command decided was certainly not stored; nothing of it has happened.
``outcome_unknown``: whether it was stored nobody knows; the entity reads its journal again before it goes on.
"""

NOT_HANDLED: Final = frozenset[AskFailure]({"not_sent", "not_delivered", "circle", "moved", "buffer_full", "no_host"})


class CastyError(Exception):
    """Base of all errors of casty."""


class ConfigError(CastyError, ValueError):
    """A setting makes no sense; the message says what was expected, found, and what to change."""


class UnsupportedTypeError(CastyError, TypeError):
    """A type cannot travel between nodes; the message names the field and what to use instead."""


class EncodeError(CastyError, ValueError):
    """A message cannot be turned into bytes. Raised at the sender; nothing was sent."""


class ProtocolError(CastyError):
    """Bytes from a peer break the protocol. The decoders raise this error and no other."""


class FrameError(ProtocolError):
    """The framing itself is broken or over a limit: the link cannot be used any more."""


class DecodeError(ProtocolError):
    """A well-framed message has an unknown name, or a missing or ill-typed field; the link lives.

    The fields tell for whom the message was, where it was for an actor.
    """

    path: str = ""
    """Path of the actor that the message was for; "" where it was not for an actor."""
    uid: int = 0
    """Serial number of the actor of that path; 0 for any."""
    name: str = ""
    """Wire name of the message."""
    ask: int = 0
    """Number of the ask that the message is the request of; 0 for none."""


class UnknownTypeError(DecodeError):
    """A message carries a wire name without a class on this node.

    Parameters:
        name: Wire name that this node does not know.
    """

    def __init__(self, name: str) -> None:
        super().__init__(f"unknown message type {name[:128]!r}: register it on this node")
        self.name: str = name
        """Wire name that this node does not know."""


class AskTimeoutError(CastyError, TimeoutError):
    """No reply came within the time-out; a reply that comes later is a dead letter."""

    @property
    def certainly_not_handled(self) -> bool:
        """Whether no actor has begun with the request, as of `AskFailed`; only of `NotSent`."""
        return False


class NotSent(AskTimeoutError):
    """The request of an ask was not sent within the time-out; it was certainly not handled: ask again.

    It found no room in the queue to another node, or its entity had no node in reach in all that time.
    """

    @property
    def certainly_not_handled(self) -> bool:
        """Whether no actor has begun with the request: none has."""
        return True


class AskFailed(CastyError):
    """An ask will get no reply: the asked actor answered with an error, failed, or did not get the request.

    Also where actors of one node would wait for each other in a circle: the last one to ask is told.

    On the actor's own node, ``__cause__`` is the exception that says why.

    Parameters:
        text: What has happened, for people.
        failure: The same, to branch on.

    >>> failed = AskFailed("/orders did not get the request", "not_sent")
    >>> failed.failure, failed.certainly_not_handled
    ('not_sent', True)
    """

    def __init__(self, text: str, failure: AskFailure = "failed") -> None:
        super().__init__(text)
        self.failure: AskFailure = failure
        """Kind of failure: to branch on, where the text is for people."""

    @property
    def certainly_not_handled(self) -> bool:
        """Whether no actor has begun with the request, so that asking again cannot do anything twice.

        Actors that have handed it on with ``ctx.forward`` are not counted.
        """
        return self.failure in NOT_HANDLED


class EntityMoved(AskFailed):
    """The request came to a node from which its entity had moved; it was certainly not handled: ask again.

    Parameters:
        text: What has happened, for people.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text, "moved")


class ShardBufferFull(AskFailed):
    """The entity has no node at the moment, is starting, or has a full mailbox, and too much waits; nothing was sent.

    Parameters:
        text: What has happened, for people.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text, "buffer_full")


class NoHost(AskFailed):
    """No node hosts the kind of the entity, and none came within the time-out of the ask; nothing was sent.

    Parameters:
        text: What has happened, for people.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text, "no_host")


class ClusterUnreachable(AskFailed):
    """A `ClusterClient` has had no node of its cluster for so long that it waits no more; nothing was sent.

    Raised on entering the block, too. The client goes on trying: later asks can go well again.

    Parameters:
        text: What has happened, for people.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text, "not_sent")


def failed_ask(text: str, failure: AskFailure) -> AskFailed:
    """Return the error of an ask, of the class for what has happened.

    Parameters:
        text: What has happened, for people.
        failure: The same, to branch on.

    Returns:
        The error.
    """
    match failure:
        case "moved":
            return EntityMoved(text)
        case "buffer_full":
            return ShardBufferFull(text)
        case "no_host":
            return NoHost(text)
        case _:
            return AskFailed(text, failure)


class MailboxFull(CastyError):
    """A mailbox with the policy ``reject`` or ``back_pressure`` had no room; the message was not taken.

    With the others too, where an actor would wait in its handler for room in its own mailbox.
    """


class TableFull(CastyError):
    """The rows of this node in a `ClusterTable` have no room for one more; it was not set. The message says how much.

    The rows of other members take none of that room.
    """


class StashOverflowError(CastyError):
    """A stash had no room; the message was not taken. The message says what to do."""


class RestartRequested(CastyError):
    """Cause given to `pre_restart` and ActorRestarted when a handler answered ``Behaviors.restart()``.

    It is no failure: nothing is logged, no strategy is asked, and nobody raises it.
    """


class ActorStoppedError(CastyError):
    """The actor has stopped, so the request cannot be met any more."""


class RemoteFailure(CastyError):
    """Cause of the end of an actor of another node, in words: its failure, or the loss of its node.

    The cause in a Terminated from another node; it is never raised.
    """


class DeathPactError(CastyError):
    """An actor watched another and has no answer to its end: raised in the watcher, as its failure.

    It follows when a handler answers Terminated with ``Behaviors.unhandled()``. ``__cause__`` is what
    the watched actor failed with.
    """


class BindError(CastyError, OSError):
    """The listening socket could not be opened; the message says what to change."""


class JoinRefused(CastyError):
    """The cluster refused this node for good; the message names who refused it, and why.

    In a reason "here" is at that node, and "the joiner" is the one that was refused.
    """


class ClusterTimeoutError(CastyError, TimeoutError):
    """A cluster operation did not finish in its time; what it had started is stopped."""


class LeaseError(CastyError):
    """The lease of the downing strategy ``lease_majority`` cannot be used; the message says why.

    Raised when a node starts. Later a lease that fails is a refusal.
    """


class JournalError(CastyError):
    """A store of durable state refused, or could not do, what it was asked for. The subclasses say what is known."""


class Fenced(JournalError):
    """Another writer has claimed the scope since; nothing was written.

    Parameters:
        text: What has happened, for people.
        holder: Cluster of the newest claim, "" where it gave none.
    """

    def __init__(self, text: str, holder: str = "") -> None:
        super().__init__(text)
        self.holder: str = holder
        """Cluster of the newest claim, "" where it gave none."""


class SequenceConflict(JournalError):
    """The stored events are not those that the writer has seen; nothing was written. Recover, then decide again."""


class JournalUnavailable(JournalError):
    """The store cannot be reached, or has no room; certainly nothing was written."""


class JournalUncertain(JournalError):
    """The store failed while it committed: nobody knows whether it was written. Claim again, then read."""


class JournalDamaged(JournalError):
    """A stored row cannot be read, or an event is missing between others. Nothing is skipped: a person has to look.

    Parameters:
        text: What has happened, for people.
        persistence_id: Of the row.
        seq: Number of the event, or revision of the value.
    """

    def __init__(self, text: str, persistence_id: str, seq: int) -> None:
        super().__init__(text)
        self.persistence_id: str = persistence_id
        """Persistence id of the row."""
        self.seq: int = seq
        """Number of the event, or revision of the value."""


class NodeDowned(CastyError):
    """This node is down, so its actors were stopped; the message says who decided that, and why.

    Either the cluster declared it down, or it gave itself up, because it could not reach a majority. The
    node starts again with a new ``async with`` block, and joins as a new run: `casty.ClusteredActorSystem` takes
    this error as ``rejoin_after``.
    """

    last: LastMembership | None = None
    """Identity of this node, and the members known to it: ``rejoin_after`` goes by them."""
