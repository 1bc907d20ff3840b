"""Coordinator of all shards: the oldest placing member writes the tables, under a term promised by all.

Owns the phases of one node as a coordinator (idle, enlisting, leading, retired), and the conditions of each. It does
not know the rows (`shard_rows_writer`), or the shards of its own node: these are reported as any other's.

How it works: a node begins a term when it is up, and every older member is gone or has said Retired. It asks all
members of its view, in any status, those too that come before it leads, and every run named by the tables of an answer:
a younger coordinator may have given a shard to a newcomer meanwhile. It leads when all of them have answered or are
gone, no removed run known here, of any age, may still serve, and its number is part of the membership: so whoever
comes up later knows it, and gives it to no term again. It writes nothing without the serving lease, nothing
once its node has promised another term, and nothing after its Retired.

Source: ballots as in Lamport 1998 (Paxos), phase 1; deviation: all are asked instead of a majority, since each answers
for its own shards alone, and nothing is stored but by the owners.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from casty.address import UniqueAddress
from casty.protocol.effects import PublishEvent, Send
from casty.protocol.messages.shard_bounds import number_of_age
from casty.protocol.messages.shard_rows import NO_TERM, NUMBER_MAX, Term
from casty.protocol.messages.sharding import Enlist, Enlisted, Opened, Retired, TermRefused, Yielded
from casty.protocol.sharding.members import PlacementView
from casty.protocol.sharding.placement_events import (
    CoordinatorChanged,
    EnlistBlocked,
    HandedOver,
    HostsSeen,
    PlacementEffect,
    TermBegun,
)
from casty.protocol.sharding.shard_region import ShardRegion
from casty.protocol.sharding.shard_rows_writer import ShardRowsWriter
from casty.protocol.sharding.slice_parts import whole_answer
from casty.protocol.state.member import Member

AGAIN_AFTER, AGAIN_AFTER_MAX = 0.2, 5.0
"""Seconds between the beginnings of two terms of one run, doubled each time as long as one follows the other: each
costs a number, and all of them are used up else by one member refusing every term."""
STRANGERS_WAITED_FOR = 5.0
"""Seconds for a run named by an answer, and never seen here: the view of a node is behind its membership for the moment
of a hand-over between two tasks. Then it is none that ever was a member."""
BLOCKED_AFTER = 5.0
"""Seconds after which the runs waited for are told of."""
LAST_MOVES_TIMEOUT = 2.0
"""Seconds for the moves of others, once a leaving coordinator holds nothing itself."""


@dataclass(slots=True)
class Idle:
    """Phase: another run is the coordinator, or none is."""


@dataclass(slots=True)
class Enlisting:
    """Phase: not all have promised the term."""

    term: Term
    since: float
    asked: set[UniqueAddress]
    """Members, and runs named by an answer."""
    named_at: dict[UniqueAddress, float] = field(default_factory=dict[UniqueAddress, float])
    """Time at which a run never seen here was named first."""
    answers: dict[UniqueAddress, Enlisted] = field(default_factory=dict[UniqueAddress, Enlisted])
    parts: dict[UniqueAddress, dict[int, Enlisted]] = field(default_factory=dict[UniqueAddress, dict[int, Enlisted]])
    """Parts of incomplete answers."""
    is_told: bool = False
    """Whether `EnlistBlocked` was published."""


@dataclass(slots=True)
class Leading:
    """Phase: this run writes the tables of its term."""

    term: Term


@dataclass(slots=True)
class HasRetired:
    """Phase: this run is leaving, and writes no more."""


@dataclass(slots=True)
class ShardCoordinator:
    """The machine's part for a node as the coordinator."""

    view: PlacementView
    region: ShardRegion
    """The node's own shards and promise."""
    writer: ShardRowsWriter
    phase: Idle | Enlisting | Leading | HasRetired = field(init=False, default_factory=Idle)
    _last: Term = field(init=False, default=NO_TERM)
    """Last term begun here."""
    _began_at: float = field(init=False, default=-math.inf)
    _pause: float = field(init=False, default=AGAIN_AFTER)
    """Seconds from the last begin to the next one."""
    _unanswered: dict[UniqueAddress, Enlist] = field(init=False, default_factory=dict[UniqueAddress, Enlist])
    """Requests of runs with an older one beside them, as far as it is known here: answered once it is not so."""
    _enlists: dict[UniqueAddress, Term] = field(init=False, default_factory=dict[UniqueAddress, Term])
    _retired: dict[UniqueAddress, Term] = field(init=False, default_factory=dict[UniqueAddress, Term])
    _alone_since: float = field(init=False, default=math.inf)
    """Since when this leaving node holds no shard."""
    _is_handed_over: bool = field(init=False, default=False)

    def enlisted(self, sender: UniqueAddress, answer: Enlisted) -> None:
        """Take the first answer of a run to the present term, or a part of it."""
        phase = self.phase
        if not isinstance(phase, Enlisting) or phase.term != answer.term or sender in phase.answers:
            return
        whole = whole_answer(phase.parts.setdefault(sender, {}), answer)
        if whole is not None:
            phase.answers[sender] = whole
            del phase.parts[sender]

    def refused(self, refusal: TermRefused, now: float) -> Sequence[PlacementEffect]:
        """Begin again above the promise behind a refusal of this term."""
        if refusal.promised.admits(refusal.term):
            return ()  # nobody refuses by such a promise
        self.region.heard(refusal.promised.number)
        phase = self.phase
        if not isinstance(phase, Enlisting | Leading) or phase.term != refusal.term:
            return ()
        self.phase = Idle()
        return self.settle(now)

    def asked(self, sender: UniqueAddress, request: Enlist) -> Sequence[PlacementEffect]:
        """Answer the request of a run that may be the coordinator; an older Retired of it is void."""
        if request.term.incarnation != sender.incarnation:
            return self.region.refuse(sender, f"found a request for the term {request.term}, expected one of its own")
        known = self._enlists.get(sender, NO_TERM)
        self._enlists[sender] = max(known, request.term)
        if sender in self._retired and self._retired[sender] < request.term:
            del self._retired[sender]
        self._unanswered[sender] = request
        return self.answer()

    def answer(self) -> Sequence[PlacementEffect]:
        """Answer the requests of runs that may be the coordinator by what is known now."""
        effects: list[PlacementEffect] = []
        for run in [run for run in self._unanswered if self.may_lead(run)]:
            answer = self.region.enlist(self._unanswered.pop(run))
            effects.extend(Send(run, one) for one in (answer if isinstance(answer, tuple) else (answer,)))
        return effects

    def may_lead(self, run: UniqueAddress) -> bool:
        """Whether a member may be the coordinator: by what is known here, all older ones have retired, or are down.

        What a node knows may be behind, and a true coordinator asks again; a wrong one gets no promise.
        """
        if run not in self.view.all_placing:
            return False
        elders = self.view.elders_of(run)
        own = self.view.self_node
        return all(isinstance(self.phase, HasRetired) if one == own else one in self._retired for one in elders)

    def retired(self, sender: UniqueAddress, word: Retired) -> Sequence[PlacementEffect]:
        """Take note of a run without any further writing; another one may lead now."""
        if word.term != NO_TERM and word.term.incarnation != sender.incarnation:
            return self.region.refuse(sender, f"found a Retired of the term {word.term}, expected one of its own")
        if word.term >= self._enlists.get(sender, NO_TERM):
            self._retired[sender] = word.term
            self.region.heard(word.term.number)
        return self.answer()

    def forget(self, now: float) -> None:
        """Forget the words of removed runs, and the runs themselves as far as no rule asks about them."""
        members = self.view.members
        for words in (self._enlists, self._retired, self._unanswered):
            for run in [run for run in words if run not in members]:
                del words[run]
        if self.view.remembers_more:
            asked = self.phase.asked if isinstance(self.phase, Enlisting) else frozenset[UniqueAddress]()
            self.view.forget(self.region.named | asked, now)

    def opened(self, sender: UniqueAddress, word: Opened, now: float) -> None:
        """Take the word of an owner, while this run may write."""
        if self._may_write(now):
            self.writer.opened(sender, word)

    def yielded(self, sender: UniqueAddress, word: Yielded, now: float) -> None:
        """Take the word of an owner, while this run may write."""
        if self._may_write(now):
            self.writer.yielded(sender, word, now)

    def even_out(self, key: str, now: float) -> None:
        """Balance a key now, and beyond what is left uneven else, while this run may write."""
        if self._may_write(now):
            self.writer.even_out(key)

    def hosted(self, news: HostsSeen, now: float) -> None:
        """Take note of the hosts of a key."""
        self.writer.hosted(news, now)

    def welcome(self, newcomers: frozenset[UniqueAddress]) -> Sequence[PlacementEffect]:
        """Send what is known to new members; they hold back messages until they know the tables.

        Again once they are up: before its own welcome a newcomer takes no word of anybody.
        """
        if not isinstance(self.phase, Leading) or not newcomers:
            return ()
        news = self.writer.whole_tables()
        return [Send(run, one) for run in self.view.heard if run in newcomers for one in news]

    def settle(self, now: float) -> list[PlacementEffect]:
        """Take every step allowed by now."""
        effects: list[PlacementEffect] = []
        phase = self.phase
        if isinstance(phase, Enlisting | Leading):
            if self.region.promise != phase.term or not self._is_member:
                self.phase = Idle()  # its own node has promised another one
            elif not self._is_oldest:
                self.phase = Idle()
                effects.extend(self._say(Retired(self._last)))
        if self.view.goes:
            effects.extend(self._leave(now))
        if isinstance(self.phase, Idle) and self._may_begin(now):
            effects.extend(self._begin(now))
        if isinstance(self.phase, Enlisting):
            effects.extend(self._enlist_more(self.phase, now))
            if self._may_lead(self.phase, now):
                effects.extend(self._lead(self.phase, now))
        if self._may_write(now):
            effects.extend(self._send(self.writer.write(now)))
        return effects

    def remind(self, now: float) -> list[PlacementEffect]:
        """Repeat everything without an answer."""
        match self.phase:
            case Enlisting() as phase:
                waiting = sorted(self._waiting(phase, now))
                heard = [run for run in waiting if self.view.is_heard(run)]
                effects: list[PlacementEffect] = [Send(run, Enlist(phase.term)) for run in heard]
                if waiting and now - phase.since >= BLOCKED_AFTER and not phase.is_told:
                    phase.is_told = True
                    effects.append(PublishEvent(EnlistBlocked(tuple(waiting))))
                return effects
            case HasRetired():
                return self._say(Retired(self._last))
            case Idle() | Leading():
                return []

    def due(self, now: float) -> float:
        """Return when time alone lets something happen."""
        due = self.view.next_free(now)
        if isinstance(self.phase, Leading):
            due = min(due, self.writer.due(now))
        named = self.phase.named_at.values() if isinstance(self.phase, Enlisting) else ()
        strangers = (at + STRANGERS_WAITED_FOR for at in named)
        for at in (*strangers, self._began_at + self._pause, self._alone_since + LAST_MOVES_TIMEOUT):
            if now < at < due:
                due = at
        return due

    @property
    def _is_member(self) -> bool:
        return self.view.is_up or self.view.goes

    @property
    def _is_oldest(self) -> bool:
        """Whether every older living member has retired."""
        living = (member for member in self.view.older if self.view.is_heard(member.unique))
        return all(member.unique in self._retired for member in living)

    def _may_begin(self, now: float) -> bool:
        if not all(member.unique in self._retired for member in self.view.older):
            return False  # looked at first, since it is so at most nodes
        own = self.view.own
        if own is None or not self.view.is_up or not self.view.places(own) or now < self._began_at + self._pause:
            return False
        if self._next_number(own) > NUMBER_MAX:
            return False  # an epoch of it would not fit into 63 bits; at a term a second that takes 68 years
        return not self.view.older_serve_still(now)

    def _begin(self, now: float) -> list[PlacementEffect]:
        own = self.view.own
        assert own is not None
        number = self._next_number(own)
        self._last = term = Term(number, own.incarnation)
        is_again = now < self._began_at + 2 * AGAIN_AFTER_MAX
        self._pause = min(2 * self._pause, AGAIN_AFTER_MAX) if is_again else AGAIN_AFTER
        self._began_at = now
        answer = self.region.enlist(Enlist(term))
        assert isinstance(answer, tuple)
        self.phase = Enlisting(term, now, set(self.view.all_placing))
        for part in answer:
            self.enlisted(own.unique, part)
        return [TermBegun(number), *(Send(run, Enlist(term)) for run in self.view.heard)]

    def _next_number(self, own: Member) -> int:
        return max(self.region.highest + 1, number_of_age(own.up_number))

    def _waiting(self, phase: Enlisting, now: float) -> set[UniqueAddress]:
        strangers = {
            run for run, at in phase.named_at.items() if now >= at + STRANGERS_WAITED_FOR and not self.view.knows(run)
        }
        asked = phase.asked - strangers
        return {run for run in asked if run not in phase.answers and not self.view.is_gone(run, now)}

    def _enlist_more(self, phase: Enlisting, now: float) -> list[PlacementEffect]:
        """Ask newcomers: a coordinator unaware of this term may have given a shard to one."""
        more = set(self.view.all_placing)
        for answer in phase.answers.values():
            more.update(answer.named)
        more -= phase.asked
        phase.asked |= more
        phase.named_at |= {run: now for run in more if not self.view.knows(run)}
        return [Send(run, Enlist(phase.term)) for run in sorted(more) if self.view.is_heard(run)]

    def _may_lead(self, phase: Enlisting, now: float) -> bool:
        serves_still, is_given = self.view.serves_still(now), self.view.terms_given >= phase.term.number
        is_complete = not self._waiting(phase, now) and not serves_still
        return is_complete and is_given and now < self.region.serves_until

    def _lead(self, phase: Enlisting, now: float) -> list[PlacementEffect]:
        self.phase = Leading(phase.term)
        conflicts = self.writer.begin(phase.term, phase.answers)
        number = phase.term.number
        events = [PublishEvent(CoordinatorChanged(self.view.self_node, number)), *map(PublishEvent, conflicts)]
        return [*events, *self._send(self.writer.whole_tables())]

    def _may_write(self, now: float) -> bool:
        return isinstance(self.phase, Leading) and now < self.region.serves_until

    def _send(self, messages: Sequence[object]) -> list[PlacementEffect]:
        to = [self.view.self_node, *self.view.heard]
        return [Send(run, message) for message in messages for run in to]

    def _leave(self, now: float) -> list[PlacementEffect]:
        effects: list[PlacementEffect] = []
        has_heirs = self.view.has_heirs
        leads_on = isinstance(self.phase, Leading) and has_heirs and not self._is_done(now)
        if not isinstance(self.phase, HasRetired) and not leads_on:
            self.phase = HasRetired()
            effects.extend(self._say(Retired(self._last)))
        has_shards = bool(self.region.held) and has_heirs
        if isinstance(self.phase, HasRetired) and not has_shards and not self._is_handed_over:
            self._is_handed_over = True
            effects.append(HandedOver())
        return effects

    def _is_done(self, now: float) -> bool:
        """Whether a leaving coordinator has moved its own shards away, and ended the moves of others."""
        tables = self.writer.tables.values()
        if self.region.held or any(self.view.self_node in table.holders for table in tables):
            self._alone_since = math.inf
            return False
        self._alone_since = min(self._alone_since, now)
        moves = any(table.moving for table in tables)
        return not moves or now >= self._alone_since + LAST_MOVES_TIMEOUT

    def _say(self, word: Retired) -> list[PlacementEffect]:
        return [Send(run, word) for run in self.view.heard]
