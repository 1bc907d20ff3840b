"""Checks of the values of settings, and the bounds of names.

A bad value is a `ConfigError` with the name of the setting, the expected values and the one found.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from inspect import iscoroutinefunction
from typing import cast

from casty.address import NodeAddress, is_name
from casty.errors import ConfigError

PORT_MAX = 65_535
NODE_ID_LENGTH_MAX = 128
NAME_LENGTH_MAX = 255
"""Characters of a host, a role or a service key: all nodes know a node or a service by it."""
ROLES_MAX = 64
EXTRA_MAX = 16
EXTRA_BYTES_MAX = 1_024
"""Bytes of names and values together, in the fields added by a later version to a member or a service."""
ROLES_LENGTH_MAX = 1_024
"""Characters of all roles of a node together: every node keeps them, and sends them with the membership."""


def is_extra(extra: Sequence[tuple[str, bytes]]) -> bool:
    """Whether the fields added by a later version to a member or a service are small enough to be kept."""
    return len(extra) <= EXTRA_MAX and sum(len(name) + len(value) for name, value in extra) <= EXTRA_BYTES_MAX


def check_positive(owner: object, *names: str) -> None:
    """Raise ConfigError unless each named field of ``owner`` is a finite number above zero."""
    for name in names:
        value: object = getattr(owner, name)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
            raise ConfigError(f"{type(owner).__name__}.{name} must be a finite number above 0, got {value!r}")


def check_count(owner: object, *names: str, least: int = 1) -> None:
    """Raise ConfigError unless each named field of ``owner`` is an int of at least ``least``."""
    for name in names:
        value: object = getattr(owner, name)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ConfigError(f"{type(owner).__name__}.{name} must be an integer of at least {least}, got {value!r}")


def check_at_least(name: str, value: object, least: int) -> None:
    """Raise ValueError unless ``value``, the argument ``name`` of a call, is an int of at least ``least``."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name} must be an integer of at least {least}, got {value!r}")


def check_kind(name: str, value: object, kind: type[object], example: str) -> None:
    """Raise ConfigError unless ``value``, the setting ``name``, is of a kind."""
    if not isinstance(value, kind):
        raise ConfigError(f"{name} must be a {kind.__name__}, such as {example}, got {value!r}")


def check_callable(taker: str, value: object, what: str) -> None:
    """Raise TypeError unless ``value``, given to ``taker`` for ``what``, can be called and is not async."""
    if not callable(value):
        raise TypeError(f"{taker} needs {what}, got {value!r}")
    if iscoroutinefunction(value):
        raise TypeError(f"{taker} needs {what}, got an async function, which nobody would await: {value!r}")


def check_endpoint(owner: str, host: object, port: object, *, port_least: int = 0) -> None:
    """Raise ConfigError unless ``host`` and ``port`` can name a listening port."""
    if not isinstance(host, str) or not host.strip() or any(c.isspace() or c in "/@#?" for c in host):
        raise ConfigError(f"{owner} host must be a host name or an IP address, got {host!r}")
    if host.count(":") == 1:
        raise ConfigError(f"{owner} host must be a host name or an IP address without a port, got {host!r}")
    if not host.isascii():
        raise ConfigError(
            f"{owner} host must be ASCII, as other nodes dial it: write an international name in A-labels, such as "
            f"'xn--bcher-kva.example', got {host!r}"
        )
    if len(host) > NAME_LENGTH_MAX:
        raise ConfigError(f"{owner} host must have at most {NAME_LENGTH_MAX} characters, got {len(host)}")
    if isinstance(port, bool) or not isinstance(port, int) or not port_least <= port <= PORT_MAX:
        raise ConfigError(f"{owner} port must be an integer from {port_least} to {PORT_MAX}, got {port!r}")


_SEEDS = "ClusterConfig.seed_nodes must be a list or tuple of (host, port) pairs"


def check_node_id(node_id: object) -> None:
    """Raise ConfigError unless ``node_id`` is a usable name."""
    if not isinstance(node_id, str) or not is_name(node_id) or len(node_id) > NODE_ID_LENGTH_MAX:
        raise ConfigError(
            f"ClusterConfig.node_id must be a name of 1 to {NODE_ID_LENGTH_MAX} printable characters without spaces, "
            f"such as 'web-1', got {node_id!r}"
        )


def check_seed_nodes(seed_nodes: object) -> None:
    """Raise ConfigError unless every seed is a host and a port to dial."""
    if not isinstance(seed_nodes, (tuple, list)):
        raise ConfigError(f"{_SEEDS}, such as [('127.0.0.1', 2551)], got {seed_nodes!r}")
    seeds = cast("Sequence[object]", seed_nodes)
    if len(seeds) == 2 and isinstance(seeds[0], str) and isinstance(seeds[1], int):
        raise ConfigError(f"{_SEEDS}, got one pair by itself: write [{seeds!r}]")
    for seed in seeds:
        if not isinstance(seed, (tuple, list)):
            meant = address_meant(seed)
            pair_meant = "" if meant is None else f": write ({meant.host!r}, {meant.port})"
            raise ConfigError(f"{_SEEDS}, got {seed!r}{pair_meant}")
        pair = cast("Sequence[object]", seed)
        if len(pair) != 2:
            raise ConfigError(f"{_SEEDS}, got {pair!r}")
        check_endpoint("ClusterConfig.seed_nodes", pair[0], pair[1], port_least=1)


def address_meant(value: object) -> NodeAddress | None:
    """Return the address that somebody may have meant: by a text, or by a pair of host and port.

    >>> address_meant("[::1]:2551"), address_meant(("a", 2551)), address_meant("web-1")
    (NodeAddress(host='::1', port=2551), NodeAddress(host='a', port=2551), None)
    """
    if isinstance(value, NodeAddress):
        return value
    if isinstance(value, str):
        host, _, port = value.rpartition(":")
        return NodeAddress(host.strip("[]"), int(port)) if host and port.isascii() and port.isdecimal() else None
    if isinstance(value, (tuple, list)):
        pair = cast("Sequence[object]", value)
        if len(pair) == 2 and isinstance(pair[0], str) and isinstance(pair[1], int):
            return NodeAddress(pair[0], pair[1])
    return None


def written_address(value: object) -> str:
    """Return the right form of the address meant by ``value``, an example where it means none."""
    meant = address_meant(value) or NodeAddress("10.0.0.1", 2551)
    return f"NodeAddress({meant.host!r}, {meant.port})"


def check_downing_role(role: object) -> None:
    """Raise ConfigError unless ``role`` is a name."""
    if not isinstance(role, str) or not role.strip():
        raise ConfigError(f"ClusterSettings.downing_role must be the name of a role, got {role!r}")


def check_roles(roles: Collection[object]) -> None:
    """Raise ConfigError unless every role is a name."""
    if isinstance(roles, str) or not all(isinstance(role, str) and role.strip() for role in roles):
        raise ConfigError(f"ClusterConfig.roles must be a set of names, got {roles!r}")
    names = [role for role in roles if isinstance(role, str)]
    lengths = [len(name) for name in names]
    if len(names) > ROLES_MAX or max(lengths, default=0) > NAME_LENGTH_MAX or sum(lengths) > ROLES_LENGTH_MAX:
        raise ConfigError(
            f"ClusterConfig.roles must be at most {ROLES_MAX} names of at most {NAME_LENGTH_MAX} characters, together "
            f"at most {ROLES_LENGTH_MAX}; got {len(names)} of {sum(lengths)} characters, the longest of {max(lengths)}"
        )
