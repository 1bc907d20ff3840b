"""Search of a client for services."""

from __future__ import annotations

from typing import Any, Final, TypeVar, cast

import trio

from casty.address import SERVICE_PREFIX
from casty.client.client_link import ClientLink
from casty.client.open_ref import OpenRef
from casty.cluster.clients.client_commands import FindService
from casty.cluster.receptionist.services import Listing, ServiceInstance
from casty.errors import AskFailed, ClusterTimeoutError
from casty.refs import ServiceKey
from casty.runtime.messaging.ask import ask
from casty.runtime.system.kernel import Kernel

M = TypeVar("M")

LOOKED_EVERY: Final = 0.1
"""Seconds between two looks for services that are not there yet."""


async def find_services(
    kernel: Kernel, link: ClientLink, key: ServiceKey[M], at_least: int, timeout: float
) -> Listing[M]:
    """Return the listing of a service, once it is long enough."""
    path = SERVICE_PREFIX + key.name
    asked_for = cast("Any", FindService)[key.message_type]
    link.codec.register(asked_for)
    ref: OpenRef[FindService[M]] = OpenRef(link, link.way_to(path), path, asked_for)
    deadline = trio.current_time() + timeout
    while True:
        try:
            instances: tuple[ServiceInstance[M], ...] = await ask(
                kernel, ref, FindService, max(deadline - trio.current_time(), 0.0)
            )
        except AskFailed as error:
            if error.failure != "lost" or trio.current_time() >= deadline:  # a look does no harm twice
                raise
            continue
        if len(instances) >= at_least:
            return Listing(key, instances)
        if trio.current_time() + LOOKED_EVERY >= deadline:
            found = f"{len(instances)} of {at_least} instances of {key!r} were there after {timeout:g} s"
            raise ClusterTimeoutError(found)
        await trio.sleep(LOOKED_EVERY)
