"""What a user writes becomes a node, or one line that says what is wrong."""

from __future__ import annotations

import re
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from casty import (
    Behaviors,
    ClusterSettings,
    ConfigError,
    FailureDetectorConfig,
    Mailbox,
    MailboxOverflowStrategy,
    SystemConfig,
    TransportLimits,
)
from casty.cli.configuration import NodeFile, NodeOptions, load_guest, parse_address, plan_of, read_file

DOCS = Path(__file__).parents[3] / "docs"

EVERYTHING = """
[node]
name = "shop"
host = "127.0.0.1"
port = 2551
node_id = "web-1"
seeds = ["127.0.0.1:2552", "[::1]:2553"]
roles = ["web"]
required_quorum = 3
join_timeout = 10
insecure = true

[cluster]
gossip_interval = 2
downing = "none"

[cluster.failure_detector]
threshold = 12.0

[cluster.limits]
nesting_max = 20

[actors]
stop_timeout = 1.5

[actors.mailbox]
capacity = 10
overflow = "reject"

[actors.mailboxes."/orders/*"]
capacity = 5
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "casty.toml"


def test_a_file_with_everything_becomes_a_plan(file: Path) -> None:
    file.write_text(EVERYTHING)
    plan = plan_of(NodeOptions(), read_file(file))
    assert (plan.name, plan.host, plan.port, plan.node_id) == ("shop", "127.0.0.1", 2551, "web-1")
    assert plan.seed_nodes == (("127.0.0.1", 2552), ("::1", 2553))
    assert (plan.roles, plan.required_quorum, plan.join_timeout) == (frozenset({"web"}), 3, 10.0)
    assert plan.insecure
    assert (plan.settings.gossip_interval, plan.settings.downing) == (2.0, "none")
    assert plan.settings.failure_detector == FailureDetectorConfig(threshold=12.0)
    assert plan.settings.limits.nesting_max == 20
    assert plan.config.stop_timeout == 1.5
    assert plan.config.mailbox.overflow is MailboxOverflowStrategy.reject
    assert plan.config.mailbox_for("/orders/1") == Mailbox(5)


def test_the_file_in_the_documents_is_accepted(file: Path) -> None:
    page = (DOCS / "how-to" / "run-a-node.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    file.write_text(block)
    assert plan_of(NodeOptions(), read_file(file)).settings.failure_detector.threshold == 10.0


def test_a_lease_is_named_by_its_file(file: Path) -> None:
    page = (DOCS / "how-to" / "choose-a-strategy.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    file.write_text(block)
    settings = read_file(file).cluster
    assert (settings.downing, settings.lease_minority_delay) == ("lease_majority", 2.0)
    assert repr(settings.lease).endswith("/shop-lease.db>")


def test_what_the_command_line_says_goes_before_the_file(file: Path) -> None:
    file.write_text(EVERYTHING)
    plan = plan_of(NodeOptions(port=0, roles=("db",)), read_file(file))
    assert (plan.port, plan.roles, plan.name) == (0, frozenset({"db"}), "shop")


def test_a_node_may_be_let_begin_a_cluster_alone_by_option_or_file(file: Path) -> None:
    assert plan_of(NodeOptions(node_id="a", allow_new_cluster=True), NodeFile()).settings.allow_new_cluster
    file.write_text("[cluster]\nallow_new_cluster = true\n")
    assert plan_of(NodeOptions(node_id="a"), read_file(file)).settings.allow_new_cluster
    assert not plan_of(NodeOptions(node_id="a", allow_new_cluster=False), read_file(file)).settings.allow_new_cluster


def test_an_empty_file_is_the_defaults(file: Path) -> None:
    file.write_text("")
    assert read_file(file) == NodeFile()
    plan = plan_of(NodeOptions(node_id="a"), read_file(file))
    assert (plan.settings, plan.seed_nodes, plan.insecure) == (ClusterSettings(), (), False)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[nod]", "unknown key 'nod'; the nearest that exists is 'node'"),
        ("[cluster]\ngosip_interval = 1", "in cluster: unknown key 'gosip_interval'; .* is 'gossip_interval'"),
        ("[cluster.failure_detector]\ntreshold = 1", "in cluster.failure_detector: .*'treshold'.*'threshold'"),
        ("[node]\nport = '80'", "in node.port: expected int, got '80'"),
        ("[node]\nport = 1.0", "in node.port: expected int, got 1.0"),
        ("[node]\ninsecure = 1", "in node.insecure: expected bool, got 1"),
        ("[node]\nroles = 'web'", "in node.roles: expected a list of strings, got 'web'"),
        ("[node]\nseeds = [1]", r"in node.seeds: expected a list of strings, got \[1\]"),
        ("[node]\nseeds = ['127.0.0.1']", r"casty.toml: in node.seeds: a seed is HOST:PORT.* got '127.0.0.1'"),
        ("[node]\nnode_id = 'g 1'", r"casty.toml: in node.node_id: .*without spaces.* got 'g 1'"),
        ("[node]\nroles = ['']", "casty.toml: in node.roles: "),
        ("[node]\nhost = 'a b'", "casty.toml: in node.host: the host must be a host name .* got 'a b'"),
        ("[node]\nport = 70000", "casty.toml: in node.port: the port must be an integer from 0 to 65535, got 70000"),
        ("[actors.mailbox]\ncapacity = true", "in actors.mailbox.capacity: expected int, got True"),
        (
            "[actors.mailbox]\noverflow = 'x'",
            "expected one of 'drop_new', 'drop_oldest', 'reject', 'back_pressure', got 'x'",
        ),
        ("[cluster]\ndowning = 'x'", "in cluster.downing: expected one of 'keep_majority', .*'none', got 'x'"),
        ("[cluster]\nlease = 3", "in cluster.lease: expected the path of a file for a SqliteLease, got 3"),
        ("[actors]\njournal = 'a.db'", "in actors.journal: expected nothing: casty node has no journal; .* got 'a.db'"),
        ("[cluster]\ndowning = 'lease_majority'", "ClusterSettings.lease must be a Lease"),
        ("[cluster]\ngossip_interval = -1", "gossip_interval must be a finite number above 0, got -1"),
        ("[cluster]\ngossip_interval = '1'", "in cluster.gossip_interval: expected float, got '1'"),
        ("node = 3", r"in node: expected a table, \[node\] and below it a line for each setting, got 3$"),
        ("cluster = []", r"in cluster: expected a table, \[cluster\] and below it .*, got \[\]$"),
        ("[actors]\nmailbox = 5", r"in actors.mailbox: expected a table, \[actors.mailbox\] and below it .*, got 5$"),
        (
            "[node]\nseeds = ['a:70000']",
            r"in node.seeds: the port of a seed must be an integer from 1 to 65535, got 'a:7",
        ),
        ("[node", "is not valid TOML"),
    ],
)
def test_a_file_that_makes_no_sense_is_refused_with_the_place(file: Path, text: str, expected: str) -> None:
    file.write_text(text)
    with pytest.raises(ConfigError, match=expected) as caught:
        read_file(file)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(file))


def test_all_mistakes_of_a_file_are_told_at_once(file: Path) -> None:
    file.write_text("""
        top = 1
        [node]
        node_id = "a b"
        seeds = ["nowhere"]
        roles = [""]
        [cluster]
        gosip_interval = 1
        downin = "none"
        [cluster.limits]
        nesting_max = "deep"
        [actors]
        stop_timeout = -1
        slow_handler_after = -2
        [actors.mailbox]
        capacity = 0
    """)
    with pytest.raises(ConfigError) as caught:
        read_file(file)
    first, *mistakes = str(caught.value).split("\n")
    assert first == f"{file}: {len(mistakes)} mistakes:"
    assert sorted(line.strip().split(" must be ")[0].split("; ")[0] for line in mistakes) == [
        "in actors.mailbox: Mailbox.capacity",
        "in actors: SystemConfig.slow_handler_after",
        "in actors: SystemConfig.stop_timeout",
        "in cluster.limits.nesting_max: expected int, got 'deep'",
        "in cluster: unknown key 'downin'",
        "in cluster: unknown key 'gosip_interval'",
        "in node.node_id: ClusterConfig.node_id",
        "in node.roles: ClusterConfig.roles",
        "in node.seeds: a seed is HOST:PORT, such as 127.0.0.1:2551 or [::1]:2551, got 'nowhere'",
        "unknown key 'top'",
    ]


@pytest.mark.parametrize("value", ["-1", "'?'", "[]", "{}", "true", "{x = 1}", "[{}]", "nan"])
def test_every_key_of_a_file_can_be_wrong_at_the_same_time(file: Path, value: str) -> None:
    keys = {
        "node": NodeOptions,
        "cluster": ClusterSettings,
        "cluster.limits": TransportLimits,
        "cluster.failure_detector": FailureDetectorConfig,
        "actors": SystemConfig,
        "actors.mailbox": Mailbox,
    }
    tables = [f"more = {value}"]
    for table, kind in keys.items():
        inner = {name.rpartition(".")[2] for name in keys if name.startswith(f"{table}.")}
        lines = [f"{f.name} = {value}" for f in fields(kind) if f.name not in inner]
        tables += [f"[{table}]", *lines]
    file.write_text("\n".join(tables))
    with pytest.raises(ConfigError) as caught:
        read_file(file)
    text = str(caught.value)
    assert re.match(rf"{re.escape(str(file))}: \d\d mistakes:\n", text)
    assert all(place in text for place in ("unknown key 'more'", "node.port", "nesting_max", "threshold", "capacity"))


def test_a_mistake_in_the_kind_of_one_key_of_a_node_hides_no_other_table(file: Path) -> None:
    file.write_text("[node]\nport = 'x'\ninsecure = 1\n[cluster]\nfoo = 1")
    with pytest.raises(ConfigError, match=r"3 mistakes:\n") as caught:
        read_file(file)
    assert all(place in str(caught.value) for place in ("in node.port: ", "in node.insecure: ", "in cluster: "))


@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.1", "shop.example"])
def test_a_host_that_others_can_reach_is_allowed_where_it_was_given(file: Path, host: str) -> None:
    said = f"listening on '{host}' would be reachable .*, or "
    with pytest.raises(ConfigError, match=f"{said}add --insecure on a network"):
        plan_of(NodeOptions(node_id="a", host=host), NodeFile())
    file.write_text(f"[node]\nnode_id = 'a'\nhost = '{host}'")
    with pytest.raises(ConfigError, match=f"{said}set insecure = true beside host in the file"):
        plan_of(NodeOptions(), read_file(file))
    assert plan_of(NodeOptions(insecure=True), read_file(file)).host == host
    assert plan_of(NodeOptions(host="127.0.0.1"), read_file(file)).host == "127.0.0.1"


def test_a_host_with_its_port_is_refused_as_that() -> None:
    with pytest.raises(ConfigError, match="without a port, got '10.0.0.1:80'"):
        plan_of(NodeOptions(node_id="a", host="10.0.0.1:80"), NodeFile())


def test_a_file_that_cannot_be_read_or_is_no_text_is_refused(file: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        read_file(file)
    file.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="is not valid TOML"):
        read_file(file)


def test_a_node_without_a_name_is_refused() -> None:
    with pytest.raises(ConfigError, match="--node-id"):
        plan_of(NodeOptions(), NodeFile())


@pytest.mark.parametrize("text", ["a:1", "10.0.0.1:65535", "[::1]:2551", "web-1.example:80"])
def test_a_seed_is_a_host_and_a_port(text: str) -> None:
    host, port = parse_address(text)
    assert text in (f"{host}:{port}", f"[{host}]:{port}")


@pytest.mark.parametrize(
    "text",
    ["", "a", "a:", ":1", "a:x", "::1", "a b:1", " a:1", "x@a:1", "tcp://a:1", "a:1/b", "[a:1"],
)
def test_anything_else_is_no_seed(text: str) -> None:
    with pytest.raises(ConfigError, match="a seed is HOST:PORT"):
        parse_address(text)


MODULE = """
from casty import Behaviors

number = 1

def cashier():
    return Behaviors.ignore()

def with_argument(x):
    return Behaviors.ignore()

def of_nothing():
    return None

async def handler(ctx, message):
    return Behaviors.same()

def raising():
    raise RuntimeError("no shop today")

def _private():
    return Behaviors.ignore()
"""


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "demo_shop.py").write_text(MODULE)
    (tmp_path / "demo_broken.py").write_text("import demo_absent\n")
    (tmp_path / "demo_misspelt.py").write_text("def (\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "modules", dict(sys.modules))


@pytest.mark.usefixtures("shop")
def test_a_factory_in_the_working_directory_is_found_and_names_the_actor() -> None:
    guest = load_guest("demo_shop:cashier")
    assert guest.name == "cashier"
    assert guest.make() is Behaviors.ignore()


@pytest.mark.usefixtures("shop")
@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("demo_shop", "MODULE:FUNCTION"),
        ("demo_shop:", "MODULE:FUNCTION"),
        (":cashier", "MODULE:FUNCTION"),
        ("demo_shop:a.b", "MODULE:FUNCTION"),
        (".demo_shop:cashier", "MODULE:FUNCTION"),
        ("demo_shop.py:cashier", "MODULE:FUNCTION"),
        ("./demo_shop:cashier", "MODULE:FUNCTION"),
        ("demo_absent:cashier", "demo_absent cannot be imported: ModuleNotFoundError: No module named 'demo_absent'$"),
        ("demo_broken:cashier", r"No module named 'demo_absent' \(.*demo_broken.py:1\)$"),
        ("demo_misspelt:cashier", "cannot be imported: SyntaxError"),
        ("demo_shop:nobody", "demo_shop has no function 'nobody'"),
        ("demo_shop:cashire", "has no function 'cashire'; the nearest that exists is 'cashier'$"),
        ("demo_shop:number", "demo_shop:number is 1, and must be a function that returns a behaviour"),
        ("demo_shop:with_argument", r"with_argument takes the arguments \(x\), and must take none: write a function"),
        ("demo_shop:handler", "demo_shop:handler is async, and must be a plain function without arguments: write a"),
        ("demo_shop:raising", r"failed: RuntimeError: no shop today \(.*demo_shop.py:19\)$"),
        ("demo_shop:of_nothing", "must return a behaviour, made by casty.Behaviors, got None"),
        ("demo_shop:_private", "names that begin with '_' are casty's own"),
    ],
)
def test_a_factory_that_cannot_be_used_is_refused_in_one_line(target: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected) as caught:
        load_guest(target)
    assert "\n" not in str(caught.value)
