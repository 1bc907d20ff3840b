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
