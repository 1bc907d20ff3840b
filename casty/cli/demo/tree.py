"""The input of ``casty demo``: every Python file below a folder, cut into chunks."""

from __future__ import annotations

import os
import sysconfig
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from casty.cli.demo.words import CHUNK_CHARACTERS_MAX, cut
from casty.errors import ConfigError

TREE_BYTES_MAX = 512 * 1024 * 1024
"""The texts are kept in memory for the check at the end."""
INSTALLED = frozenset({"site-packages", "dist-packages"})


@dataclass(frozen=True, slots=True)
class Part:
    """Stretch of one text, given by its number."""

    text: int
    start: int
    end: int


Chunk: TypeAlias = tuple[Part, ...]
"""Content of one message: parts of texts, with a line end between them."""


@dataclass(frozen=True, slots=True)
class Tree:
    """The texts of a folder, in the order of their paths, and their chunks."""

    root: Path
    texts: tuple[str, ...]
    chunks: tuple[Chunk, ...]
    size: int
    """In bytes, as on the disk."""

    def chunk_text(self, number: int) -> str:
        """Return the text of one chunk."""
        return "\n".join(self.texts[part.text][part.start : part.end] for part in self.chunks[number])

    def __str__(self) -> str:
        return f"{len(self.texts):,} files, {self.size / 1e6:.1f} MB, {len(self.chunks):,} chunks"


def standard_library() -> Path:
    """Return the folder of the running Python's standard library."""
    return Path(sysconfig.get_path("stdlib"))


def read_tree(root: Path) -> Tree:
    """Read every ``*.py`` below ``root``, without installed packages; ConfigError when there is none.

    Leave out files that cannot be opened: another process may be removing them.
    """
    texts: list[str] = []
    size = 0
    for path in _python_files(root):
        try:
            content = path.read_bytes()
        except OSError:
            continue
        size += len(content)
        if size > TREE_BYTES_MAX:
            raise ConfigError(
                f"{root} holds more than {TREE_BYTES_MAX // 1_000_000:,} MB of Python files: choose a smaller folder"
            )
        texts.append(content.decode("utf-8", errors="replace"))
    parts = (Part(number, *place) for number, text in enumerate(texts) for place in cut(text))
    chunks = tuple(pack(parts))
    if not chunks:
        raise ConfigError(f"no Python file with anything in it below {root}: name a folder that has some")
    return Tree(root, tuple(texts), chunks, size)


def pack(parts: Iterable[Part], size: int = CHUNK_CHARACTERS_MAX) -> Iterator[Chunk]:
    """Yield chunks of at most ``size`` characters; small parts share one: fewer messages, fewer equal words in them."""
    chunk: list[Part] = []
    room = size
    for part in parts:
        length = part.end - part.start
        if chunk and length > room:
            yield tuple(chunk)
            chunk, room = [], size
        chunk.append(part)
        room -= length + 1
    if chunk:
        yield tuple(chunk)


def _python_files(root: Path) -> list[Path]:
    found: list[Path] = []
    for folder, below, files in os.walk(root):
        below[:] = [name for name in below if name not in INSTALLED]
        found.extend(Path(folder, name) for name in files if name.endswith(".py"))
    return sorted(found)
