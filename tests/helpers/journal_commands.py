"""Runs of ``casty journal``, and its lines."""

from __future__ import annotations

import json
import re
from typing import Any

from click.testing import Result
from typer.testing import CliRunner

from casty.cli.app import app

TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}")


def journal(*arguments: object) -> Result:
    """Run a command below ``casty journal``."""
    return CliRunner().invoke(app, ["journal", *map(str, arguments)])


def lines(result: Result) -> list[str]:
    """Return what was written, with WHEN for each time."""
    return [TIME.sub("WHEN", line) for line in result.stdout.splitlines()]


def rows(result: Result) -> list[dict[str, Any]]:
    """Return the lines of JSON."""
    return [json.loads(line) for line in result.stdout.splitlines()]
