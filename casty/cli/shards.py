"""``casty shards``: the place of each shard, in the view of one node."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass

from casty import NodeAddress, ShardListing, ShardRow
from casty.cli.asking import Words, columns
from casty.cli.status import first_line, json_of_key
from casty.cluster.observability.status_report import NoStatus
from casty.protocol.membership.status import ClusterReport
from casty.schema.names import printable

NODE_TITLES = ("node", "address", "hosts", "shards", "moving", "opening")
ROW_TITLES = ("shard", "state", "node", "to", "epoch")


@dataclass(frozen=True, slots=True)
class ShardsQuestion:
    """Question for the shards of one key, or of all."""

    key: str | None

    @property
    def words(self) -> Words:
        """Forms of the answer."""
        return Words(self.lines_of, self.json_of)

    def lines_of(self, report: ClusterReport) -> list[str]:
        """Return a part for each key, and the shards one by one where one key was asked for."""
        names = {member.address: printable(member.id) for member in report.members}
        lines = [first_line(report.node)]
        for listing in self._asked(report):
            lines += ["", _head(listing, names), *columns(NODE_TITLES, _nodes(listing, names))]
            if self.key is not None:
                lines += ["", *columns(ROW_TITLES, (_row(row, names) for row in listing.rows))]
        if self.key is None and not report.shards:
            lines += ["", "no node hosts entities"]
        if report.node.keys_left_out:
            lines += ["", f"and {report.node.keys_left_out} more keys: a report has no room for them"]
        return lines

    def json_of(self, report: ClusterReport) -> str:
        """Return the answer as one line of JSON."""
        keys = [
            json_of_key(listing) | {"rows": list(map(_json_of_row, listing.rows))} for listing in self._asked(report)
        ]
        node = {"id": report.node.id, "address": str(report.node.address), "system": report.node.system}
        return json.dumps({"node": node, "keys": keys, "keys_left_out": report.node.keys_left_out})

    def _asked(self, report: ClusterReport) -> list[ShardListing]:
        found = [listing for listing in report.shards if self.key in (None, listing.key)]
        if self.key is not None and not found:
            known = ", ".join(printable(listing.key) for listing in report.shards) or "none"
            where = f"{printable(report.node.id)} at {report.node.address}"
            raise NoStatus(f"{where} knows no key {printable(self.key)!r}; keys are: {known}")
        return found


def _head(listing: ShardListing, names: dict[NodeAddress, str]) -> str:
    by = "no coordinator" if listing.coordinator is None else f"coordinator {_named(listing.coordinator, names)}"
    place = f"term {listing.term} version {listing.version}, epoch {listing.epoch}"
    rest = f"{len(listing.moves)} moving, {listing.opening} opening, {listing.free} free"
    return f"{printable(listing.key)}: {listing.num_shards} shards, {rest}; {by}, {place}"


def _nodes(listing: ShardListing, names: dict[NodeAddress, str]) -> list[tuple[str, ...]]:
    states = Counter((row.node, row.state) for row in listing.rows)
    nodes = sorted({*listing.loads, *(row.node for row in listing.rows)})
    return [
        (
            names.get(node, "-"),
            str(node),
            "yes" if node in listing.hosts else "no",
            str(listing.loads.get(node, 0)),
            str(states[node, "moving"]),
            str(states[node, "opening"]),
        )
        for node in nodes
    ]


def _row(row: ShardRow, names: dict[NodeAddress, str]) -> tuple[str, ...]:
    to = "-" if row.to is None else _named(row.to, names)
    return str(row.shard), row.state, _named(row.node, names), to, str(row.epoch)


def _named(node: NodeAddress, names: dict[NodeAddress, str]) -> str:
    return f"{names[node]} ({node})" if node in names else str(node)


def _json_of_row(row: ShardRow) -> dict[str, object]:
    to = None if row.to is None else str(row.to)
    return {"shard": row.shard, "state": row.state, "node": str(row.node), "to": to, "epoch": row.epoch}
