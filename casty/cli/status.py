"""``casty status``: the view of its cluster from one node, as lines for people or as JSON for programs."""

from __future__ import annotations

import json
from collections import Counter

from casty import ShardListing
from casty.cli.asking import Words, columns
from casty.protocol.membership.status import ClusterReport, MemberReport, NodeReport
from casty.schema.names import printable

TITLES = ("member", "status", "address", "up no.", "phi", "gossip age", "seen", "unreachable for")
SEEDS_LENGTH_MAX = 2_000


def lines_of(report: ClusterReport) -> list[str]:
    """Return a report as text, one line for each member below a head."""
    shards = ["", *map(shards_in_words, report.shards)] if report.shards else []
    return [*_head(report), "", *columns(TITLES, map(_row, report.members)), *shards]


def _head(report: ClusterReport) -> list[str]:
    node, first = report.node, first_line(report.node)
    if node.phase == "joining":
        return [first, printable(node.seeds, SEEDS_LENGTH_MAX)] if node.seeds else [first]
    counts = Counter(member.status.name for member in report.members)
    lost = sum(member.accusers > 0 for member in report.members)
    seen = sum(member.has_seen for member in report.members)
    facts = [
        ", ".join(f"{count} {status}" for status, count in counts.items()),
        f"{lost} unreachable" if lost else "nobody unreachable",
        f"leader {node.leader}" if node.leader else "no leader",
        "converged" if node.converged else f"not converged: {seen} of {len(report.members)} have seen this version",
    ]
    return [first, "; ".join(facts)]


def first_line(node: NodeReport) -> str:
    """Return the telling node, and whether it is a member of its cluster."""
    state = {"joining": "waits to be let into a cluster", "member": "is a member", "gone": "is no member any more"}[
        node.phase
    ]
    who = f"{printable(node.id)} at {node.address}"
    return f"{who} {state} of {printable(node.system)} (casty {printable(node.version)})"


def shards_in_words(listing: ShardListing) -> str:
    """Return the shards of one key in a line."""
    loads = ", ".join(f"{count} on {node}" for node, count in listing.loads.items()) or "no node hosts it"
    under_way = "".join(
        f"; {count} {state}"
        for state, count in (("moving", len(listing.moves)), ("opening", listing.opening), ("free", listing.free))
        if count
    )
    return f"{printable(listing.key)}: {listing.num_shards} shards, {loads}{under_way}"


def _row(report: MemberReport) -> tuple[str, ...]:
    accusers = ", ".join(str(address) for address in report.accused_by)
    more = report.accusers - len(report.accused_by)
    return (
        printable(report.id) + (f" ({printable(', '.join(sorted(report.roles)))})" if report.roles else ""),
        report.status.name,
        str(report.address),
        str(report.up_number) if report.up_number else "-",
        "-" if report.phi is None else f"{report.phi:.2f}",
        "-" if report.gossip_age is None else f"{report.gossip_age:.1f} s",
        "yes" if report.has_seen else "no",
        (f"{accusers} and {more} more" if more else accusers) or "-",
    )


def json_of(report: ClusterReport) -> str:
    """Return a report as one line of JSON."""
    node = report.node
    return json.dumps(
        {
            "node": {
                "id": node.id,
                "address": str(node.address),
                "system": node.system,
                "version": node.version,
                "phase": node.phase,
                "seeds": node.seeds,
            },
            "cluster_id": f"{node.cluster_id:016x}" if node.cluster_id else None,
            "leader": str(node.leader) if node.leader else None,
            "converged": node.converged,
            "members": [_json_of_member(member) for member in report.members],
            "keys": [json_of_key(listing) for listing in report.shards],
            "keys_left_out": node.keys_left_out,
        }
    )


def _json_of_member(report: MemberReport) -> dict[str, object]:
    return {
        "id": report.id,
        "address": str(report.address),
        "status": report.status.name,
        "roles": sorted(report.roles),
        "up_number": report.up_number,
        "version": report.version,
        "seen": report.has_seen,
        "phi": report.phi,
        "gossip_age": report.gossip_age,
        "unreachable": report.accusers > 0,
        "accusers": report.accusers,
        "accused_by": [str(address) for address in report.accused_by],
    }


def json_of_key(listing: ShardListing) -> dict[str, object]:
    """Return the shards of one key in figures."""
    return {
        "key": listing.key,
        "num_shards": listing.num_shards,
        "hosts": [str(host) for host in listing.hosts],
        "coordinator": str(listing.coordinator) if listing.coordinator else None,
        "term": listing.term,
        "version": listing.version,
        "epoch": listing.epoch,
        "loads": {str(node): count for node, count in listing.loads.items()},
        "moving": len(listing.moves),
        "opening": listing.opening,
        "free": listing.free,
    }


STATUS = Words(lines_of, json_of)
