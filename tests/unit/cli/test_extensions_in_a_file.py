"""Extensions that a ``casty.toml`` names, and their tables."""

from __future__ import annotations

from pathlib import Path

import pytest

from casty import ConfigError
from casty.cli.configuration import NodeFile, NodeOptions, plan_of, read_file
from casty.cluster.cluster import OWN_EXTENSIONS

CENSUS = """
from dataclasses import dataclass

import casty


@dataclass(frozen=True)
class Settings:
    interval: float = 5.0

    def __post_init__(self):
        if self.interval <= 0:
            raise casty.ConfigError(f"Settings.interval must be above 0, got {self.interval!r}")


class Census(casty.ClusterExtension):
    name = "census"
    settings_type = Settings

    def __init__(self, settings):
        self.settings = settings


class Plain(casty.ClusterExtension):
    name = "plain"


class Again(casty.ClusterExtension):
    name = "plain"


class Broken(casty.ClusterExtension):
    name = "broken"

    def __init__(self):
        raise LookupError("as a bug would")


class Nameless(casty.ClusterExtension):
    pass


class Receptionist(casty.ClusterExtension):
    name = "receptionist"


class Exiting(Broken):
    name = "exiting"

    def __init__(self):
        raise SystemExit(3)


@dataclass(frozen=True)
class Inner:
    size: int


@dataclass(frozen=True)
class Nested:
    inner: Inner | None = None


class Nesting(Census):
    name = "nesting"
    settings_type = Nested


@dataclass(frozen=True)
class Never:
    interval: int = 1

    def __post_init__(self):
        raise casty.ConfigError("Never.interval can never be right")


@dataclass(frozen=True)
class Unfit:
    place: casty.ServiceKey | int = 1


class Unfitting(Census):
    name = "unfitting"
    settings_type = Unfit


class Refusing(Census):
    name = "refusing"
    settings_type = Never


@dataclass(frozen=True)
class Bare:
    interval: float
    also: int


class Defaultless(Census):
    name = "defaultless"
    settings_type = Bare


number = 7
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / f"census_{tmp_path.name.replace('-', '_')}.py").write_text(CENSUS)
    return tmp_path


def module_of(folder: Path) -> str:
    return f"census_{folder.name.replace('-', '_')}"


def read(folder: Path, text: str) -> NodeFile:
    file = folder / "casty.toml"
    file.write_text(text.replace("MODULE", module_of(folder)))
    return read_file(file)


def test_an_extension_gets_its_table_and_is_made_anew_for_each_run(folder: Path) -> None:
    text = '[node]\nnode_id = "a"\nextensions = ["MODULE:Census", "MODULE:Plain"]\n[census]\ninterval = 2\n'
    plan = plan_of(NodeOptions(), read(folder, text))
    runs = [plan.system().cluster._extensions.all[len(OWN_EXTENSIONS) :] for _ in range(2)]
    assert [each.name for each in runs[0]] == ["census", "plain"]
    assert [census.settings.interval for census, _ in runs] == [2.0, 2.0]
    assert not set(map(id, runs[0])) & set(map(id, runs[1]))


def test_without_its_table_an_extension_has_the_defaults(folder: Path) -> None:
    (make,) = read(folder, '[node]\nextensions = ["MODULE:Census"]\n').extensions
    assert make().settings.interval == 5.0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "[census]\ninterval = 1",
            "unknown key 'census'; the nearest .*, and no extension that `extensions` in .node. names has this table",
        ),
        ("[node]\nextensions = ['MODULE:Census']\n[census]\nintervall = 1", "in census: .*'intervall'.*'interval'"),
        (
            "[node]\nextensions = ['MODULE:Census']\n[census]\ninterval = 'x'",
            "in census.interval: expected float, got 'x'",
        ),
        (
            "[node]\nextensions = ['MODULE:Census']\n[census]\ninterval = -1",
            "Settings.interval must be above 0, got -1",
        ),
        (
            "census = 3\n[node]\nextensions = ['MODULE:Census']",
            r"in census: expected a table, \[census\] and .*, got 3",
        ),
        ("[node]\nextensions = ['MODULE:Plain']\n[plain]\nx = 1", "in plain: Plain takes no settings: drop this table"),
        ("[node]\nextensions = ['MODULE:Plain', 'MODULE:Again']", "node.extensions: two extensions are called 'plain'"),
        ("[node]\nextensions = ['MODULE:Broken']", "node.extensions: .*:Broken failed: LookupError: as a bug would"),
        ("[node]\nextensions = ['MODULE:Nameless']", "node.extensions: Nameless.name must be 1 to 64 lower-case"),
        (
            "[node]\nextensions = ['MODULE:Receptionist']",
            "in node.extensions: two extensions are called 'receptionist'",
        ),
        ("[node]\nextensions = ['MODULE:Exiting']", "node.extensions: .*:Exiting failed: SystemExit: 3"),
        (
            "[node]\nextensions = ['MODULE:Defaultless']",
            "Defaultless.settings_type: Bare must be made without arguments, .*: give a default to interval, also",
        ),
        ("[node]\nextensions = ['MODULE:Nesting']\n[nesting.inner]", "in nesting.inner.size: "),
        ("[node]\nextensions = ['MODULE:Refusing']", "in refusing: Never.interval can never be right"),
        ("[node]\nextensions = ['MODULE:Refusing']\n[refusing]\ninterval = 2", "in refusing: Never.interval can never"),
        (
            "[node]\nextensions = ['MODULE:Unfitting']",
            "in unfitting: Unfit cannot be made of a table: .*Unsupported",
        ),
        ("[node]\nextensions = ['MODULE:number']", "must be a subclass of casty.ClusterExtension, got 7"),
        ("[node]\nextensions = ['MODULE:Nowhere']", "must be a subclass of casty.ClusterExtension, got None"),
        ("[node]\nextensions = ['nowhere_at_all:Census']", "nowhere_at_all cannot be imported: ModuleNotFoundError"),
        (
            "[node]\nextensions = ['census.py']",
            "an extension is MODULE:CLASS, such as shop.census:Census, got 'census.py'",
        ),
        ("[node]\nextensions = 'MODULE:Census'", "in node.extensions: expected a list of strings, got 'census_"),
        ("[node]\nextensions = [1]", r"in node.extensions: expected a list of strings, got \[1\]"),
    ],
)
def test_a_mistake_says_where_and_what_is_expected(folder: Path, text: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        read(folder, text)


def test_all_mistakes_are_told_at_once(folder: Path) -> None:
    text = "[node]\nport = 'x'\nextensions = ['MODULE:Census', 'x']\n[census]\nintervall = 1\n[nod]\n"
    with pytest.raises(ConfigError, match="casty.toml: 4 mistakes:"):
        read(folder, text)
