"""Receiving end of delivery: envelopes for actors of this node."""

from __future__ import annotations

from math import inf
from typing import Never

from casty.address import UniqueAddress, serial_of
from casty.cluster.access import OPEN_PATHS, OpenPaths, is_internal, rule_of
from casty.cluster.remoting.active_entities import EntityReceiver
from casty.cluster.remoting.receive_backpressure import LARGE_BYTES_MIN, LOOKED_AT_EVERY, ReceiveBackpressure
from casty.cluster.remoting.type_filter import Acceptances
from casty.errors import AskFailed
from casty.runtime.events import ASK_FINISHED, ILL_TYPED, MAILBOX_FULL
from casty.runtime.messaging.ask import AskRef, ErrorReply
from casty.runtime.messaging.mailbox import NOTHING, Request
from casty.runtime.messaging.named_refs import AdapterRef
from casty.runtime.messaging.ref import LocalRef, OwnRef
from casty.runtime.system.kernel import Kernel
from casty.runtime.system.system import ActorSystem, kernel_of
from casty.schema.names import wire_name
from casty.wire.envelope import NoticeCode, Wait


class LocalTransport:
    """Delivers messages of other nodes to the actors of one system.

    Actors of the library are not reachable by path from outside, except the cluster actor, the slots of pending asks,
    and the actors opened by extensions.

    Parameters:
        system: System of the receiving actors.
    """

    def __init__(self, system: ActorSystem) -> None:
        self._kernel = kernel_of(system)
        names = {one.cls: one.name for one in system.wire_types}
        self._acceptances = Acceptances(lambda cls: names.get(cls) or wire_name(cls))
        self.receive_backpressure: ReceiveBackpressure | None = None
        """Queues for actors unable to keep up; without it, there is no waiting for room."""
        self.open_paths: OpenPaths = OPEN_PATHS
        """Actors of the library open to other nodes, with their messages; the cluster adds those of its extensions."""
        self.delivered: int = 0
        """Messages and replies handed to an actor or an ask."""
        self.refused: int = 0
        """Messages no actor could take."""

    def deliver(
        self,
        path: str,
        uid: int,
        message: object,
        name: str = "",
        wait: Wait | None = None,
        *,
        asker: UniqueAddress | None = None,
    ) -> NoticeCode | None:
        """Hand a received message to the actor at its path. For the cluster actor.

        Parameters:
            path: Path of the actor.
            uid: Number of the actor with that path; 0 is any.
            message: The decoded message.
            name: Wire name of the message's type, for an error.
            wait: Time left and token of an ask; None for a tell.
            asker: The asking node, alone in being able to withdraw it; None for a tell.

        Returns:
            None when it was taken, or is a late reply; else why not: there is no such actor, or it takes
                other types.
        """
        kernel = self._kernel
        target = kernel.targets.get(path)
        if target is None or type(message) not in target.admitted or (uid and uid != target.uid):
            found = self._find(kernel, path, uid, message, name)
            if found is None or isinstance(found, str):
                self.refused += 1
                return found
            target = found
            if isinstance(found, EntityReceiver) and (entity := found.entity()) is not None:
                target = entity.local() or found
        receive_backpressure = self.receive_backpressure
        if receive_backpressure is not None and receive_backpressure.cost:
            return self._deliver_of_stranger(receive_backpressure, target, message, wait, asker)
        is_behind = receive_backpressure is not None and path in receive_backpressure.by_path
        if (
            receive_backpressure is not None
            and isinstance(target, LocalRef)
            and (is_behind or target.mailbox.is_crowded)
        ):
            is_taken = None
            if wait is not None:
                message = self._request(message, wait, asker)
                message.queue(target.cell)
        elif wait is None:
            is_taken = target.deliver(message)
        else:
            message = self._request(message, wait, asker)
            is_taken = target.deliver_request(message)
        if is_taken is False:
            self.refused += 1
            return "no_actor"
        self.delivered += 1
        if is_taken is None:
            self._set_aside(target, message)
        elif receive_backpressure is not None and isinstance(target, LocalRef):
            if not self.delivered % LOOKED_AT_EVERY:
                receive_backpressure.look(target)
            if receive_backpressure.size >= LARGE_BYTES_MIN:
                receive_backpressure.weigh(target, message)
        return None

    def _deliver_of_stranger(
        self,
        receive_backpressure: ReceiveBackpressure,
        target: OwnRef[Never],
        message: object,
        wait: Wait | None,
        asker: UniqueAddress | None,
    ) -> NoticeCode | None:
        """Hand over a message of a stranger; by way of an adapter too it waits where such messages wait."""
        owner = target.owner()
        local = None if owner is None else owner.ref
        if not isinstance(local, LocalRef):
            is_taken = target.deliver(message)
        elif local.mailbox.closed:
            is_taken = False
        else:
            is_taken = True
            if isinstance(target, AdapterRef):
                message = target.adapted(message)
            if message is not NOTHING:
                request = Request(message, inf, 0) if wait is None else self._request(message, wait, asker)
                request.origin = receive_backpressure.origin()
                local.take_of_stranger(request)
        if is_taken is False:
            self.refused += 1
            return "no_actor"
        self.delivered += 1
        return None

    def _request(self, message: object, wait: Wait, asker: UniqueAddress | None) -> Request:
        kernel = self._kernel
        return Request(message, kernel.now() + wait[0], wait[1], None if asker is None else kernel.requests_of(asker))

    def reply(self, serial: int, uid: int, message: object, name: str) -> bool:
        """Hand a reply to the waiting ask. For the cluster actor.

        Parameters:
            serial: Number of the ask.
            uid: Secret number of the ask's slot: a reply with another one is forged or late.
            message: The decoded reply.
            name: Wire name of the reply's type, for an error.

        Returns:
            False, and nothing has happened, when no ask waits for it.
        """
        slot = self._kernel.asks.get(serial)
        if slot is None or slot.uid != uid:
            return False
        if (slot.promised, type(message)) in self._acceptances.fitting:  # no refusal: those fit no promise
            slot.answer_with(message)
        elif self._acceptances.admits(slot, message, name, remember=False):
            slot.deliver(message)
        else:
            return False
        self.delivered += 1
        return True

    def _set_aside(self, target: OwnRef[Never], message: object) -> None:
        """Queue a message for room in its mailbox, where something waits at all."""
        if self.receive_backpressure is not None and isinstance(target, LocalRef):
            self.receive_backpressure.take(target, message)
        else:
            self._kernel.dead_letter(message, target, MAILBOX_FULL)

    def _find(
        self, kernel: Kernel, path: str, uid: int, message: object, name: str
    ) -> OwnRef[Never] | NoticeCode | None:
        """Return the receiver of the message, or why there is none: the long way, for a type new at its actor.

        None for a late reply: it is a dead letter here, and no matter of the answering node.
        """
        if is_internal(path) and rule_of(self.open_paths, path, message) is None:
            return "no_actor"
        target = kernel.target(path, uid)
        if target is None and serial_of(path) is not None:
            if type(message) is not ErrorReply:
                kernel.dead_letter(message, kernel.ref_for(path, uid), ASK_FINISHED)
            return None
        if target is None:
            return "no_actor"
        is_remembered = not is_internal(path) or isinstance(target, EntityReceiver)
        if not self._acceptances.admits(target, message, name, remember=is_remembered):
            kernel.dead_letter(message, target, ILL_TYPED, type(message).__name__)
            if isinstance(target, AskRef):
                target.refuse(
                    AskFailed(
                        f"the reply is of another type than was asked for: {type(message).__name__}", "reply_lost"
                    )
                )
            return "ill_typed"
        return target

    def __repr__(self) -> str:
        return f"<LocalTransport {self._kernel.name} delivered={self.delivered} refused={self.refused}>"
