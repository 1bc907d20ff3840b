"""Texts of refusals, the same in every store: expected, found, and nothing was written."""

from __future__ import annotations

from casty.journal import Claim


def void_claim(claim: Claim, newest: int, holder: str) -> str:
    """Explain a void claim."""
    if not newest:
        return f"{claim.scope!r} was never claimed in this store, so claim {claim.number} of it is of another one"
    by = f" by {holder}" if holder else ""
    how = f"claim {newest}" if newest != claim.number else "another claim of that number"
    return f"claim {claim.number} of {claim.scope!r} is void: {how} was made since{by}; nothing was written"


def wrong_scope(persistence_id: str, bound: str, scope: str) -> str:
    """Explain a claim of another scope."""
    return f"{persistence_id!r} belongs to the scope {bound!r}, got a claim of {scope!r}; nothing was written"


def wrong_event(persistence_id: str, last: int, after: int) -> str:
    """Explain a wrong number of the last event."""
    return f"the last event of {persistence_id!r} is {last}, the writer takes {after} for it; nothing was written"


def wrong_revision(persistence_id: str, stored: int, revision: int) -> str:
    """Explain a wrong revision."""
    return f"the next revision of {persistence_id!r} is {stored + 1}, got {revision}; nothing was written"


def wrong_deletion(persistence_id: str, stored: int, revision: int) -> str:
    """Explain a deletion of a wrong revision."""
    found = f"the stored revision of {persistence_id!r} is {stored}" if stored else f"{persistence_id!r} has no value"
    return f"{found}, got {revision} to delete; nothing was written"


def missing_events(persistence_id: str, forgotten: int, last: int, found: int) -> str:
    """Explain a gap in the events of an id."""
    return (
        f"of the events {forgotten + 1} to {last} of {persistence_id!r} there are {found}: some are missing, "
        "`casty journal check` names the first; restore an older backup, or erase this id"
    )


def misfit_events(persistence_id: str) -> str:
    """Explain a backup made by hand: its bytes are right, and its events are not those of its ids."""
    whose = f"of {persistence_id!r} " if persistence_id else ""
    return f"the events {whose}in the backup are not those that its ids tell; nothing was restored"


def not_empty(place: str, ids: int, scopes: int, settings: int) -> str:
    """Explain a refusal to restore into a store in use."""
    return (
        f"{place} is not empty, it has {ids} ids, {scopes} scopes and {settings} settings: name another store, or give "
        "--force to replace all that is in it"
    )
