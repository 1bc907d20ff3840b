"""Discovery of two clusters that should be one, and admission of a joiner known to nobody.

Owns the questions of the leader wherever a member should be and is none: at seeds, and at the addresses of removed
runs; and those of a member that is not up. It does not know how a node joins (`joining`).

How it works: every `ASK_EVERY` one such address is probed as a joiner would, and several at once by a member that has
just become the only one: after a standstill, while the others started anew, it finds them before it does their work. A
cluster of one that hears of a larger cluster dissolves, so that its node can be started again and join; of two clusters
of one, that of the higher address. Two larger ones are for an operator to sort out. An answer is believed only with the
token of the question: nobody can talk a node into giving up without having been asked. A joiner in reach of both sides
of a partition may have been let in by the lost side, and the other never heard of it: as long as it is not up it asks
one of the members, as often.

A cluster in which nobody was ever up has nothing to lose. Each of its members asks, and some addresses at a time,
unreachable ones included; a member that hears of a begun cluster leaves for it. Of two yet to begin the smaller one
gives way, as a whole: its leader downs them all, so that none of them is counted there any more.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from casty.address import NodeAddress, UniqueAddress
from casty.protocol.effects import Note, Rng, Send, Severity, StartTimer
from casty.protocol.membership.founding import Founding
from casty.protocol.messages.membership import TOKEN_BITS, Join, JoinAnswer, JoinProbe, JoinSettings, JoinState
from casty.protocol.state.leader import has_begun, leader_of
from casty.protocol.state.member import Member, MemberStatus
from casty.protocol.state.membership_state import Gossip

REUNION = "reunion"
ASK_EVERY = 10.0
NOTED_MAX = 64
ASKED_AT_ONCE_MAX = 8
"""Addresses asked at a time before anybody was up, and by a member that has just become the only one."""


@dataclass(frozen=True, slots=True)
class Dissolve:
    """Effect: this node leaves its cluster for another; ``with_all``: and so do all members."""

    reason: str
    with_all: bool = False


@dataclass(slots=True)
class ClusterMerge:
    """The machine of one member."""

    member: Member
    settings: JoinSettings
    founding: Founding
    rng: Rng
    _tokens: dict[NodeAddress, int] = field(init=False, default_factory=lambda: dict[NodeAddress, int]())
    """Tokens of the nodes asked in this round and the one before."""
    _round: list[NodeAddress] = field(init=False, default_factory=lambda: list[NodeAddress]())
    """Nodes still to be asked before anybody is asked again: the dead must not hide the living."""
    _noted: set[int] = field(init=False, default_factory=lambda: set[int]())

    def alias(self, address: NodeAddress) -> None:
        """Take note that ``address`` leads back to this node."""
        self.founding.note(address, self.member.address)

    def ask(self, state: Gossip, most: int = 1) -> list[Send | StartTimer]:
        """Ask ``most`` at a time where nobody is, if this node leads, or to be let in, if it is not up; again later."""
        again = StartTimer(REUNION, ASK_EVERY)
        own = state.members.get(self.member.unique)
        lost: frozenset[UniqueAddress] = frozenset()
        if not has_begun(state):
            lost = state.lost_to(self.member.unique)
        elif own is not None and own.status is MemberStatus.joining:
            return [*self._join(state), again]
        elif leader_of(state, self.member.unique) != self.member.unique:
            return [again]
        present = {member.address for member in state.ordered if member.unique not in lost}
        seeds = {seed for seed in self.founding.contacts if self.founding.address_of(seed) not in present}
        missing = sorted({*seeds, *({run.address for run in (*state.tombstones, *lost)} - present)})
        if not missing:
            return [again]
        if not (left := [one for one in self._round if one in missing]):
            left = self.rng.sample(missing, len(missing))
            self._tokens = {one: token for one, token in self._tokens.items() if one in missing}
        count = most if has_begun(state) else ASKED_AT_ONCE_MAX
        self._round, asked = left[:-count], left[-count:]
        return [*map(self._probe, asked), again]

    def observe(self, before: Gossip, state: Gossip) -> list[Send | StartTimer]:
        """Ask at once where this node has become the only member."""
        return self.ask_all(state) if len(before.members) > 1 else []

    def ask_all(self, state: Gossip) -> list[Send | StartTimer]:
        """Ask several at once, where this node is the only member."""
        return self.ask(state, ASKED_AT_ONCE_MAX) if len(state.members) == 1 else []

    def _probe(self, address: NodeAddress) -> Send:
        token = self._tokens.setdefault(address, self.rng.getrandbits(TOKEN_BITS))
        return Send(
            UniqueAddress(address, 0), JoinProbe(self.member, self.settings, token, address in self.founding.seeds)
        )

    def _join(self, state: Gossip) -> list[Send]:
        """Ask one member to let this node in: the one that did may have been lost before others heard of it."""
        lost = state.lost_to(self.member.unique)
        heard = sorted(state.voters - lost)
        return [
            Send(to, Join(self.member, self.settings, self.rng.getrandbits(TOKEN_BITS)))
            for to in self.rng.sample(heard, min(1, len(heard)))
        ]

    def answered(self, state: Gossip, sender: UniqueAddress, answer: JoinAnswer) -> list[Dissolve | Note]:
        """Take the answer of a node found there."""
        asked = next((address for address, token in self._tokens.items() if token == answer.token), None)
        if asked is None or answer.state is not JoinState.in_cluster:
            return []
        self.founding.note(asked, sender.address)
        if answer.cluster_id == state.cluster_id:
            return []
        count = "1 member" if answer.members == 1 else f"{answer.members} members"
        theirs = f"the cluster of {sender.address}, which has {count}"
        is_smaller = (answer.members, self.member.address) > (len(state.members), sender.address)
        if not has_begun(state):
            if answer.has_begun:
                return [Dissolve(f"its cluster, in which nobody was up yet, met {theirs}")]
            if is_smaller and self.founding.decides(state):
                reason = f"its cluster met {theirs}, and nobody was up in either"
                return [Dissolve(reason, with_all=True)]
            return []
        if not answer.has_begun:
            return []  # it gives way
        if len(state.members) == 1:
            return [Dissolve(f"its cluster of one met {theirs}")] if is_smaller else []
        if answer.cluster_id in self._noted or len(self._noted) >= NOTED_MAX:
            return []
        self._noted.add(answer.cluster_id)
        text = f"{sender.address} is in another cluster, of {answer.members}: stop the nodes of one, and let them join"
        return [Note(Severity.error, text)]
