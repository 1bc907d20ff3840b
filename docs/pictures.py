"""Draws the pictures and tables of the explanations from the code's own tables.

``python docs/pictures.py`` writes them; a test compares what is committed with what the code gives,
so a page cannot show a rule that is no longer true.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from xml.sax.saxutils import escape

from casty import FailureDetectorConfig, PhiAccrualFailureDetector
from casty.address import NodeAddress, UniqueAddress
from casty.protocol.failure_detector.monitor import CROSSING_AFTER_PAUSE_MAX, PROBE_PHI
from casty.protocol.messages.shard_rows import Row, Term
from casty.protocol.messages.sharding import Enlisted, HeldShard, KnownTable, Opened, Yielded
from casty.protocol.sharding.members import PlacementView
from casty.protocol.sharding.placement_events import HostsSeen
from casty.protocol.sharding.shard_rows_writer import ShardRowsWriter
from casty.protocol.split_brain.downing import STABLE_AFTER, Downing, stable_after
from casty.protocol.split_brain.strategies import DownAll, KeepMajority, KeepOldest, Partition, StaticQuorum, Strategy
from casty.protocol.state.member import GOING, MOVES, VOTING, Member, MemberStatus
from casty.protocol.state.membership_state import Gossip
from casty.protocol.state.reachability import ObserverRow

DOCS = Path(__file__).parent
TABLE = re.compile(r"(<!-- table: (?P<name>[\w-]+) -->\n).*?(<!-- end of table -->)", re.DOTALL)

INK, SOFT, PAPER = "#1f2933", "#9aa5b1", "#ffffff"
FILLS = {"voting": "#d9f2e3", "going": "#fde2dd", "else": "#eef1f5"}
CURVES = ("#0b7285", "#c2410c", "#7048e8")


class Drawing:
    """Lines of SVG on white paper, so that they can be read in every theme."""

    def __init__(self, width: int, height: int, title: str, *, size: int = 14) -> None:
        self._lines = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img"'
            f' font-family="sans-serif" font-size="{size}">',
            f"<title>{escape(title)}</title>",
            '<defs><marker id="head" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8"'
            f' orient="auto-start-reverse"><path d="M0,0 L8,4 L0,8 z" fill="{INK}"/></marker></defs>',
            f'<rect width="{width}" height="{height}" fill="{PAPER}"/>',
        ]

    def path(self, data: str, *, colour: str = INK, width: float = 1.5, extra: str = "") -> None:
        self._lines.append(f'<path d="{data}" fill="none" stroke="{colour}" stroke-width="{width}"{extra}/>')

    def text(self, x: float, y: float, text: str, *, anchor: str = "middle", colour: str = INK) -> None:
        self._lines.append(
            f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>'
        )

    def box(self, x: float, y: float, width: float, height: float, *, fill: str, dashed: bool = False) -> None:
        dashes = ' stroke-dasharray="5 4"' if dashed else ""
        self._lines.append(
            f'<rect x="{x:.0f}" y="{y:.0f}" width="{width:.0f}" height="{height:.0f}" rx="8" fill="{fill}"'
            f' stroke="{INK}"{dashes}/>'
        )

    def __str__(self) -> str:
        return "\n".join([*self._lines, "</svg>", ""])


# A cluster, for the front page

NODE_WIDTH, NODE_HEIGHT, NODE_GAP, NODE_EDGE, PILL_WIDTH, PILL_HEIGHT = 180, 170, 36, 12, 104, 36
PILLS: tuple[tuple[str, int, int], ...] = (("gateway", 0, 52), ("orders", 1, 52), ("cart-7", 1, 118), ("orders", 2, 52))
"""The actors: their names, the place of their node, and how far down in it they are."""


def cluster() -> str:
    """Return three processes with actors in them: a message, a child, a watch, and a node that is lost."""
    width, height = 3 * NODE_WIDTH + 2 * NODE_GAP + 2 * NODE_EDGE, NODE_HEIGHT + 2 * NODE_EDGE
    drawing = Drawing(width, height, "Three processes, one cluster", size=17)
    for place, (name, status) in enumerate((("web-1", "up"), ("work-1", "up"), ("work-2", "lost"))):
        left, is_lost = NODE_EDGE + place * (NODE_WIDTH + NODE_GAP), status == "lost"
        fill = FILLS["going" if is_lost else "voting"]
        drawing.box(left, NODE_EDGE, NODE_WIDTH, NODE_HEIGHT, fill=fill, dashed=is_lost)
        drawing.text(left + 12, NODE_EDGE + 26, name, anchor="start")
        drawing.text(left + NODE_WIDTH - 12, NODE_EDGE + 26, status, anchor="end")
    corners = [_pill(place, down) for _, place, down in PILLS]
    for (name, place, _), (x, y) in zip(PILLS, corners, strict=True):
        drawing.box(x, y, PILL_WIDTH, PILL_HEIGHT, fill=PAPER, dashed=place == 2)
        drawing.text(x + PILL_WIDTH / 2, y + 24, name)
    gateway, orders, cart, lost = corners
    head, middle = ' marker-end="url(#head)"', gateway[1] + PILL_HEIGHT // 2
    drawing.path(f"M{gateway[0] + PILL_WIDTH},{middle} L{orders[0]},{middle}", extra=head)
    drawing.path(
        f"M{orders[0] + PILL_WIDTH // 2},{orders[1] + PILL_HEIGHT} l0,{cart[1] - orders[1] - PILL_HEIGHT}", extra=head
    )
    drawing.path(f"M{orders[0] + PILL_WIDTH},{middle} L{lost[0]},{middle}", extra=head + ' stroke-dasharray="5 4"')
    return str(drawing)


def _pill(place: int, down: int) -> tuple[int, int]:
    return NODE_EDGE + place * (NODE_WIDTH + NODE_GAP) + (NODE_WIDTH - PILL_WIDTH) // 2, NODE_EDGE + down


# The states of a member

BOX_WIDTH, BOX_HEIGHT, STEP, TOP, LEFT = 92, 40, 150, 80, 20
PLACES: dict[MemberStatus, tuple[int, int]] = {
    MemberStatus.joining: (0, 0),
    MemberStatus.up: (1, 0),
    MemberStatus.leaving: (2, 0),
    MemberStatus.exiting: (3, 0),
    MemberStatus.removed: (4, 0),
    MemberStatus.down: (2, 1),
}
"""Column and row of each state."""


def member_states() -> str:
    """Return the states and the moves between them, from `casty.protocol.state.member.MOVES`."""
    drawing = Drawing(LEFT * 2 + 4 * STEP + BOX_WIDTH, 270, "The states of a member")
    for status, following in MOVES.items():
        for other in sorted(following, key=lambda status: status.rank):
            drawing.path(_arrow(PLACES[status], PLACES[other]), extra=' marker-end="url(#head)"')
    for status, (column, row) in PLACES.items():
        kind = "voting" if status in VOTING else "going" if status in GOING else "else"
        x, y = _corner(column, row)
        drawing.box(x, y, BOX_WIDTH, BOX_HEIGHT, fill=FILLS[kind], dashed=status is MemberStatus.removed)
        drawing.text(x + BOX_WIDTH / 2, y + BOX_HEIGHT / 2 + 5, status.name)
    return str(drawing)


def _corner(column: int, row: int) -> tuple[int, int]:
    return LEFT + column * STEP, TOP + row * 130


def _arrow(begin: tuple[int, int], end: tuple[int, int]) -> str:
    """Return a line between neighbours, an arc over those between, a slope to another row."""
    (x1, y1), (x2, y2) = _corner(*begin), _corner(*end)
    half, low = BOX_WIDTH // 2, BOX_HEIGHT
    if begin[1] != end[1]:
        if begin[1] < end[1]:
            aim = x2 + half + (x1 > x2) * half // 2 - (x1 < x2) * half // 2
            return f"M{x1 + half},{y1 + low} L{aim},{y2}"
        return f"M{x1 + BOX_WIDTH},{y1 + low // 2} L{x2 + half},{y2 + low}"
    if end[0] - begin[0] == 1:
        return f"M{x1 + BOX_WIDTH},{y1 + low // 2} L{x2},{y2 + low // 2}"
    return f"M{x1 + half},{y1} C{x1 + half + 30},{y1 - 60} {x2 + half - 30},{y2 - 60} {x2 + half},{y2}"


# The rows of a shard

ROW_STEP, ROW_TOP, ROW_ARC = 190, 134, 60
ROW_KEY, ROW_SHARDS, ROW_TERM, EARLIER = "carts", 2, Term(512, 1), Term(256, 1)
COORDINATOR, OWNER, OTHER = (UniqueAddress(NodeAddress(name, 2551), 1) for name in "abc")
ROW_STATES: tuple[str, ...] = ("free", "opening", "owned", "moving")
LATER = 10.0
"""Seconds after which a writer waits for nothing."""


def _row_state(row: Row | None) -> str:
    return "free" if row is None else type(row).__name__.lower()


def _seen(view: PlacementView, **statuses: MemberStatus) -> None:
    """Show a view the three nodes: up, but for those with another status here."""
    members = {
        run: Member(run.address, status, frozenset(), run.address.host, incarnation=run.incarnation, up_number=1)
        for run in (COORDINATOR, OWNER, OTHER)
        if (status := statuses.get(run.address.host, MemberStatus.up)) is not MemberStatus.removed
    }
    view.see(Gossip(1, members, seen=frozenset(members)))


def _writer(reported: int | None = None, *, is_closing: bool = False) -> ShardRowsWriter:
    """Return a coordinator's rows at the begin of a term; the shards below a number are reported by their owner."""
    writer = ShardRowsWriter(PlacementView(COORDINATOR, lambda _: True))
    _seen(writer.view)
    held = tuple(HeldShard(ROW_KEY, shard, 7, 8 if is_closing else None) for shard in range(reported or 0))
    writer.begin(ROW_TERM, {OWNER: Enlisted(ROW_TERM, held, (KnownTable(ROW_KEY, ROW_SHARDS, EARLIER, 3),), ())})
    return writer


def _hosted(writer: ShardRowsWriter, *hosts: UniqueAddress, now: float = LATER) -> None:
    writer.hosted(HostsSeen(ROW_KEY, ROW_SHARDS, frozenset(hosts)), 0.0)
    writer.write(now)


def _in_state(state: str) -> ShardRowsWriter:
    if state == "opening":
        writer = _writer()
        _hosted(writer, OWNER)
        writer.hosted(HostsSeen(ROW_KEY, ROW_SHARDS, frozenset()), 0.0)
        return writer
    return _writer(0 if state == "free" else ROW_SHARDS, is_closing=state == "moving")


def _word(writer: ShardRowsWriter, word: type[Opened | Yielded]) -> None:
    rows = writer.tables[ROW_KEY].rows
    said = word(ROW_KEY, tuple((shard, row.epoch) for shard, row in rows.items()))
    if isinstance(said, Opened):
        writer.opened(OWNER, said)
    else:
        writer.yielded(OWNER, said, LATER)


def _gone(writer: ShardRowsWriter) -> None:
    writer.view.free(OWNER, 0.0)
    _seen(writer.view, b=MemberStatus.removed)


CAUSES: dict[str, Callable[[ShardRowsWriter], None]] = {
    "a host is up": lambda writer: _hosted(writer, OWNER),
    "Opened": lambda writer: _word(writer, Opened),
    "to balance": lambda writer: _hosted(writer, OWNER, OTHER, now=2 * LATER),
    "owner leaves": lambda writer: _seen(writer.view, b=MemberStatus.leaving),
    "Yielded": lambda writer: _word(writer, Yielded),
    "owner gone": _gone,
}
"""What a coordinator hears, by the words of the picture."""


def row_moves() -> dict[tuple[str, str], list[str]]:
    """Return what moves a row from each state to which, by trying every cause in every state."""
    moves: dict[tuple[str, str], list[str]] = {}
    for state in ROW_STATES:
        for cause, happen in CAUSES.items():
            if (state, cause) == ("free", "to balance"):
                continue  # it has hosts up, and nothing to balance
            writer = _in_state(state)
            before = {shard: _row_state(writer.tables[ROW_KEY].row(shard)) for shard in range(ROW_SHARDS)}
            happen(writer)
            writer.look_again()
            writer.write(3 * LATER)
            after = {_row_state(writer.tables[ROW_KEY].row(shard)) for shard, was in before.items() if was == state}
            for other in after - {state}:
                moves.setdefault((state, other), []).append(cause)
    for words, is_closing in (("reported open", False), ("reported closing", True)):
        found = _writer(1, is_closing=is_closing).tables[ROW_KEY].row(0)
        moves.setdefault(("free", _row_state(found)), []).append(words)
    return moves


def shard_rows() -> str:
    """Return the states of a row and the moves between them, as the coordinator's `ShardRowsWriter` makes them."""
    width = 2 * LEFT + 3 * ROW_STEP + BOX_WIDTH
    drawing = Drawing(width, 322, "The states of a shard's row", size=13)
    for (begin, end), causes in row_moves().items():
        _row_arrow(drawing, ROW_STATES.index(begin), ROW_STATES.index(end), causes)
    for place, state in enumerate(ROW_STATES):
        kind = "voting" if state == "owned" else "going" if state == "moving" else "else"
        drawing.box(LEFT + place * ROW_STEP, ROW_TOP, BOX_WIDTH, BOX_HEIGHT, fill=FILLS[kind], dashed=state == "free")
        drawing.text(LEFT + place * ROW_STEP + BOX_WIDTH / 2, ROW_TOP + BOX_HEIGHT / 2 + 5, state)
    return str(drawing)


def _row_arrow(drawing: Drawing, begin: int, end: int, causes: Sequence[str]) -> None:
    """Draw a line to the next state, an arc above to a later one, and one below to an earlier one."""
    head, half = ' marker-end="url(#head)"', BOX_WIDTH // 2
    start, stop = LEFT + begin * ROW_STEP, LEFT + end * ROW_STEP
    if end - begin == 1:
        middle = ROW_TOP + BOX_HEIGHT // 2
        drawing.path(f"M{start + BOX_WIDTH},{middle} L{stop},{middle}", extra=head)
        for line, cause in enumerate(causes):
            drawing.text((start + BOX_WIDTH + stop) / 2 - 3, middle - 8 + 26 * line, cause)
        return
    is_later = end > begin
    edge, sign = (ROW_TOP, -1) if is_later else (ROW_TOP + BOX_HEIGHT, 1)
    shift = 8 * (2 - abs(end - begin)) * sign  # the shorter one within the longer one
    bend = edge + sign * ROW_ARC * abs(end - begin) * (4 / 5 if is_later else 1)
    left, right = start + half - shift, stop + half + shift
    drawing.path(f"M{left},{edge} C{left},{bend:.0f} {right},{bend:.0f} {right},{edge}", extra=head)
    drawing.text((start + stop) / 2 + half, edge + 0.75 * (bend - edge) - 11, ", ".join(causes))


# The suspicion over the silence

SILENCE_MAX, PHI_MAX, CHART_X, CHART_Y, CHART_WIDTH, CHART_HEIGHT = 7.0, 16.0, 56, 24, 560, 300
HISTORIES: tuple[tuple[str, tuple[float, ...], FailureDetectorConfig], ...] = (
    ("regular answers, no pause forgiven", (0.5,), FailureDetectorConfig(acceptable_heartbeat_pause_ms=0.0)),
    ("regular answers", (0.5,), FailureDetectorConfig()),
    ("irregular answers", (0.1, 0.9), FailureDetectorConfig()),
)
"""Names, the intervals between answers, again and again, and the settings."""


def phi_curve() -> str:
    """Return how phi grows with the silence, from the detector itself, and where the accusation comes."""
    drawing = Drawing(CHART_X + CHART_WIDTH + 24, CHART_Y + CHART_HEIGHT + 50, "Phi over the seconds of silence")
    _axes(drawing)
    threshold = FailureDetectorConfig().threshold
    _level(drawing, threshold, f"threshold {threshold:g}")
    _level(drawing, PROBE_PHI, f"at {PROBE_PHI:g} others are asked")
    latest = FailureDetectorConfig().acceptable_heartbeat_pause_ms / 1000 + CROSSING_AFTER_PAUSE_MAX
    drawing.path(f"M{_x(latest)},{_y(0)} L{_x(latest)},{_y(PHI_MAX)}", colour=SOFT, extra=' stroke-dasharray="2 4"')
    drawing.text(float(_x(latest)) + 6, CHART_Y + 14, f"at the latest {latest:g} s", anchor="start")
    for place, (name, intervals, config) in enumerate(HISTORIES):
        detector, last = _taught(intervals, config)
        silences = [step / 20 for step in range(int(SILENCE_MAX * 20) + 1)]
        points = [(silence, detector.phi("peer", last + silence)) for silence in silences]
        drawing.path(_line(points), colour=CURVES[place], width=2.5)
        crossing = detector.crossing("peer") - last
        drawing.text(
            CHART_X + 110, CHART_Y + 44 + 20 * place, f"{name}: {crossing:.1f} s", anchor="start", colour=CURVES[place]
        )
    return str(drawing)


def _level(drawing: Drawing, phi: float, text: str) -> None:
    drawing.path(f"M{_x(0)},{_y(phi)} L{_x(SILENCE_MAX)},{_y(phi)}", colour=SOFT, extra=' stroke-dasharray="6 4"')
    drawing.text(CHART_X + 110, float(_y(phi)) - 6, text, anchor="start")


def _taught(intervals: Sequence[float], config: FailureDetectorConfig) -> tuple[PhiAccrualFailureDetector[str], float]:
    """Return a detector that has heard its peer for as long as it remembers, and when it heard it last."""
    detector, now = PhiAccrualFailureDetector[str](config), 0.0
    for beat in range(2 * config.max_sample_size):
        detector.heartbeat("peer", now)
        now += intervals[beat % len(intervals)]
    detector.heartbeat("peer", now)
    return detector, now


def _line(points: Iterable[tuple[float, float]]) -> str:
    shown: list[tuple[float, float]] = []
    for (x1, y1), (x2, y2) in pairwise(points):
        shown.append((x1, y1))
        if y2 > PHI_MAX:
            shown.append((x1 + (x2 - x1) * (PHI_MAX - y1) / (y2 - y1), PHI_MAX))
            break
    return "M" + " L".join(f"{_x(x)},{_y(y)}" for x, y in shown)


def _axes(drawing: Drawing) -> None:
    drawing.path(f"M{_x(0)},{_y(PHI_MAX)} L{_x(0)},{_y(0)} L{_x(SILENCE_MAX)},{_y(0)}")
    for second in range(int(SILENCE_MAX) + 1):
        drawing.text(float(_x(second)), CHART_Y + CHART_HEIGHT + 20, f"{second}")
    for phi in range(0, int(PHI_MAX) + 1, 4):
        drawing.text(CHART_X - 12, float(_y(phi)) + 5, f"{phi}", anchor="end")
    drawing.text(CHART_X + CHART_WIDTH / 2, CHART_Y + CHART_HEIGHT + 42, "seconds since the last answer")
    drawing.text(CHART_X - 40, CHART_Y + CHART_HEIGHT / 2, "phi")


def _x(silence: float) -> str:
    return f"{CHART_X + CHART_WIDTH * silence / SILENCE_MAX:.1f}"


def _y(phi: float) -> str:
    return f"{CHART_Y + CHART_HEIGHT * (1 - phi / PHI_MAX):.1f}"


# Who goes on

STRATEGIES: tuple[tuple[str, Strategy], ...] = (
    ("keep_majority", KeepMajority()),
    ("static_quorum of 3", StaticQuorum(3)),
    ("keep_oldest", KeepOldest()),
    ("keep_oldest, even alone", KeepOldest(down_if_alone=False)),
    ("down_all", DownAll()),
)
SPLITS: tuple[tuple[str, str], ...] = (
    ("abc", "de"),
    ("ab", "cde"),
    ("c", "abde"),
    ("abc", "def"),
    ("ab", "cd"),
    ("abc", "d"),
    ("c", "ab"),
    ("bc", "a"),
    ("a", "b"),
)
"""The two sides of each cut. Addresses are in the order of the letters, and so are ages but for the oldest."""

OLDEST = "c"
"""The member that has been up for longest, where it is there; else the one of the first letter."""


def who_goes_on() -> str:
    """Return which side goes on after a cut, for each strategy, from the strategies themselves."""
    names = [name for name, _ in STRATEGIES]
    rows = [
        [f"{_side(one)} \\| {_side(other)}", *(_verdict(strategy, one, other) for _, strategy in STRATEGIES)]
        for one, other in SPLITS
    ]
    return _table(["cut", *names], rows)


def _side(letters: str) -> str:
    return " ".join(f"**{letter}**" if letter == OLDEST else letter for letter in letters)


def _verdict(strategy: Strategy, one: str, other: str) -> str:
    here, there = _members(one), _members(other)
    going = [
        side
        for side, partition in ((one, Partition(here, there)), (other, Partition(there, here)))
        if not strategy.against(partition)
    ]
    return " and ".join(" ".join(side) for side in going) or "nobody"


def _members(letters: str) -> tuple[Member, ...]:
    return tuple(
        Member(
            NodeAddress(letter, 2551), MemberStatus.up, frozenset(), letter, incarnation=ord(letter),
            up_number=1 if letter == OLDEST else 1 + ord(letter),
        )
        for letter in letters
    )  # fmt: skip


BAD_LINKS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("abcde", ("de",)),
    ("abcde", ("ce",)),
    ("abd", ("ab",)),
    ("bcd", ("cd",)),
    ("abcd", ("ad",)),
    ("abcde", ("ba", "bd", "be")),
    ("abcde", ("ad", "ae", "bd", "be")),
)
"""The members of each cluster, and the links that are bad while gossip finds a way round."""


def bad_links() -> str:
    """Return who goes on beside bad links, for each strategy, from what each member decides."""
    names = [name for name, _ in STRATEGIES]
    rows = [
        [_side(letters), ", ".join(_side(link).replace(" ", "–") for link in links)]
        + [_left(strategy, letters, links) for _, strategy in STRATEGIES]
        for letters, links in BAD_LINKS
    ]
    return _table(["cluster", "bad links", *names], rows)


def _left(strategy: Strategy, letters: str, links: Sequence[str]) -> str:
    members = {member.unique: member for member in _members(letters)}
    runs = {node.address.host: node for node in members}
    rows = {
        node: ObserverRow(1, frozenset(runs[link.replace(name, "")] for link in links if name in link))
        for name, node in runs.items()
    }
    state = Gossip(1, members, rows=rows, seen=frozenset(members))
    gone = set[UniqueAddress]()
    for node in members:
        downing = Downing(strategy)
        downing.observe(state, node, 0.0)
        gone |= downing.decide(state, node, stable_after(len(members)))
    return " ".join(name for name, node in runs.items() if node not in gone) or "nobody"


def patience() -> str:
    """Return how long a view must be stable, by the size of the cluster."""
    sizes = [3, *(size for size, _ in STABLE_AFTER)]
    return _table(["members", *map(str, sizes)], [["`stable_after`", *(f"{stable_after(size):g} s" for size in sizes)]])


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


PICTURES: dict[Path, Callable[[], str]] = {
    DOCS / "cluster.svg": cluster,
    DOCS / "explanation" / "member-states.svg": member_states,
    DOCS / "explanation" / "phi.svg": phi_curve,
    DOCS / "explanation" / "shard-rows.svg": shard_rows,
}
TABLES: dict[str, Callable[[], str]] = {"who-goes-on": who_goes_on, "bad-links": bad_links, "patience": patience}


def with_tables(text: str) -> str:
    """Return the text of a page with its tables as the code gives them."""
    return TABLE.sub(lambda found: found[1] + TABLES[found["name"]]() + found[3], text)


def main() -> None:
    """Write all pictures, and all tables into their pages."""
    for path, draw in PICTURES.items():
        path.write_text(draw(), encoding="utf-8")
    for page in DOCS.rglob("*.md"):
        text = page.read_text(encoding="utf-8")
        if (drawn := with_tables(text)) != text:
            page.write_text(drawn, encoding="utf-8")


if __name__ == "__main__":
    main()
