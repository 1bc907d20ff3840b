"""A real disk that fails at a call of the kernel: a kill at each place, EIO, and a full disk with room again later."""

from __future__ import annotations

from pathlib import Path

import pytest
from traced_disk import EIO, ENOSPC, KILL, SYNC, WRITE, try_one, why_not

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not())


@pytest.mark.parametrize(("call", "when"), [(WRITE, "2"), (WRITE, "13"), (WRITE, "22"), (SYNC, "2"), (SYNC, "4")])
def test_a_kill_at_a_write_or_a_sync_leaves_all_that_was_acknowledged(tmp_path: Path, call: str, when: str) -> None:
    try_one(tmp_path, call, KILL, when)


@pytest.mark.parametrize(("call", "fault"), [(SYNC, EIO), (SYNC, ENOSPC), (WRITE, EIO)])
def test_a_failed_commit_is_uncertain_and_its_sync_is_never_tried_again(tmp_path: Path, call: str, fault: str) -> None:
    traced = try_one(tmp_path, call, fault, "4" if call == SYNC else "9")
    assert len(traced.numbers("uncertain")) == 1


def test_a_full_disk_refuses_writes_answers_reads_and_goes_on_by_itself_when_there_is_room(tmp_path: Path) -> None:
    traced = try_one(tmp_path, WRITE, ENOSPC, "9..20")
    assert len(traced.numbers("unavailable")) == 12


def test_a_sync_that_fails_again_and_again_acknowledges_nothing_until_it_works(tmp_path: Path) -> None:
    traced = try_one(tmp_path, SYNC, EIO, "4..9")
    assert traced.numbers("uncertain")
