"""Models of pure entities: what the factory of a kind returns, read once for all entities alike.

Owns the last model of the kind. It does not know entities. Reading the annotations of two functions takes as long as
twenty commands, and a factory nearly always gives the same two.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

from casty.errors import ConfigError
from casty.protocol.event_sourcing.machine import SourcedModel
from casty.runtime.journaling.system_journal import SystemJournal
from casty.runtime.sourcing.sourced_behavior import SourcedBehavior


@dataclass(frozen=True, slots=True)
class PureModel:
    """Model of an entity, and the type of its states."""

    behavior: SourcedBehavior[object]
    model: SourcedModel
    state_type: object


class PureModels:
    """Models of one kind.

    Parameters:
        journal: Journal of the system.
    """

    def __init__(self, journal: SystemJournal) -> None:
        self._journal = journal
        self._last: PureModel | None = None

    def model_of(self, made: object) -> PureModel | None:
        """Return the model of a behaviour; None where it needs an actor, or is to fail in one with an error."""
        if not isinstance(made, SourcedBehavior) or made.functions.decide is None or made.persistence_id is not None:
            return None
        behavior, last = cast("SourcedBehavior[object]", made), self._last
        if last is None or not _is_alike(behavior, last.behavior):
            last = self._last = self._read(behavior)
        if last is None or last.model.empty is behavior.empty:
            return last
        return PureModel(behavior, replace(last.model, empty=behavior.empty), last.state_type)

    def _read(self, made: SourcedBehavior[object]) -> PureModel | None:
        if made.functions.apply is None and self._journal.states is None:
            return None
        try:
            made.check_types()
            model = made.model(self._journal.codec, is_checked=self._journal.checks_states)
        except ConfigError:
            return None
        return PureModel(made, model, made.functions.state_type(made.empty))


def _is_alike(one: SourcedBehavior[object], other: SourcedBehavior[object]) -> bool:
    return (
        one.functions == other.functions
        and type(one.empty) is type(other.empty)
        and one.snapshots == other.snapshots
        and one.maker == other.maker
    )
