"""Questions to other members about a member silent here.

Owns the questions of this node about silent members, the answers to them, and the unanswered questions of others. It
does not know when a silence is suspicious or the worth of an answer against the evidence (`monitor`).

How it works: two other members are asked. One that has heard the member lately says how long ago, and sends it a
heartbeat in any case; once it is answered, it says so too. The asker takes the latest time at which anybody heard the
member: the accusation is put off by its distance from the last time heard here, by at most `POSTPONED_MAX`, once for
each silence. So a dead member, last heard by all at about the same time, gains nothing.

Source: the indirect probes of SWIM (Das, Gupta, Motivala 2002, section 3.1). Deviation: an answer
postpones instead of acquitting, and the helper may speak from memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from casty.address import UniqueAddress
from casty.protocol.effects import Send
from casty.protocol.messages.liveness import Heartbeat, ProbeAnswer, ProbeRequest

HELPERS = 2
POSTPONED_MAX = 1.0
QUESTIONS_MAX = 256
"""Questions of others still without an answered heartbeat; the oldest give way."""


@dataclass(slots=True)
class _Silence:
    """One silence of one member, since it was last heard here."""

    since: float
    sequence: int
    helpers: frozenset[UniqueAddress]
    postponed: float = 0.0


def _no_silences() -> dict[UniqueAddress, _Silence]:
    return {}


def _no_questions() -> dict[tuple[UniqueAddress, int], tuple[UniqueAddress, int]]:
    return {}


@dataclass(slots=True)
class IndirectProbes:
    """The machine of one node."""

    _silences: dict[UniqueAddress, _Silence] = field(init=False, default_factory=_no_silences)
    _sequence: int = field(init=False, default=0)
    _questions: dict[tuple[UniqueAddress, int], tuple[UniqueAddress, int]] = field(
        init=False, default_factory=_no_questions
    )
    """By receiver and number of a heartbeat: the asker, and the number of its question."""

    def is_asked(self, subject: UniqueAddress) -> bool:
        """Whether others were asked in this silence of the member."""
        return subject in self._silences

    def ask(self, subject: UniqueAddress, helpers: Sequence[UniqueAddress], since: float) -> list[Send]:
        """Ask the first `HELPERS` of these about a member silent here since then."""
        self._sequence += 1
        asked = helpers[:HELPERS]
        self._silences[subject] = _Silence(since, self._sequence, frozenset(asked))
        return [Send(helper, ProbeRequest(subject, self._sequence)) for helper in asked]

    def answered(self, sender: UniqueAddress, answer: ProbeAnswer, now: float) -> None:
        """Take an answer; one to no question of this node, or without later news than its own, changes nothing."""
        for silence in self._silences.values():
            if silence.sequence == answer.sequence and sender in silence.helpers and answer.heard_ago >= 0:
                later = min(now - answer.heard_ago - silence.since, POSTPONED_MAX)
                silence.postponed = max(silence.postponed, later)

    def postponed(self, subject: UniqueAddress) -> float:
        """Return by how many seconds the accusation of a silent member is put off."""
        silence = self._silences.get(subject)
        return 0.0 if silence is None else silence.postponed

    def ended(self, subject: UniqueAddress) -> None:
        """Forget a silence: the member was heard, accused or removed."""
        self._silences.pop(subject, None)

    def requested(self, sender: UniqueAddress, request: ProbeRequest, sequence: int) -> Send:
        """Send a heartbeat of this number to the subject of another member's question."""
        if len(self._questions) >= QUESTIONS_MAX:
            del self._questions[next(iter(self._questions))]
        self._questions[request.subject, sequence] = sender, request.sequence
        return Send(request.subject, Heartbeat(sequence))

    def acked(self, subject: UniqueAddress, sequence: int) -> list[Send]:
        """Tell the askers of the member's answer to the heartbeat of this number."""
        if (subject, sequence) not in self._questions:
            return []
        asker, number = self._questions.pop((subject, sequence))
        return [Send(asker, ProbeAnswer(number, 0.0))]
