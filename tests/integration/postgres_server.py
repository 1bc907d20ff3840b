"""A PostgreSQL of the tests' own: in a new folder, on a Unix socket and a free port of loopback.

It refuses to run as root, so root runs it as the user ``postgres`` that Debian's package makes. Tests leave fsync off:
what they end is processes, and what a process has written the kernel keeps. Benchmarks turn it on.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

USER = "postgres"
START_TIMEOUT = 30
STOP_TIMEOUT = 30
SETTINGS = {
    "fsync": "off",
    "max_connections": "60",
    "shared_buffers": "64MB",
    "log_min_messages": "warning",
    "dynamic_shared_memory_type": "posix",
}


@cache
def programs() -> Path | None:
    """Return the folder of the newest PostgreSQL's programs, None where there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1].parent
    known = shutil.which("initdb")
    return Path(known).resolve().parent if known else None


@cache
def why_not() -> str:
    """Return why no PostgreSQL can be started here, "" when one can."""
    if programs() is None:
        return "there is no PostgreSQL: no initdb"
    if not hasattr(os, "geteuid"):
        return "the PostgreSQL of these tests runs on a Unix"
    if os.geteuid() == 0:
        if shutil.which("runuser") is None:
            return "PostgreSQL does not run as root, and there is no runuser"
        try:
            pwd.getpwnam(USER)
        except KeyError:
            return f"PostgreSQL does not run as root, and there is no user {USER}"
    return ""


def as_user() -> list[str]:
    """Return the beginning of a command that runs as the server's user."""
    return [] if os.geteuid() else ["runuser", "-u", USER, "--"]


def program(name: str) -> str:
    """Return the path of one of PostgreSQL's programs."""
    folder = programs()
    assert folder is not None
    return str(folder / name)


class PostgresServer:
    """A server in a folder of its own: started, stopped, killed, promoted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.port = free_port()

    def dsn(self, database: str = "postgres", **more: object) -> str:
        """Return a connection string for a database, over the Unix socket unless ``host`` says otherwise."""
        parts = {"host": self.folder, "port": self.port, "user": USER, "dbname": database, **more}
        return " ".join(f"{name}='{value}'" for name, value in parts.items())

    def run(self, name: str, *arguments: object, check: bool = True) -> str:
        """Run one of PostgreSQL's programs as its user, and return what it has said."""
        command = [*as_user(), program(name), *map(str, arguments)]
        done = subprocess.run(
            command, cwd=self.folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
        )
        assert not check or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def make(self) -> None:
        """Make the files of a new server."""
        self.run("initdb", "-D", self.data, "-U", USER, "-A", "trust", "-N", "-E", "UTF8", "--locale=C")
        rules = self.data / "pg_hba.conf"  # the first line that fits decides
        rules.write_text("local all guest scram-sha-256\n" + rules.read_text())

    def start(self, *options: str) -> None:
        """Start it, and wait until it takes connections."""
        settings = {**SETTINGS, "port": str(self.port), "listen_addresses": "127.0.0.1"}
        settings["unix_socket_directories"] = str(self.folder)
        flags = " ".join([*(f"-c {name}={value}" for name, value in settings.items()), *options])
        # the log is opened by the server: a pipe would be held open by it
        self.run("pg_ctl", "start", "-D", self.data, "-w", "-t", START_TIMEOUT, "-l", self.folder / "log", "-o", flags)

    def stop(self, mode: str = "fast") -> None:
        """Stop it: ``fast`` ends the connections, ``immediate`` is a crash."""
        self.run("pg_ctl", "stop", "-D", self.data, "-m", mode, "-w", "-t", STOP_TIMEOUT)

    def is_running(self) -> bool:
        """Return whether it runs."""
        return (self.data / "postmaster.pid").exists()

    def answers(self) -> bool:
        """Return whether it takes connections."""
        try:
            return self.sql("SELECT 1") == "1"
        except AssertionError:
            return False

    def sql(self, text: str, database: str = "postgres") -> str:
        """Run SQL and return its output, without headings."""
        options = ("-h", self.folder, "-p", self.port, "-U", USER, "-d", database, "-v", "ON_ERROR_STOP=1")
        return self.run("psql", *options, "-XAtqc", text).strip()

    @contextmanager
    def frozen(self, pid: int) -> Generator[None]:
        """Stop the process of a session for the block."""
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    def standby(self, folder: Path) -> PostgresServer:
        """Return a copy that follows this server, not started."""
        made = PostgresServer(folder)
        from_here = ("-h", self.folder, "-p", self.port, "-U", USER)
        made.run("pg_basebackup", *from_here, "-D", made.data, "-X", "stream", "-R", "-c", "fast", "-N")
        return made

    def promote(self) -> None:
        """Make a standby the primary."""
        self.run("pg_ctl", "promote", "-D", self.data, "-w", "-t", START_TIMEOUT)


def free_port() -> int:
    """Return a port of loopback that the kernel chose a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def folder_of_its_own() -> Generator[Path]:
    """Make a folder that the server's user owns, with a name short enough for a Unix socket.

    At the end its server is stopped and the folder removed: by a shell that waits for the end of a pipe, so it comes to
    that when this process is killed too.
    """
    made = Path(tempfile.mkdtemp(prefix="casty-pg-"))
    if os.geteuid() == 0:
        entry = pwd.getpwnam(USER)
        os.chown(made, entry.pw_uid, entry.pw_gid)
    stop = [*as_user(), program("pg_ctl"), "stop", "-D", str(made / "data"), "-m", "immediate", "-t", str(STOP_TIMEOUT)]
    with subprocess.Popen(
        ["sh", "-c", 'cd "$0"; cat; "$@"; cd /; rm -rf "$0"', str(made), *stop],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # what ends the group of the tests leaves it alone
    ):
        yield made


@contextmanager
def postgres_server(*options: str) -> Generator[PostgresServer]:
    """Run a new server for the block."""
    with folder_of_its_own() as folder:
        server = PostgresServer(folder)
        server.make()
        server.start(*options)
        yield server
