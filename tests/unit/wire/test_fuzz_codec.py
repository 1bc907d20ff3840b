"""The program that damages messages finds a decoder that breaks the law, and draws a block again alike."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(__file__).parents[2] / "benchmarks" / "fuzz_codec.py"


@pytest.fixture(scope="module")
def program() -> dict[str, Any]:
    return runpy.run_path(str(PROGRAM))


def run(program: dict[str, Any], spoil: Callable[[Any], None] = lambda fuzz: None) -> Any:
    fuzz, figures = program["Fuzz"](), program["Figures"]()
    spoil(fuzz)
    fuzz.block(7, 3, 2_000, figures)
    return figures


def test_no_damaged_message_breaks_the_law_and_some_are_messages(program: dict[str, Any]) -> None:
    figures, again = run(program), run(program)
    assert figures.faults == []
    assert figures.read == again.read > 50


def test_a_decoder_that_raises_something_else_is_found_with_its_bytes(program: dict[str, Any]) -> None:
    def raise_key_error(_: object) -> object:
        raise KeyError("a fault")

    def spoil(fuzz: Any) -> None:
        fuzz.codec.decode_envelope = raise_key_error

    figures = run(program, spoil)
    assert figures.faults[0].startswith("--seed 7 --first 3: KeyError('a fault') of ")
