"""What the demo reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from casty import ConfigError
from casty.cli.demo import tree
from casty.cli.demo.tree import Part, pack, read_tree, standard_library


def write(root: Path, **files: str | bytes) -> None:
    for name, content in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".py").write_bytes(content if isinstance(content, bytes) else content.encode())


def test_python_files_are_read_in_the_order_of_their_paths(tmp_path: Path) -> None:
    write(tmp_path, b="two", a="one", sub__c="three")
    (tmp_path / "notes.txt").write_text("not this")
    assert read_tree(tmp_path).texts == ("one", "two", "three")


def test_installed_packages_are_left_out(tmp_path: Path) -> None:
    write(tmp_path, a="one", **{"site-packages__b": "two"})
    assert read_tree(tmp_path).texts == ("one",)


def test_bytes_that_are_no_text_are_replaced(tmp_path: Path) -> None:
    write(tmp_path, a=b"caf\xe9 noir")
    assert read_tree(tmp_path).texts == ("caf\N{REPLACEMENT CHARACTER} noir",)


def test_chunks_have_the_text_of_their_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "cut", lambda text: [(0, 1), (1, len(text))])
    monkeypatch.setattr(tree, "pack", lambda parts: [(part,) for part in parts])
    write(tmp_path, a="one", b="two")
    found = read_tree(tmp_path)
    assert [found.chunk_text(number) for number in range(len(found.chunks))] == ["o", "ne", "t", "wo"]


def test_small_texts_share_a_chunk_but_no_word(tmp_path: Path) -> None:
    write(tmp_path, a="one", b="two", c="three")
    found = read_tree(tmp_path)
    assert [found.chunk_text(number) for number in range(len(found.chunks))] == ["one\ntwo\nthree"]


def test_a_chunk_is_closed_before_it_is_too_long_with_its_line_ends() -> None:
    one, two, three = (Part(number, 0, 3) for number in range(3))
    assert list(pack([one, two, three], size=7)) == [(one, two), (three,)]
    assert list(pack([one, two, three], size=6)) == [(one,), (two,), (three,)]
    assert list(pack([], size=6)) == []


@pytest.mark.parametrize("content", [None, ""])
def test_a_folder_without_anything_to_count_is_refused(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        write(tmp_path, a=content)
    with pytest.raises(ConfigError, match="no Python file with anything in it"):
        read_tree(tmp_path)


def test_a_folder_that_does_not_fit_into_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "TREE_BYTES_MAX", 5)
    write(tmp_path, a="one", b="two")
    with pytest.raises(ConfigError, match="choose a smaller folder"):
        read_tree(tmp_path)


def test_the_standard_library_is_a_folder_with_python_files() -> None:
    assert (standard_library() / "this.py").is_file()
