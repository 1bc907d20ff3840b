"""Files of keys and certificates: written whole or not at all, keys for their owner alone."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from casty import ConfigError

PRIVATE: Final = 0o600
PUBLIC: Final = 0o644
FOLDER_MODE: Final = 0o700


@dataclass(frozen=True, slots=True)
class CertFile:
    """A file to be written."""

    path: Path
    data: bytes
    mode: int


def write_files(files: Sequence[CertFile], *, force: bool, loss: str) -> None:
    """Write these files, all or none of them. ConfigError where one exists without ``force``: ``loss`` says why not.

    With ``force`` all are whole before the first one is replaced; a disk that fails between two can leave old ones.
    """
    if not force and (there := [str(file.path) for file in files if os.path.lexists(file.path)]):
        raise ConfigError(f"{', '.join(there)} must not exist yet: {loss}; --force overwrites")
    written: list[tuple[str, Path]] = []
    placed: list[Path] = []
    try:
        for file in files:
            file.path.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
            written.append((_write_beside(file), file.path))
        for aside, path in written:
            _place(aside, path, force=force)
            placed.append(path)
    except OSError as error:
        for path in () if force else placed:  # half a set would be in the way of the next try
            path.unlink()
        place = error.filename2 or error.filename or files[0].path.parent
        raise ConfigError(f"{place} cannot be written: {error.strerror}") from None
    finally:
        for aside, _ in written:
            Path(aside).unlink(missing_ok=True)


def _write_beside(file: CertFile) -> str:
    """Write to a new file of another name in the same folder, and return its path."""
    number, aside = tempfile.mkstemp(prefix=f".{file.path.name}-", dir=file.path.parent)  # readable by its owner alone
    try:
        with os.fdopen(number, "wb") as stream:
            stream.write(file.data)
            stream.flush()
            os.fsync(number)
        os.chmod(aside, file.mode)
    except BaseException:
        os.unlink(aside)
        raise
    return aside


def _place(aside: str, path: Path, *, force: bool) -> None:
    """Give a written file its name, in one step: a node that looks meanwhile finds the old one or the new one."""
    if force:
        os.replace(aside, path)
    else:
        os.link(aside, path)  # fails where another process was faster
