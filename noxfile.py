"""Every check of the project: ``nox`` runs lint, types and tests; ``nox -l`` lists the rest.

Arguments after ``--`` go to pytest: ``nox -s tests -- -k gossip``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nox

PYPROJECT = nox.project.load_toml("pyproject.toml")
SUPPORTED = ("3.11", "3.12", "3.13")

nox.needs_version = ">=2025.5.1"
nox.options.sessions = ["lint", "types", "tests"]
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_venv = "yes"
nox.options.error_on_missing_interpreters = False  # also with CI=true, where nox would say True
nox.options.download_python = "never"

os.environ.setdefault("UV_SYSTEM_CERTS", "1")  # trust what pip trusts


def starts(version: str) -> bool:
    """Return whether ``pythonX.Y`` is on the path and really runs: a version manager's shim may be dead."""
    probe = [f"python{version}", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
    try:
        found = subprocess.run(probe, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return found.returncode == 0 and found.stdout.strip() == version


PLAIN_MEMORY = {"PYTHONMALLOC": "pymalloc"}
"""Without the guards of ``-X dev`` around memory: they are for modules in C, and tests take 1.6 times as long."""

OWN = "{}.{}".format(*sys.version_info)
PYTHONS = [version for version in SUPPORTED if version == OWN or starts(version)] or [OWN]
OLDEST = PYTHONS[0]

FAST_TESTS = ["tests/unit", "tests/properties", "tests/contracts"]
TESTS_OF_TEXTS = ["tests/test_house.py", "tests/test_tidy.py"]
"""They read sources as texts and run none: the oldest Python, whose syntax all others know, says the same as all."""


def install(session: nox.Session, *groups: str, extra: tuple[str, ...] = ()) -> None:
    """Install casty with its command line, and groups of pyproject in a form that every pip understands."""
    requirements = nox.project.dependency_groups(PYPROJECT, *groups)
    session.install("-e", ".[cli]", *requirements, *extra)


def pytest(session: nox.Session, *arguments: str, checks: tuple[str, ...] = ("-X", "dev")) -> None:
    """Run pytest on the arguments, with asserts on and, unless told otherwise, Python's development checks."""
    session.run("python", *checks, "-m", "pytest", *arguments, *session.posargs, env=PLAIN_MEMORY)


def present(paths: list[str]) -> list[str]:
    """Return the folders that hold a test: git keeps no empty ones, and pytest refuses a missing path."""
    return [path for path in paths if any(Path(path).rglob("test_*.py"))]


@nox.session(python=OLDEST)
def lint(session: nox.Session) -> None:
    """Check style, format, and who imports whom."""
    session.install(*nox.project.dependency_groups(PYPROJECT, "lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("lint-imports", "--no-logo")


@nox.session(python=OLDEST)
def types(session: nox.Session) -> None:
    """Check the library and the examples with mypy and pyright, and what both must refuse."""
    install(session, "types", "tests")
    session.run("mypy")
    session.run("pyright", "--pythonpath", str(Path(session.bin, "python")))
    pytest(session, "tests/typing")


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run the fast tests: unit, properties, contracts, tidy, documents, exports."""
    install(session, "tests")
    whole_project = sorted(path.as_posix() for path in Path("tests").glob("test_*.py"))
    if session.python != OLDEST:
        whole_project = [path for path in whole_project if path not in TESTS_OF_TEXTS]
    pytest(session, "--numprocesses=auto", *present(FAST_TESTS), *whole_project)


@nox.session(python=OLDEST)
def tests_lowest(session: nox.Session) -> None:
    """Run the tests of the library with the oldest dependencies that pyproject allows."""
    project = PYPROJECT["project"]
    extras = project["optional-dependencies"]
    bounds = [*project["dependencies"], *extras["cli"], *extras["prometheus"], *extras["postgres"], *extras["tls"]]
    oldest = [bound.replace(">=", "==") for bound in bounds]
    install(session, "tests", extra=tuple(oldest))
    pytest(session, *present(FAST_TESTS), "tests/test_exports.py", "tests/integration/test_trio_connection.py")


@nox.session(python=OLDEST)
def simulation(session: nox.Session) -> None:
    """Run the seeded simulations: whole clusters in virtual time.

    Without the development checks of Python: nothing opened can leak there, and they take a quarter of the time.
    """
    run_folder(session, "tests/simulation", "--numprocesses=auto", "--dist=worksteal", checks=())


@nox.session(python=OLDEST)
def integration(session: nox.Session) -> None:
    """Run real processes, two tests at one time: they wait more than they compute."""
    run_folder(session, "tests/integration", "--numprocesses=2", "--dist=worksteal")


def run_folder(session: nox.Session, folder: str, *arguments: str, checks: tuple[str, ...] = ("-X", "dev")) -> None:
    """Run one folder of tests with arguments for pytest, or skip the session while the folder has none."""
    if not present([folder]):
        session.skip(f"no tests in {folder} yet")
    install(session, "tests")
    pytest(session, *arguments, folder, checks=checks)


@nox.session(python=OLDEST)
def examples(session: nox.Session) -> None:
    """Run every program of docs/examples as a user would."""
    install(session, "tests")
    pytest(session, "tests/test_docs.py", "-k", "example_program")


@nox.session(python=OLDEST)
def docs(session: nox.Session) -> None:
    """Build the site, where a dead link or a missing object is an error, and look for what it should show."""
    install(session, "docs", "tests")
    session.run("mkdocs", "build", "--strict")
    pytest(session, "tests/site")


@nox.session(python=OLDEST)
def pictures(session: nox.Session) -> None:
    """Draw the pictures and tables of the explanations from the code; a test compares them."""
    session.install("-e", ".")
    session.run("python", "docs/pictures.py")


@nox.session(python=OLDEST)
def house(session: nox.Session) -> None:
    """Print the shape of the tree in figures: circles, crowds, words, reaches; ``-- --list`` shows what was counted."""
    session.install("-e", ".")
    session.run("python", "tests/house.py", *session.posargs)


@nox.session(python=PYTHONS[-1])
def bench_membership(session: nox.Session) -> None:
    """Measure how membership spreads in simulated clusters of up to 1,000 nodes; ``-- --nodes 100`` is shorter."""
    session.install("-e", ".")
    session.run("python", "tests/benchmarks/bench_membership.py", *session.posargs)


@nox.session(python=PYTHONS[-1])
def bench_detection(session: nox.Session) -> None:
    """Measure how fast losses are noticed in simulated clusters, and that nobody else is accused; ``-- --short``."""
    session.install("-e", ".")
    session.run("python", "tests/benchmarks/bench_detection.py", *session.posargs)


@nox.session(python=PYTHONS[-1])
def bench(session: nox.Session) -> None:
    """Measure beside the peers, then leaks, clusters, durable counters; ``-- --short`` is only the first, in small."""
    session.install("-e", ".[postgres]", "asyncpg", "cattrs", "matplotlib", "redis")
    words = session.posargs
    session.run("python", "tests/benchmarks/bench.py", *words)
    if not words:
        session.run("python", "tests/benchmarks/bench.py", "plot", "build/bench.json")
        session.run("python", "tests/benchmarks/bench_baseline.py")
        session.run("python", "tests/benchmarks/bench_cluster.py")
        session.run("python", "tests/benchmarks/bench_failover.py")
        session.run("python", "tests/benchmarks/bench_counters.py")
        session.run("python", "tests/benchmarks/bench_moving.py")


@nox.session(python=PYTHONS[-1])
def soak(session: nox.Session) -> None:
    """Run five nodes on a busy machine for half an hour; an accusation is a failure. ``-- --minutes 5`` is shorter."""
    session.install("-e", ".")
    session.run("python", "-X", "dev", "tests/benchmarks/soak.py", *session.posargs)


@nox.session(python=OLDEST)
def fuzz(session: nox.Session) -> None:
    """Hold the decoder law over damaged messages; ``-- --cases 10000000 --seed 7`` takes some minutes."""
    install(session, "tests")
    session.run("python", "tests/benchmarks/fuzz_codec.py", *session.posargs)


@nox.session(python=PYTHONS[-1])
def growth(session: nox.Session) -> None:
    """Measure how cost grows and what one unlucky part costs the rest, and draw the pictures of the documents."""
    session.install("-e", ".", "matplotlib")
    session.run("python", "tests/benchmarks/bench_growth.py", *session.posargs)
    session.run("python", "tests/benchmarks/plot_growth.py", "build/growth.json", "docs/explanation")
    session.run("python", "tests/benchmarks/bench_unlucky.py")
