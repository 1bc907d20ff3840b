"""A command of a user in a process of its own, its output line by line."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path


class RunningCommand:
    """A running command; nothing that it writes is passed over."""

    def __init__(
        self, command: Sequence[str], patience: float, *, cwd: Path | None = None, start_new_session: bool = False
    ) -> None:
        self.lines: list[str] = []
        self._patience = patience
        self.process = subprocess.Popen(
            command,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=start_new_session,
            bufsize=0,  # what a buffer has read ahead of a line is lost to `communicate`
        )

    def until(self, pattern: str) -> re.Match[str]:
        """Read lines until one has the pattern."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.decode())
            if match := re.search(pattern, self.lines[-1]):
                return match
        _, errors = self.end()
        raise AssertionError(f"no line with {pattern!r} in {self.text}\n{errors}")

    def end(self) -> tuple[int, str]:
        """Wait for the end; return the exit code and what was written to stderr."""
        output, errors = self.process.communicate(timeout=self._patience)
        self.lines.append(output.decode())
        return self.process.returncode, errors.decode()

    @property
    def text(self) -> str:
        """What was written to stdout so far."""
        return "".join(self.lines)
