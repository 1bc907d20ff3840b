"""Changed records of a link with TLS."""

from __future__ import annotations

import pytest
from tls_faults import KINDS, play_all


@pytest.mark.parametrize("first", range(0, 400, 100))
def test_what_arrives_is_the_beginning_of_what_was_sent(first):
    played, wrong = play_all(range(first, first + 100))
    assert wrong == []
    assert set(KINDS) <= set(played)


@pytest.mark.parametrize("seed", [57789, 72148])
def test_ends_that_wait_for_each_other_end_by_the_bound_of_a_handshake(seed):
    played, wrong = play_all(range(seed, seed + 1))
    assert wrong == [] and set(played) == {"flip"}


def test_so_over_sockets():
    played, wrong = play_all(range(20), over_tcp=True)
    assert wrong == [] and len(played) > 1
