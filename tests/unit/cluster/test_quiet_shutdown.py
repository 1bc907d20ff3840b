"""A node that leaves in order is no reason for a warning, on its own side or on the others'."""

from __future__ import annotations

import logging

import pytest
import trio


@pytest.mark.parametrize("count", [2, 3, 5])
async def test_leaving_one_by_one_and_all_at_once_warns_of_nothing(autojump_clock, nodes, caplog, count):
    names = [f"n{number}" for number in range(count)]
    await nodes.start(names[0])
    for name in names[1:]:
        await nodes.start(name, names[:1])
    await nodes.all_up(*names)
    await nodes.stop(names.pop(0))
    await trio.sleep(30)
    async with trio.open_nursery() as nursery:
        for name in names:
            nursery.start_soon(nodes.stop, name)
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []
