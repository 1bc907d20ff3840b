"""The chat rooms of the documentation, over WebSockets and two nodes with links over TCP."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PATIENCE = 120.0


def test_the_test_of_the_chat_rooms_passes_as_a_reader_runs_it(tmp_path: Path) -> None:
    for path in (ROOT / "docs" / "examples" / "chat_rooms").glob("*.py"):
        shutil.copy(path, tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    command = [sys.executable, "-W", "error", "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE, env=environment, check=False
    )
    assert "1 passed" in run.stdout, run.stdout + run.stderr
