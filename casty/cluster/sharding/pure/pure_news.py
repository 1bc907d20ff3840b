"""News of pure entities: log, lifecycle listeners and event stream hear of them as of actors.

Owns no state. What is told here is told of an actor by `casty.runtime.actor.supervisor` and its neighbours.
"""

from __future__ import annotations

import logging

from casty.cluster.sharding.pure.pure_entity import PureEntity
from casty.runtime.events import ActorFailed, ActorStarted, ActorStopped

logger = logging.getLogger("casty.actor")


def tell_start(entity: PureEntity) -> None:
    """Tell of the start of an entity."""
    kernel = entity.kernel
    if kernel.listeners.entries:
        kernel.listeners.started(entity.ref)
    if kernel.event_stream.wants(ActorStarted):
        kernel.event_stream.publish(ActorStarted(entity.ref))


def tell_failure(entity: PureEntity, error: Exception) -> None:
    """Tell of a failure, the end of the entity."""
    kernel = entity.kernel
    logger.error("actor %s failed and stops: %s", entity.path, type(error).__name__, exc_info=error)
    if kernel.listeners.entries:
        kernel.listeners.failed(entity.ref, error)
    if kernel.event_stream.wants(ActorFailed):
        kernel.event_stream.publish(ActorFailed(entity.ref, error))


def tell_end(entity: PureEntity) -> None:
    """Tell of the end of an entity, whoever waits for it included."""
    kernel = entity.kernel
    kernel.event_stream.forget(entity.ref)
    if kernel.listeners.entries:
        kernel.listeners.stopped(entity.ref, entity.error)
    if kernel.event_stream.wants(ActorStopped):
        kernel.event_stream.publish(ActorStopped(entity.ref))
    entity.note_end()
