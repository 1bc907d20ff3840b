"""Two versions of the code on one history, each in a process: the first event after which their states differ."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import trio
from helpers.journal_commands import journal, lines, rows
from helpers.travelled import fill_carts
from psycopg.conninfo import conninfo_to_dict

from casty import SqliteJournal
from casty.cli.journal import comparing
from casty.persistence.postgres import PostgresJournal

CODE = """
from dataclasses import dataclass
import casty
from casty import Behaviors, nothing
PRELUDE

@casty.event("carts.Added")
@dataclass(frozen=True)
class Added:
    sku: str
    count: int

@casty.event("carts.CheckedOut")
@dataclass(frozen=True)
class CheckedOut: ...

def apply(total: int, event: Added | CheckedOut) -> int:
    return RULE

def cart(name: str):
    return Behaviors.event_sourced(name, empty=0, decide=lambda total, command: nothing(), apply=apply, snapshots=None)
"""
SUM = "total + (event.count if isinstance(event, Added) else 0)"
WRITE = """
import msgpack, trio
from casty import CastyError, Record, SqliteJournal

async def write():
    journal = SqliteJournal("../shop.db")
    async with journal.open():
        [claim] = await journal.claim(["cart-1"])
        await journal.append(claim, "cart-1", 4, [Record("carts.CheckedOut", 1, msgpack.packb({}))])

try:
    trio.run(write)
except CastyError as error:
    print("the other was first:", error)
"""
VERSIONS = {
    "here": (SUM, ""),
    "same": (SUM, "print('printed by the module')"),
    "late": (f"{SUM} + (0 if isinstance(event, Added) else 5)", ""),
    "failing": (f"{SUM} if isinstance(event, Added) else 1 // 0", ""),
    "failing_too": (f"{SUM} if isinstance(event, Added) else 2 // 0", ""),
    "hanging": ("__import__('pathlib').Path('reached').touch() or __import__('time').sleep(600)", ""),
    "dying": ("__import__('os')._exit(7)", ""),
    "writing": (SUM, WRITE),
    "writing_too": (SUM, WRITE),
    "broken": (SUM, "import no_such_module"),
}


@pytest.fixture(autouse=True)
def versions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for folder, (rule, prelude) in VERSIONS.items():
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "shop_code.py").write_text(CODE.replace("RULE", rule).replace("PRELUDE", prelude))
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path


@pytest.fixture
def carts(tmp_path: Path) -> Path:
    trio.run(fill_carts, SqliteJournal(tmp_path / "shop.db"))
    return tmp_path / "shop.db"


APP = ("--app", "shop_code:cart")
LATE = ["cart-1 at event 4: the states differ from carts.CheckedOut on", "    the state: 4 by ., 9 by ../late"]


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (["--against", "../same"], 0, ["cart-1: . and ../same agree on 4 events"]),
        (["--against", "../late"], 1, LATE),
        (["--against", "../late", "--at", "3"], 0, ["cart-1: . and ../late agree on 3 events"]),
        (
            ["--code", "../late"],
            1,
            [LATE[0], "    the state: 9 by ../late, 4 by ."],
        ),
        (["--code", "../same", "--against", "../late"], 1, [LATE[0], "    the state: 4 by ../same, 9 by ../late"]),
    ],
)
def test_the_first_difference_of_two_codes_is_told(
    arguments: list[str], code: int, expected: list[str], carts: Path
) -> None:
    result = journal("replay", carts, "cart-1", *APP, *arguments)
    assert (lines(result), result.exit_code) == (expected, code), result.stderr


def test_a_code_that_fails_where_the_other_does_not_differs(carts: Path) -> None:
    result = journal("replay", carts, "cart-1", *APP, "--against", "../failing")
    found = lines(result)
    assert result.exit_code == 1
    assert found[:2] == ["cart-1 at event 4: one code can replay it, the other cannot", "    .: replayed"]
    assert "../failing: " in found[2]
    assert "ZeroDivisionError" in found[2]


def test_a_history_that_neither_code_can_replay_is_no_agreement(carts: Path) -> None:
    result = journal("replay", carts, "cart-1", *APP, "--code", "../failing", "--against", "../failing_too")
    assert result.exit_code == 1
    assert lines(result)[0] == "cart-1 at event 4: neither code can replay it"


def test_a_whole_store_is_compared(carts: Path) -> None:
    same = journal("check", carts, *APP, "--against", "../same")
    assert (lines(same), same.exit_code) == (["2 ids, 0 differ, 0 failed by both; 8 events agree"], 0)
    found = journal("check", carts, *APP, "--against", "../late", "--json")
    assert found.exit_code == 1
    first, second, counts = rows(found)
    assert (first["persistence_id"], first["seq"]) == ("cart-1", 4)
    assert first["differences"] == [{"path": "", "code": 4, "against": 9}]
    assert (second["persistence_id"], second["seq"]) == ("cart-2", 4)
    assert counts == {"ids": 2, "events": 6, "differ": 2, "failed": 0, "unknown": 0, "moved": 0}
    other = journal("check", carts, "--app", "no_such_kind=shop_code:cart", "--against", "../late")
    assert (other.exit_code, lines(other)) == (1, [])
    assert "2 ids are of kinds that no --app names" in other.stderr


PROFILES = """
from dataclasses import dataclass
from casty import ActorRef, Behaviors, Effect, event, message, store, upcast

@event("profiles.Profile", version=2)
@dataclass(frozen=True)
class Profile:
    name: str = ""
    city: str = ""

@upcast("profiles.Profile", 1)
def placed(fields):
    return {**fields, "city": CITY}

@message("profiles.Rename")
@dataclass(frozen=True)
class Rename:
    name: str
    reply_to: ActorRef[str]

def decide(profile: Profile, command: Rename) -> Effect[Profile]:
    return store(Profile(command.name)).reply(command.reply_to, command.name)

def profile(name: str):
    return Behaviors.durable_state(name, empty=Profile(), decide=decide)
"""

RENAME = """
import trio
from casty import ActorSystem, SqliteJournal, SystemConfig
from profiles import Rename, profile

async def rename():
    async with ActorSystem(config=SystemConfig(journal=SqliteJournal("../profiles.db"))) as system:
        for number in (1, 2):
            ref = system.spawn(profile(f"profile-{number}"), f"{number}")
            for name in ("Ann", "Bea"):
                await system.ask(ref, lambda reply_to: Rename(name, reply_to))

trio.run(rename)
"""


def test_the_last_values_of_durable_states_are_compared(versions: Path) -> None:
    for folder, city in (("here", "Rome"), ("late", "Oslo"), ("same", "Rome")):
        (versions / folder / "profiles.py").write_text(PROFILES.replace("CITY", repr(city)))
    before = re.sub(r", version=2|    city.*|(?s:@upcast.*?\n\n)", "", PROFILES)
    (versions / "empty" / "profiles.py").write_text(before)
    (versions / "empty" / "rename.py").write_text(RENAME)
    subprocess.run([sys.executable, "rename.py"], cwd=versions / "empty", check=True, timeout=60)
    app, db = ("--app", "profiles:profile"), versions / "profiles.db"
    same = journal("check", db, *app, "--against", "../same")
    assert (lines(same), same.exit_code) == (["2 ids, 0 differ, 0 failed by both; 0 events agree"], 0), same.stderr
    found = journal("replay", db, "profile-2", *app, "--against", "../late")
    assert found.exit_code == 1
    assert lines(found) == ["profile-2 at event 2: the states differ", "    city: 'Rome' by ., 'Oslo' by ../late"]


def test_an_event_written_meanwhile_is_not_compared(carts: Path) -> None:
    """Both modules write one as they are imported, behind the last event of the moment when the command began."""
    result = journal("replay", carts, "cart-1", *APP, "--code", "../writing", "--against", "../writing_too", "--json")
    assert rows(result) == [{"ids": 1, "events": 4, "differ": 0, "failed": 0, "unknown": 0, "moved": 0}]
    assert "cart-1: 5 events, 1 to 5" in journal("show", carts, "cart-1").stdout


def test_a_store_on_a_server_is_compared(dsn: str) -> None:
    trio.run(fill_carts, PostgresJournal(dsn))
    parts = conninfo_to_dict(dsn)
    server = f"postgresql://{parts['user']}@/{parts['dbname']}?host={parts['host']}&port={parts['port']}"
    result = journal("check", server, *APP, "--against", "../late")
    assert result.exit_code == 1, result.stderr
    assert lines(result) == [*LATE, LATE[0].replace("cart-1", "cart-2"), "    the state: 5 by ., 10 by ../late"]


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (["--against", "../no"], 2, "--against must be a folder to import code from, such as a checkout, got '../no'"),
        (["--against", "../here"], 2, "are the same folder"),
        (["--against", "../late", "--every"], 2, "--every shows one version"),
        (["--against", "../empty"], 2, "the code in ../empty: shop_code cannot be imported"),
        (["--against", "../broken"], 2, "the code in ../broken: shop_code cannot be imported"),
        (["--against", "../late", "--at", "9"], 2, "the last event of 'cart-1' is 4, got 9"),
        (["--against", "../dying"], 1, "the process of the code in ../dying ended with exit code 7 before its answer"),
    ],
)
def test_what_cannot_be_compared_is_told(arguments: list[str], code: int, expected: str, carts: Path) -> None:
    result = journal("replay", carts, "cart-1", *APP, *arguments)
    assert expected in result.stderr
    assert (result.stdout, result.exit_code) == ("", code)


def test_a_module_installed_elsewhere_is_not_taken_for_that_of_the_folder(
    versions: Path, carts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(versions / "late"))
    result = journal("replay", carts, "cart-1", *APP, "--against", "../empty")
    assert result.exit_code == 2
    assert "which is not in the folder" in result.stderr


def test_a_state_beyond_the_bound_ends_the_comparison(carts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparing, "LINE_BYTES_MAX", 20)
    result = journal("replay", carts, "cart-1", *APP, "--against", "../same")
    assert result.exit_code == 1
    assert "has more than 20 bytes" in result.stderr


def test_ctrl_c_ends_both_processes(versions: Path, carts: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "casty.cli", "journal", "check", str(carts), *APP, "--against", "../hanging"]
    ) as command:
        deadline = time.monotonic() + 60
        while not (versions / "hanging" / "reached").exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        command.send_signal(signal.SIGINT)
        assert command.wait(30) == 130
    assert still_running(versions) == []


def test_the_command_in_a_process_leaves_none_behind(versions: Path, carts: Path) -> None:
    command = [sys.executable, "-m", "casty.cli", "journal", "check", str(carts), *APP, "--against", "../late"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 1, result.stderr
    assert "cart-1 at event 4" in result.stdout
    assert "2 differ" in result.stderr
    assert still_running(versions) == []


def still_running(folder: Path) -> list[str]:
    """Return the processes of code below a folder."""
    return [
        entry.name
        for entry in Path("/proc").iterdir()
        if entry.name.isdecimal() and _folder_of(entry).startswith(str(folder))
    ]


def _folder_of(process: Path) -> str:
    try:
        return str((process / "cwd").readlink()) if "code_process" in (process / "cmdline").read_text() else ""
    except OSError:
        return ""
