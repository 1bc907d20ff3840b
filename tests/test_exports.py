"""The flat namespace is what the documents say, no more and no less."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import casty
from casty import testing
from casty.testing import simulation

REFERENCE = Path(__file__).parents[1] / "docs" / "reference"
OPTIONAL = ("typer", "rich", "pytest", "hypothesis", "sqlite3", "prometheus_client")


def documented() -> list[str]:
    """Return the objects that the reference pages show, in order of pages and place."""
    pages = sorted(REFERENCE.glob("*.md"))
    return [name for page in pages for name in shown_on(page)]


def shown_on(page: Path) -> list[str]:
    return re.findall(r"^::: casty\.(\w+)$", page.read_text(encoding="utf-8"), re.MULTILINE)


def test_public_names_are_sorted_and_listed_once() -> None:
    assert list(casty.__all__) == sorted(set(casty.__all__))


@pytest.mark.parametrize("name", casty.__all__)
def test_public_name_exists_and_says_what_it_is(name: str) -> None:
    value = getattr(casty, name)
    if inspect.isclass(value) or inspect.isfunction(value):
        assert value.__doc__, f"casty.{name} has no docstring"
        assert not value.__doc__.startswith(f"{name}("), f"casty.{name} has the generated docstring of a dataclass"


def test_every_public_name_is_in_the_reference_once() -> None:
    assert sorted(documented()) == sorted(casty.__all__)


@pytest.mark.parametrize("package", [testing, simulation], ids=lambda package: package.__name__)
def test_every_name_of_the_test_kit_is_in_the_reference_once_and_says_what_it_is(package: ModuleType) -> None:
    page = (REFERENCE / f"{package.__name__.rpartition('.')[2]}.md").read_text(encoding="utf-8")
    shown = re.findall(rf"^::: {re.escape(package.__name__)}\.(\w+)$", page, re.MULTILINE)
    assert sorted(shown) == package.__all__
    for name in package.__all__:
        value = getattr(package, name)
        assert not callable(value) or (value.__doc__ and not value.__doc__.startswith(f"{name}(")), name


def test_nothing_but_the_public_names_and_the_packages_is_visible() -> None:
    visible = {name for name, value in vars(casty).items() if not isinstance(value, ModuleType)}
    leaked = {name for name in visible if not name.startswith("_")} - set(casty.__all__) - {"annotations"}
    assert leaked == set()


def test_no_private_name_is_public() -> None:
    assert [name for name in casty.__all__ if name.startswith("_") and name != "__version__"] == []


def test_importing_casty_leaves_optional_packages_alone() -> None:
    program = f"import sys, casty; print([name for name in {OPTIONAL} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False)
    assert (run.stdout, run.stderr) == ("[]\n", "")


def test_cluster_page_shows_the_heart_of_the_product_in_order() -> None:
    page = (REFERENCE / "cluster.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (\w+)$", page, re.MULTILINE)[:6] == [
        "Cluster",
        "ClusterConfig",
        "ResolveNode",
        "TopologySnapshot",
        "SubscribeTopology",
        "UnsubscribeTopology",
    ]
