"""The command line before it starts anything."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter

import pytest
from typer.testing import CliRunner

from casty.cli.app import app
from casty.cli.demo.demo import compare
from casty.version import VERSION


def test_the_version_is_told() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert (result.exit_code, result.stdout) == (0, f"casty {VERSION}\n")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["demo", "no-such-folder"], "casty: 'no-such-folder' is not a folder: name one with Python files in it\n"),
        (["demo", "--nodes", "1"], "casty: nobody would be left to count after the kill"),
        (["demo-cart", "--nodes", "1"], "casty: nobody would be left with carts after the kill"),
        (
            ["demo-cart", "--journal", "postgres"],
            "casty: --journal postgres needs a database: give --dsn 'postgresql://",
        ),
        (["demo-cart", "--dsn", "x=1"], "casty: --dsn is for --journal postgres, and this is --journal sqlite"),
        (["demo-cart", "--journal", "postgres", "--dsn", "x"], "casty: the connection string of PostgreSQL cannot be"),
        (["node", "a:b"], "casty: a node needs a name: give --node-id"),
        (["node", "a", "--node-id", "x"], "casty: a behaviour factory is MODULE:FUNCTION"),
        (["node", "a:b", "--node-id", "x", "--seed", "y"], "casty: a seed is HOST:PORT"),
        (["node", "a:b", "--config", "no-such-file"], "casty: no-such-file cannot be read"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments: list[str], expected: str) -> None:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith(expected)
    assert result.stderr.count("\n") == 1


def run(program: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-c", program]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_without_the_extra_the_command_says_what_to_install(missing: str) -> None:
    ended = run(f"import sys; sys.modules[{missing!r}] = None\nfrom casty.cli import main; main()")
    assert ended.returncode == 2
    assert ended.stderr == f"casty: the command line needs {missing}: from the checkout, run  pip install '.[cli]'\n"


def test_the_program_of_a_demo_node_does_without_the_extra() -> None:
    ended = run(
        "import sys; import casty.cli.demo.worker_process\n"
        "print([name for name in ('typer', 'rich', 'click') if name in sys.modules])"
    )
    assert (ended.stdout, ended.stderr) == ("[]\n", "")


def test_without_the_extra_postgres_the_demo_of_carts_says_what_to_install() -> None:
    ended = run(
        "import sys; sys.modules['psycopg'] = None\n"
        "sys.argv[1:] = ['demo-cart', '--journal', 'postgres', '--dsn', 'dbname=x']\n"
        "from casty.cli import main; main()"
    )
    assert ended.returncode == 2
    assert (
        ended.stderr == "casty: --journal postgres needs psycopg: from the checkout, run  pip install '.[postgres]'\n"
    )


@pytest.mark.parametrize("extra", ["typer", "psycopg"])
def test_the_program_of_a_node_with_carts_does_without_the_extras(extra: str) -> None:
    ended = run(f"import sys; import casty.cli.demo_cart.cart_process\nprint({extra!r} in sys.modules)")
    assert (ended.stdout, ended.stderr) == ("False\n", "")


def test_the_help_of_a_node_has_groups_units_an_example_and_the_other_names_of_seeds() -> None:
    result = CliRunner().invoke(app, ["node", "--help"], env={"COLUMNS": "160", "TERM": "dumb", "NO_COLOR": "1"})
    assert result.exit_code == 0
    for expected in (
        "─ This node ─",
        "─ Network ─",
        "─ Joining ─",
        "--join-timeout             SECONDS",
        "To join and wait for the quorum. Default: 60.",
        "TCP port; 0, the default, takes a free one.",
        "Example: casty node shop.carts:carts --node-id web-1",
        "`seeds` in casty.toml, `seed_nodes` in Python",
    ):
        assert expected in result.stdout
    assert not re.search(r"default: \([\d.]+\)", result.stdout)


def test_equal_counts_have_no_differences() -> None:
    assert compare(Counter(a=1), Counter(a=1)) == []


def test_differences_are_shown_with_both_counts_and_the_rest_is_numbered() -> None:
    found, expected = Counter(a=1, b=2), Counter(a=1, b=3, c=1)
    assert compare(found, expected) == ["'b' 2 instead of 3", "'c' 0 instead of 1"]
    many = compare(Counter(), Counter({f"w{number}": 1 for number in range(7)}))
    assert many[-1] == "and 2 more words"


def test_python_m_casty_is_the_command_line() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "casty", "--version"], capture_output=True, text=True, timeout=60, check=False
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, f"casty {VERSION}\n", "")
