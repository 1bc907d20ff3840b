"""Admission of joiners to a cluster.

Owns the checks of a joiner: the same settings, a name and an address of its own. It does not know how a joiner asks
(`joining`) or what becomes of it (`leader`).

A refusal is final when a living, reachable member has the name or the address; while that member is unreachable or on
its way out, the joiner is told to retry. A joiner at an address held by another run makes the acceptor dial the
address: the run answering there is the one alive.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from casty.address import UniqueAddress, is_name
from casty.config.validation import (
    EXTRA_BYTES_MAX,
    EXTRA_MAX,
    NAME_LENGTH_MAX,
    PORT_MAX,
    ROLES_LENGTH_MAX,
    ROLES_MAX,
    is_extra,
)
from casty.protocol.effects import Note, Send, Severity
from casty.protocol.gossip.hearsay import has_word
from casty.protocol.messages.membership import JoinAnswer, JoinSettings, JoinState
from casty.protocol.state.leader import has_begun
from casty.protocol.state.member import Member, MemberStatus
from casty.protocol.state.membership_state import MEMBERS_MAX, Gossip

TEXT_MAX = NAME_LENGTH_MAX

_SETTLED = (MemberStatus.joining, MemberStatus.up)


@dataclass(frozen=True, slots=True)
class VerifyAddress:
    """Effect: dial the joiner's address to learn its present run; ``token`` is that of its probe."""

    joiner: UniqueAddress
    token: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """Answer to a joiner, the reason, and whether its address must be verified first."""

    state: JoinState
    reason: str = ""
    verify: bool = False

    def answer(self, state: Gossip, joiner: Member, to: UniqueAddress, token: int) -> list[Send | Note | VerifyAddress]:
        """Return the effects of the verdict of the cluster of ``state`` on the probe of that ``token``."""
        answer = JoinAnswer(token, self.state, self.reason)
        if self.state is JoinState.in_cluster:
            answer = replace(
                answer, cluster_id=state.cluster_id, members=len(state.members), has_begun=has_begun(state)
            )
        effects: list[Send | Note | VerifyAddress] = [Send(to, answer)]
        if self.state is JoinState.refused:
            text = f"refused to let {joiner.id!r} at {joiner.address} join: {self.reason}"
            effects.append(Note(Severity.warning, text, about=to.address))
        if self.verify:
            effects.append(VerifyAddress(to, token))
        return effects


ADMITTED = Verdict(JoinState.in_cluster)


def judge(
    state: Gossip,
    joiner: Member,
    sender: UniqueAddress,
    own: JoinSettings,
    theirs: JoinSettings,
    self_node: UniqueAddress,
) -> Verdict:
    """Return the answer of ``self_node`` to ``joiner``; ``sender`` is the run at the other end of its connection."""
    if joiner.unique != sender or joiner.status is not MemberStatus.joining:
        return _refused(f"the joiner says it is {joiner.unique} and its connection says {sender}")
    if joiner.up_number or max(map(len, (joiner.id, joiner.version, joiner.address.host, *joiner.roles))) > TEXT_MAX:
        return _refused(f"a joiner has no up_number, and no name in it is longer than {TEXT_MAX} characters")
    if len(joiner.roles) > ROLES_MAX or sum(map(len, joiner.roles)) > ROLES_LENGTH_MAX:
        return _refused(f"a joiner has at most {ROLES_MAX} roles, together of at most {ROLES_LENGTH_MAX} characters")
    if not is_extra(joiner.extra):
        return _refused(f"a joiner says at most {EXTRA_MAX} more things of itself, of at most {EXTRA_BYTES_MAX} bytes")
    if not 0 < joiner.address.port <= PORT_MAX or not is_name(joiner.id):
        return _refused("a joiner has a port that can be dialled, and a node_id without spaces")
    difference = own.difference(theirs)
    if difference is not None:
        return _refused(f"{difference} at {joiner.address}: start that node with the settings of the cluster")
    if joiner.unique in state.tombstones:
        return _refused("this run of the node was removed from the cluster; start it again")
    if joiner.unique in state.members:
        return ADMITTED
    for member in state.ordered:
        reachable = member.unique not in state.unreachable
        if member.address == joiner.address:
            waiting = f"an earlier run of {member.address} is still {member.status.name}"
            return Verdict(JoinState.retry, waiting, verify=member.status in _SETTLED)
        if member.id == joiner.id:
            text = f"node_id {member.id!r} belongs to {member.address}, which is {member.status.name}"
            if member.status in _SETTLED and reachable:
                return _refused(f"{text}: choose another node_id")
            return Verdict(JoinState.retry, text)
    if len(state.members) >= MEMBERS_MAX:
        return _refused(f"the cluster has {len(state.members)} members, which is its limit")
    if not has_word(state, self_node):  # others would not go by whom it lets in
        return Verdict(JoinState.retry, f"{self_node.address} is joining itself")
    return ADMITTED


def answered_at(
    state: Gossip, self_node: UniqueAddress, question: VerifyAddress, found: UniqueAddress | None
) -> tuple[Gossip, list[Send]]:
    """Return the state, and the answer to the joiner, once the run at its address is known.

    Earlier runs there are down where it is the joiner; where it is a member, the joiner is refused for good.
    """
    joiner = question.joiner
    if found == joiner:
        return state.with_moved(self_node, state.runs_at(joiner.address) - {joiner}, MemberStatus.down), []
    reason = f"another node is alive at {joiner.address}: choose another host or port"
    refusal = Send(joiner, JoinAnswer(question.token, JoinState.refused, reason))
    return state, [refusal] if found in state.members else []


def _refused(reason: str) -> Verdict:
    return Verdict(JoinState.refused, reason)
