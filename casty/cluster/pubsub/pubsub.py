"""Messages to many nodes as a part of a node: its hook in the runtime, its topics, and its control messages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import count
from typing import Any, Final, Never

from casty.address import PUBLISHED_PREFIX, NodeAddress, UniqueAddress
from casty.cluster.access import TOPIC_PREFIX
from casty.cluster.extension import ClusterExtension, ExtensionNode
from casty.cluster.node import ClusterNode
from casty.cluster.pubsub.audience import Audiences
from casty.cluster.pubsub.broadcast import ListedBroadcast, ask_each
from casty.cluster.pubsub.known_topics import IsTopicKnown, TopicKnown, wait_known
from casty.cluster.pubsub.topic_actor import LocalTopic, TopicActor, service_of, topic_of
from casty.cluster.receptionist.receptionist import ReceptionistExtension
from casty.cluster.receptionist.services import Deregister, ReceptionistCmd, Register
from casty.errors import ConfigError
from casty.refs import ActorRef, EntityRef, ServiceKey, Topic, check_ref, check_topic, made_key
from casty.runtime.events import NO_SUBSCRIBER
from casty.runtime.messaging.named_refs import InlineRef
from casty.runtime.messaging.ref import OwnRef
from casty.runtime.system.system import spawn_system_actor
from casty.wire.frame import Lane

CONTROL: Final[dict[type, str]] = {
    IsTopicKnown: "casty.pubsub.is_topic_known",
    TopicKnown: "casty.pubsub.topic_known",
}


class PubSub(ClusterExtension):
    """Broadcasts and topics on one node."""

    name = "pubsub"

    def __init__(self, receptionist: ReceptionistExtension) -> None:
        self._receptionist = receptionist
        self._inside: ClusterNode | None = None
        self._audiences: Audiences | None = None
        self._broadcasted: dict[str, ActorRef[Never]] = {}
        """Actor of this node in each broadcast."""
        self._topics: dict[str, tuple[LocalTopic, ActorRef[Any]]] = {}
        """Topics with subscribers here, and the actor of each."""
        self._serial = count(1)

    def attach(self, node: ExtensionNode) -> None:
        """Know the messages about topics."""
        node.inside.control.add(IsTopicKnown, CONTROL[IsTopicKnown], Lane.ordinary, self._asked)
        node.inside.control.add(TopicKnown, CONTROL[TopicKnown], Lane.ordinary, self._answered)

    def start(self, node: ExtensionNode) -> None:
        """Lead the calls of the system here."""
        self._inside = node.inside
        self._audiences = Audiences(node.inside, self._receptionist)
        node.inside.kernel.hooks.groups = self

    def ended(self) -> None:
        """Lead no call here any more."""
        if self._inside is not None:
            self._inside.kernel.hooks.groups = None

    def hold(self, key: ServiceKey[Any], ref: ActorRef[Never]) -> None:
        """Take note of the actor of this node in a broadcast. ConfigError where it has one already."""
        living = {name: one for name, one in self._broadcasted.items() if isinstance(one, OwnRef) and one.owner()}
        known = living.get(key.name)
        if known is not None and known != ref:
            raise ConfigError(f"{key!r} is broadcast to {known.path} of this node already: there is one on each node")
        self._broadcasted = {**living, key.name: ref}

    def broadcast(self, key: ServiceKey[Any]) -> ListedBroadcast[Any]:
        """Return the actors of a broadcast."""
        node, audiences = self._running()
        node.codec.register(key.message_type)
        return ListedBroadcast(node, audiences, key)

    async def ask_all(
        self, key: ServiceKey[Any], factory: Callable[[ActorRef[Any]], Any], timeout: float
    ) -> Mapping[NodeAddress, object]:
        """Ask each actor of a broadcast; return the outcome of each node."""
        node, audiences = self._running()
        return await ask_each(node, audiences.of(key.name, key.message_type).refs, factory, timeout)

    def subscribe(self, topic: Topic[Any], ref: ActorRef[Any]) -> None:
        """Add a subscriber of this node to a topic. ConfigError where the topic has another type here."""
        check_topic(topic, "subscribe")
        check_ref(ref, "subscribe")
        node, _ = self._running()
        node.kernel.check_thread("subscribe")
        if isinstance(ref, EntityRef):
            raise ValueError(
                f"{ref!r} is an entity, and no actor of one node: subscribe `ctx.message_adapter(...)` of it to "
                f"{topic!r}, which ends with the activation"
            )
        if not isinstance(ref, OwnRef):
            raise ValueError(f"{ref.address} is no actor of this node: subscribe it to {topic!r} there")
        if ref.owner() is None and not isinstance(ref, InlineRef):
            return  # it has ended already
        names = node.codec.names_of(topic.message_type)
        node.kernel.hooks.open_key(PUBLISHED_PREFIX, topic)
        known = self._topics.get(topic.name)
        if known is None:
            local = LocalTopic(node.kernel, topic, names, self._emptied)
            actor = spawn_system_actor(node.system, TopicActor(local), f"{TOPIC_PREFIX[1:]}{next(self._serial)}")
            self._topics[topic.name] = local, actor
            self._tell_receptionist(Register(_key_of(topic), actor))
        else:
            local = known[0]
            if local.names != names:
                raise ConfigError(f"{topic!r} is subscribed to as {local.topic!r} on this node: a topic has one type")
        local.add(ref)

    def unsubscribe(self, topic: Topic[Any], ref: ActorRef[Any]) -> None:
        """Remove a subscriber, if it is one."""
        check_topic(topic, "unsubscribe")
        check_ref(ref, "unsubscribe")
        self._running()[0].kernel.check_thread("unsubscribe")
        known = self._topics.get(topic.name)
        if known is not None:
            known[0].remove(ref)

    def publish(self, topic: Topic[Any], message: object) -> int:
        """Hand a message to all nodes with subscribers; return their number."""
        check_topic(topic, "publish")
        node, audiences = self._running()
        node.kernel.check_thread("publish")
        audience = audiences.of(service_of(topic), topic.message_type)
        node.kernel.hooks.open_key(PUBLISHED_PREFIX, topic)
        known = self._topics.get(topic.name)
        local = None if known is None else known[0]
        if local is not None and not set(audience.names) <= set(local.names):
            raise ConfigError(f"{topic!r} is subscribed to as {local.topic!r} on this node: a topic has one type")
        here = node.self_node.address
        others = [ref for address, ref in audience.refs if address != here]
        audiences.tell(others, message, topic.message_type)
        if local is not None:
            local.hand_out(message)
        elif not others:
            node.kernel.dead_letter(message, node.kernel.ref_for(f"/_topic/{topic.name}", 0), NO_SUBSCRIBER)
        return len(others) + (local is not None)

    async def known(self, topic: Topic[Any], timeout: float) -> None:
        """Wait until all other reachable members know of the subscribers here."""
        node, _ = self._running()
        local, actor = self._topics[topic.name]
        await wait_known(node, local, actor.address.uid, timeout)

    def _emptied(self, local: LocalTopic) -> None:
        node, _ = self._running()
        _, actor = self._topics.pop(local.topic.name)
        self._tell_receptionist(Deregister(_key_of(local.topic), actor))  # before there can be another one to register
        node.system.stop(actor)

    def _tell_receptionist(self, command: ReceptionistCmd) -> None:
        ref = self._receptionist.ref
        if isinstance(ref, OwnRef) and ref.owner() is not None:  # not while the node stops
            ref.tell(command)

    def _asked(self, peer: UniqueAddress, question: IsTopicKnown, size: int) -> None:
        if self._inside is not None and self._receptionist.lists(question.service, peer, question.uid):
            self._inside.send_control(peer, TopicKnown(question.service, question.uid))

    def _answered(self, peer: UniqueAddress, answer: TopicKnown, size: int) -> None:
        known = self._topics.get(topic_of(answer.service))
        if known is not None and known[1].address.uid == answer.uid:
            known[0].note_known(peer)

    def _running(self) -> tuple[ClusterNode, Audiences]:
        assert self._inside is not None
        assert self._audiences is not None
        return self._inside, self._audiences


def _key_of(topic: Topic[Any]) -> ServiceKey[Any]:
    cls: type[ServiceKey[Any]] = ServiceKey
    return made_key(cls, service_of(topic), topic.message_type)
