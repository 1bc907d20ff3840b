"""Name of the cluster in its store of durable state: two clusters on one store would fence each other for ever.

Owns the look at the name, and its first writing. It does not know claims.
"""

from __future__ import annotations

from casty.errors import ConfigError
from casty.journal import CLUSTER_SETTING, Journal
from casty.runtime.journaling.first_attempts import try_at_start


async def enter_store(journal: Journal, cluster: str) -> str:
    """Return the identity of a store, once it is this cluster's. The first one has its name written there.

    Raises ConfigError for the store of another cluster, and JournalError where nobody can tell.
    """
    identity = await try_at_start(journal, journal.identify)
    owner = await try_at_start(journal, lambda: journal.settle(CLUSTER_SETTING, cluster))
    if owner != cluster:
        raise ConfigError(
            f"{journal!r} is the store of the cluster {owner!r}, and this is a node of {cluster!r}: two clusters on "
            f"one store would fence each other. Give {cluster!r} a store of its own; to go on with these data, restore "
            "a backup into it, which belongs to the cluster that uses it first (`casty journal backup`, `restore`)"
        )
    return identity
