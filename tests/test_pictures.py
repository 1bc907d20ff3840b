"""The pictures and tables of the explanations are what the code draws now."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from casty.protocol.state.member import MOVES, MemberStatus

DOCS = Path(__file__).parents[1] / "docs"
ADVICE = "run python docs/pictures.py, look at what has changed, and commit it"


def load_pictures() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pictures", DOCS / "pictures.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


pictures = load_pictures()


@pytest.mark.parametrize("path", pictures.PICTURES, ids=lambda path: path.name)
def test_the_picture_is_what_the_code_draws(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == pictures.PICTURES[path](), ADVICE


@pytest.mark.parametrize("name", pictures.TABLES)
def test_the_table_is_what_the_code_gives(name: str) -> None:
    pages = [page.read_text(encoding="utf-8") for page in DOCS.rglob("*.md")]
    showing = [page for page in pages if f"<!-- table: {name} -->" in page]
    assert showing
    for page in showing:
        assert pictures.with_tables(page) == page, ADVICE


def test_every_state_has_its_place_in_the_picture() -> None:
    assert set(pictures.PLACES) == set(MemberStatus) == set(MOVES)


def test_no_strategy_lets_both_sides_of_a_cut_go_on() -> None:
    assert " and " not in pictures.who_goes_on()


def test_the_picture_changes_with_the_table_of_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    before = pictures.member_states()
    monkeypatch.setitem(MOVES, MemberStatus.up, frozenset({MemberStatus.down}))
    assert pictures.member_states() != before


def test_a_row_is_opened_only_from_free_and_freed_only_by_its_owner_or_its_end() -> None:
    moves = pictures.row_moves()
    assert [begin for begin, end in moves if end == "opening"] == ["free"]
    freeing = {begin: causes for (begin, end), causes in moves.items() if end == "free"}
    assert freeing == dict.fromkeys(("opening", "owned", "moving"), ["Yielded", "owner gone"])
