"""How two clusters that should be one find out about each other, and a joiner that nobody knows is let in.

Owns the questions that the leader goes on asking where a member should be and is none: at seeds,
and at the addresses of removed runs; and those of a member that is not up. It does not know how a
node joins (`joining`).

How it works: every `ASK_EVERY` one such address is probed as a joiner would. A cluster of one that
hears of a larger cluster dissolves, so that its node can be started again and join; of two clusters
of one, that of the higher address. Two larger ones are for an operator to sort out. An answer is
believed only with the token of the question: nobody can talk a node into giving up without having
been asked. A joiner that reaches both sides of a partition may have been let in by the side that is
lost, and the other never heard of it: as long as it is not up it asks one of the members, as often.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from casty.address import NodeAddress, UniqueAddress
from casty.protocol.effects import Note, Rng, Send, Severity, StartTimer
from casty.protocol.gossip import Gossip
from casty.protocol.leader import leader_of
from casty.protocol.membership import Member, MemberStatus
from casty.protocol.messages import TOKEN_BITS, Join, JoinAnswer, JoinProbe, JoinSettings, JoinState

REUNION = "reunion"
ASK_EVERY = 10.0
NOTED_MAX = 64


@dataclass(frozen=True, slots=True)
class Dissolve:
    """Effect: this node's cluster of one gives way to a larger one."""

    reason: str


@dataclass(slots=True)
class Reunion:
    """The machine of one member."""

    member: Member
    settings: JoinSettings
    seeds: tuple[NodeAddress, ...]
    rng: Rng
    _token: int = field(init=False)
    _aliases: set[NodeAddress] = field(init=False, default_factory=lambda: set[NodeAddress]())
    _round: list[NodeAddress] = field(init=False, default_factory=lambda: list[NodeAddress]())
    """Who is still to be asked before anybody is asked again: the dead must not hide the living."""
    _noted: set[int] = field(init=False, default_factory=lambda: set[int]())

    def __post_init__(self) -> None:
        self._token = self.rng.getrandbits(TOKEN_BITS)

    def alias(self, address: NodeAddress) -> None:
        """Take note that ``address`` leads back to this node."""
        if address in self.seeds:
            self._aliases.add(address)

    def ask(self, state: Gossip) -> list[Send | StartTimer]:
        """Ask at an address without a member, if this node leads; to be let in, if it is not up; and again later."""
        again = StartTimer(REUNION, ASK_EVERY)
        own = state.members.get(self.member.unique)
        if own is not None and own.status is MemberStatus.joining:
            return [*self._join(state), again]
        if leader_of(state, self.member.unique) != self.member.unique:
            return [again]
        present = {member.address for member in state.ordered} | self._aliases
        missing = sorted({*self.seeds, *(run.address for run in state.tombstones)} - present)
        if not missing:
            return [again]
        self._round = [one for one in self._round if one in missing] or self.rng.sample(missing, len(missing))
        address = self._round.pop()
        return [Send(UniqueAddress(address, 0), JoinProbe(self.member, self.settings, self._token)), again]

    def _join(self, state: Gossip) -> list[Send]:
        """Ask one member to let this node in: whoever did may have been lost before others heard of it."""
        lost = state.lost_to(self.member.unique)
        heard = sorted(state.voters - lost)
        return [
            Send(to, Join(self.member, self.settings, self._token)) for to in self.rng.sample(heard, min(1, len(heard)))
        ]

    def answered(self, state: Gossip, sender: UniqueAddress, answer: JoinAnswer) -> list[Dissolve | Note]:
        """Take the answer of whoever was found there."""
        is_other = answer.state is JoinState.in_cluster and answer.cluster_id != state.cluster_id
        if answer.token != self._token or not is_other:
            return []
        if len(state.members) == 1:
            if (answer.members, self.member.address) > (1, sender.address):
                count = "1 member" if answer.members == 1 else f"{answer.members} members"
                return [Dissolve(f"its cluster of one met the cluster of {sender.address}, which has {count}")]
            return []
        if answer.cluster_id in self._noted or len(self._noted) >= NOTED_MAX:
            return []
        self._noted.add(answer.cluster_id)
        text = f"{sender.address} is in another cluster, of {answer.members}: stop the nodes of one, and let them join"
        return [Note(Severity.error, text)]
