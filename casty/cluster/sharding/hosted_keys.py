"""Announcements of hosts: a kind of entities, or a singleton, and the number of shards.

Owns the value told to all nodes, and the agreement on it. It does not know how it travels, or what is placed by it.

How it works: of hosts with different words the one of the lowest run counts, and only those who say the same get
anything: two hosts that have not heard of each other yet cannot be refused. Once shards are placed, the number of the
table counts instead, if any host says it: a newcomer that differs leaves the running ones alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from casty.address import NodeAddress, UniqueAddress
from casty.errors import ConfigError
from casty.protocol.sharding.shard_hash import check_num_shards
from casty.refs import EntityKey
from casty.schema.names import message


@message("casty.HostedKey")
@dataclass(frozen=True, slots=True)
class HostedKey:
    """Word of one host of a kind."""

    num_shards: int
    is_singleton: bool = False

    def __post_init__(self) -> None:
        check_num_shards(self.num_shards)


def agreed_by(hosts: Mapping[UniqueAddress, HostedKey], placed: int | None = None) -> HostedKey | None:
    """Return the word that counts, by the number of shards of the table; None where nobody hosts the kind."""
    as_placed = [run for run, hosted in hosts.items() if hosted.num_shards == placed]
    return hosts[min(as_placed or hosts)] if hosts else None


def check_agreement(key: EntityKey[Any], own: HostedKey, other: HostedKey, address: NodeAddress) -> None:
    """Raise ConfigError where two hosts differ."""
    if own.is_singleton is not other.is_singleton:
        raise mixed_use(key, other.is_singleton, f"on {address} ")
    if own.num_shards != other.num_shards:
        raise other_number(key, own.num_shards, other.num_shards, f"on {address}")


def other_number(key: EntityKey[Any], own: int, other: int, where: str) -> ConfigError:
    """Return the error for a host with another number of shards."""
    return ConfigError(
        f"{key!r} has {other} shards {where}, and num_shards={own} here: give it the same number on all nodes"
    )


def mixed_use(key: EntityKey[Any], is_singleton: bool, where: str) -> ConfigError:
    """Return the error for a key of a singleton used for entities, or the other way round."""
    known, other = ("a singleton", "entities") if is_singleton else ("entities", "a singleton")
    return ConfigError(f"{key!r}: {where}it is the key of {known}, and cannot be one of {other}: take a key of its own")
