"""A thousand durable counters, 64 requests in flight, each answered once its increment is on the disk.

    python tests/benchmarks/bench_counters.py
    python tests/benchmarks/bench_counters.py --install
    python tests/benchmarks/bench_counters.py --sync-ms 2
    python tests/benchmarks/bench_counters.py --rounds 3 --seconds 2 --ways casty-postgres update-psycopg-pool

This library on SQLite and on PostgreSQL; `UPDATE ... RETURNING` on the same PostgreSQL; Redis that syncs its log
before each answer; casty 0.30.2 on both databases. Then one hot counter beside the bare writer of one row a commit, and
the start of a cluster with 10,000 histories. Each way is a process of its own on this machine, rounds take turns, and
ratios are those of one round. A run whose rate times its mean latency is not about 64 is refused: its askers were
starved. It judges nothing else. ``--sync-ms 2`` makes every sync of every way last 2 ms longer, by strace, since a disk
of a virtual machine can be fast beyond what others have.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))

from environments import installed
from postgres_server import PostgresServer, postgres_server, programs, why_not

FOLDER = Path(__file__).with_name("counters")
ASKERS = 64
IN_FLIGHT_ERROR = 0.15
RUN_TIMEOUT = 300.0
REDIS_START = 10.0
PAYLOAD = b"p" * 100
SLOWED = "CASTY_COUNTERS_SLOWED"
"""Variable of the environment of a benchmark that runs under strace."""
UPDATES = ("update-psycopg-pool", "update-psycopg-workers", "update-asyncpg-pool", "update-asyncpg-workers")


@dataclass(frozen=True, slots=True)
class Places:
    """Where the ways store."""

    files: Path
    postgres: PostgresServer | None
    redis: Path | None
    rust: str | None
    """Interpreter with casty 0.30.2."""


def commands(places: Places, seconds: float) -> dict[str, Sequence[str]]:
    """Return the ways that can run here, each with its command."""
    own, files = sys.executable, places.files
    casty, update = str(FOLDER / "counters_casty.py"), str(FOLDER / "counters_update.py")
    found: dict[str, Sequence[str]] = {
        "casty-sqlite": (own, casty, "sqlite", f"{files}/counters.db", f"{seconds}"),
        "casty-sqlite-hot": (own, casty, "sqlite", f"{files}/hot.db", f"{seconds}", "1"),
        "bare-sqlite-single": (own, __file__, "single-sqlite", f"{files}/single.db", f"{seconds}"),
    }
    if places.postgres is not None:
        dsn = places.postgres.dsn()
        found |= {
            "casty-postgres": (own, casty, "postgres", dsn, f"{seconds}"),
            "casty-postgres-hot": (own, casty, "postgres", places.postgres.dsn("hot"), f"{seconds}", "1"),
            "bare-postgres-single": (own, __file__, "single-postgres", dsn, f"{seconds}"),
        }
        for name in UPDATES:
            _, driver, form = name.split("-")
            if find_spec(driver):
                found[name] = (own, update, driver, form, dsn, f"{seconds}")
    if places.redis is not None and find_spec("redis"):
        found["redis"] = (own, str(FOLDER / "counters_redis.py"), str(places.redis), f"{seconds}")
    if places.rust is not None:
        rust = (places.rust, str(FOLDER / "counters_rust.py"))
        found["rust-sqlite"] = (*rust, f"sqlite://{files}/rust.db?mode=rwc", f"{seconds}")
        if places.postgres is not None:
            url = f"postgres://postgres@127.0.0.1:{places.postgres.port}/postgres"
            found["rust-postgres"] = (*rust, url, f"{seconds}")
    return found


@contextmanager
def redis_server() -> Generator[Path | None]:
    """Run a Redis in a folder of its own for the block, syncing before each answer; None where there is none."""
    program = shutil.which("redis-server")
    if program is None:
        print("skipped redis: there is no redis-server (Debian: apt-get install redis-server)", flush=True)
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="casty-redis-") as folder:
        path = Path(folder, "socket")
        options = {"port": "0", "unixsocket": str(path), "dir": folder, "appendonly": "yes", "appendfsync": "always"}
        flags = [word for name, value in {**options, "save": ""}.items() for word in (f"--{name}", value)]
        with subprocess.Popen([program, *flags], stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT) as server:
            try:
                end = time.monotonic() + REDIS_START
                while not path.exists() and time.monotonic() < end and server.poll() is None:
                    time.sleep(0.05)
                if not path.exists():
                    raise RuntimeError(f"{program} has not started within {REDIS_START:g} s")
                yield path
            finally:
                server.terminate()


def run(name: str, command: Sequence[str]) -> Mapping[str, float] | None:
    """Run one way once; return its figures, or None, with a line that says why, where they count for nothing."""
    clean = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONDEVMODE")}
    done = subprocess.run(command, capture_output=True, text=True, timeout=RUN_TIMEOUT, env=clean, check=False)
    if done.returncode:
        print(f"{name} has failed: {done.stderr.strip().rpartition(chr(10))[2]}", flush=True)
        return None
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    in_flight = figures.get("in_flight", ASKERS)
    if abs(in_flight / ASKERS - 1) > IN_FLIGHT_ERROR:
        print(f"{name} is refused: rate times mean latency is {in_flight:.1f}, its askers starved", flush=True)
        return None
    return figures


def single_sqlite(path: str, seconds: float) -> None:
    """Print the rate of a loop of one row a commit, in the mode of the journal."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(
        "CREATE TABLE IF NOT EXISTS events (offset INTEGER PRIMARY KEY, id TEXT, seq INTEGER, data BLOB)"
    )
    connection.execute("CREATE UNIQUE INDEX IF NOT EXISTS by_seq ON events (id, seq)")
    count, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < seconds:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO events (id, seq, data) VALUES (?, ?, ?)", (f"{begin}", count, PAYLOAD))
        connection.execute("COMMIT")
        count += 1
    print(json.dumps({"rate": count / (time.perf_counter() - begin)}))


def single_postgres(dsn: str, seconds: float) -> None:
    """Print the rate of a loop of one row a commit."""
    import psycopg  # noqa: PLC0415  # needed by this program alone, which is started where there is a server

    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS single (id text, seq bigint, data bytea, PRIMARY KEY (id, seq))")
        count, begin = 0, time.perf_counter()
        while time.perf_counter() - begin < seconds:
            connection.execute("INSERT INTO single VALUES (%s, %s, %s)", (f"{begin}", count, PAYLOAD), prepare=True)
            count += 1
        print(json.dumps({"rate": count / (time.perf_counter() - begin)}))


def ratio(found: Mapping[str, Sequence[float | None]], above: str, below: str) -> str | None:
    """Return a line with the ratio of two ways within each round; None where one of them never ran."""
    pairs = zip(found.get(above, ()), found.get(below, ()), strict=False)
    ratios = [one / other for one, other in pairs if one is not None and other is not None]
    if not ratios:
        return None
    return f"{above} / {below}: {median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def show(found: Mapping[str, Sequence[float | None]], latencies: Mapping[str, Sequence[float]]) -> None:
    """Print medians and ratios."""
    medians: dict[str, float] = {}
    for name, rates in found.items():
        there = [rate for rate in rates if rate is not None]
        if there:
            medians[name] = median(there)
            late = f", mean {1e3 * median(latencies[name]):.1f} ms" if name in latencies else ""
            print(f"{name:24}{medians[name]:10,.0f} a second  ({min(there):,.0f} to {max(there):,.0f}){late}")
    strongest = max(UPDATES, key=lambda name: medians.get(name, 0.0))
    for above, below in (
        ("casty-postgres", strongest),
        ("casty-sqlite", "redis"),
        ("casty-postgres", "rust-postgres"),
        ("casty-sqlite", "rust-sqlite"),
        ("casty-sqlite-hot", "bare-sqlite-single"),
        ("casty-postgres-hot", "bare-postgres-single"),
    ):
        line = ratio(found, above, below)
        if line is not None:
            print(line)


def measure_starts(places: Places, rounds: int) -> None:
    """Print how long a cluster of one node takes from nothing to the answers of 10,000 entities of 20 events."""
    stores = {"sqlite": f"{places.files}/histories.db"}
    if places.postgres is not None:
        stores["postgres"] = places.postgres.dsn("histories")
    for kind, place in stores.items():
        command = (sys.executable, str(FOLDER / "counters_casty.py"), kind, place)
        if run(kind, (*command, "write")) is None:
            continue
        starts = [run(kind, (*command, "start")) for _ in range(rounds)]
        seconds = [start["seconds"] for start in starts if start is not None]
        if seconds:
            print(
                f"{kind}: 10,000 entities of 20 events have answered {median(seconds):.2f} s after the start "
                f"({min(seconds):.2f} to {max(seconds):.2f})"
            )


def install() -> None:
    """Install the servers where apt-get can; a benchmark without one of them says so and goes on."""
    absent = [name for name, is_there in (("postgresql", not why_not()), ("redis-server", shutil.which("redis-server")))
              if not is_there]  # fmt: skip
    if not absent or os.geteuid() or shutil.which("apt-get") is None:
        return
    for words in (["update"], ["install", "-y", "--no-install-recommends", *absent]):
        subprocess.run(["apt-get", *words], check=False, stdout=subprocess.DEVNULL, timeout=RUN_TIMEOUT)
    programs.cache_clear()
    why_not.cache_clear()


def slow_down(sync_ms: float) -> None:
    """Start this program again with all its children under strace, which holds each sync up for so long."""
    slower = f"inject=fdatasync,fsync:delay_exit={round(1e3 * sync_ms)}"
    flags = ("-f", "--seccomp-bpf", "-qq", "-o", os.devnull, "-e", "trace=fdatasync,fsync", "-e", slower)
    try:
        os.execvpe("strace", ["strace", *flags, sys.executable, *sys.argv], {**os.environ, SLOWED: "1"})
    except FileNotFoundError:
        sys.exit("--sync-ms needs strace, which is not there (Debian: apt-get install strace)")


def options() -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each way in each round")
    parser.add_argument("--ways", nargs="+", help="only these")
    parser.add_argument("--starts", type=int, default=3, help="starts of 10,000 histories; 0 for none")
    parser.add_argument("--install", action="store_true", help="PostgreSQL and Redis by apt-get, as root")
    parser.add_argument("--environments", type=Path, default=Path(".nox/peers"), help="where casty 0.30.2 is installed")
    parser.add_argument("--sync-ms", type=float, help="make each sync of a disk last so much longer, by strace")
    chosen = parser.parse_args()
    if chosen.sync_ms is not None and not 0.001 <= chosen.sync_ms <= 1000:
        parser.error(f"--sync-ms is 0.001 to 1000 milliseconds, found {chosen.sync_ms:g}")
    return chosen


def main() -> None:
    """Run all in rounds and print the figures."""
    chosen = options()
    if chosen.sync_ms is not None and SLOWED not in os.environ:
        slow_down(chosen.sync_ms)
    found: dict[str, list[float | None]] = {}
    latencies: dict[str, list[float]] = {}
    if chosen.install:
        install()
    with ExitStack() as stack:
        files = stack.enter_context(tempfile.TemporaryDirectory(prefix="casty-counters-"))
        server = None
        if why_not():
            print(f"skipped PostgreSQL: {why_not()}", flush=True)
        else:
            server = stack.enter_context(postgres_server("-c fsync=on"))
            for name in ("hot", "histories"):
                server.sql(f"CREATE DATABASE {name}")
        redis = stack.enter_context(redis_server())
        rust = installed(chosen.environments.absolute(), "casty==0.30.2")
        places = Places(Path(files), server, redis, rust)
        ways = commands(places, chosen.seconds)
        wanted = [name for name in ways if not chosen.ways or name in chosen.ways]
        for number in range(chosen.rounds):
            for turn in range(len(wanted)):
                name = wanted[(turn + number) % len(wanted)]
                figures = run(name, ways[name])
                found.setdefault(name, []).append(None if figures is None else figures["rate"])
                if figures is not None and "mean" in figures:
                    latencies.setdefault(name, []).append(figures["mean"])
            print(number, {name: round(rates[-1] or 0) for name, rates in found.items()}, flush=True)
        show(found, latencies)
        if chosen.starts:
            measure_starts(places, chosen.starts)


if __name__ == "__main__":
    if sys.argv[1:2] == ["single-sqlite"]:
        single_sqlite(sys.argv[2], float(sys.argv[3]))
    elif sys.argv[1:2] == ["single-postgres"]:
        single_postgres(sys.argv[2], float(sys.argv[3]))
    else:
        main()
