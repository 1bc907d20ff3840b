"""Folders of the two versions of the code, as ``--code`` and ``--against`` name them."""

from __future__ import annotations

from pathlib import Path

import pytest

from casty import ConfigError
from casty.cli.journal.comparing import CodePlace, places_of


def test_the_folder_not_named_is_the_working_directory(tmp_path: Path) -> None:
    there = CodePlace(str(tmp_path), tmp_path)
    assert places_of(None, tmp_path) == (CodePlace(".", None), there)
    assert places_of(tmp_path, None) == (there, CodePlace(".", None))


def test_one_folder_by_two_names_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(ConfigError, match="are the same folder"):
        places_of(tmp_path, tmp_path / "link")


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "shop.py").touch()
    with pytest.raises(ConfigError, match="--code must be a folder"):
        places_of(tmp_path / "shop.py", None)
