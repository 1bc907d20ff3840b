"""Every replicated table is spread by the same rules: the registry of services, and the rows of an extension."""

from __future__ import annotations

from dataclasses import replace

import pytest
from helpers.tables import CLUSTER, KINDS, REGISTRY_KIND, ROWS_KIND, TableKind, merged, news_for, page_codec, source

from casty.errors import DecodeError
from casty.protocol.gossip.tables import TableSet, digest_of
from casty.protocol.state import slots as slots_module
from casty.protocol.state.slots import JUMP_MAX, REMOVED_SPARE
from casty.testing.samples import run_of
from casty.wire.frame import HEADER_BYTES

A, B, Z = (run_of(name) for name in "abz")

pytestmark = pytest.mark.parametrize("kind", KINDS, ids=str)


PAGES = page_codec()


def test_content_arrives_at_a_node_that_knows_nothing(kind: TableKind) -> None:
    told = kind.written(1, 2)
    known = merged(kind.empty, told)
    assert kind.read(known, A) == kind.read(told, A) != kind.read(kind.empty, A)
    assert known.versions == told.versions


def test_same_content_makes_no_version(kind: TableKind) -> None:
    table = kind.written(1, 2)
    assert kind.written(2, 1, after=table) is table
    assert kind.written() is kind.empty


def test_content_of_another_kind_is_a_type_error(kind: TableKind) -> None:
    with pytest.raises(TypeError, match="takes a"):
        kind.empty.written(A, 7)


def test_nothing_is_sent_to_a_node_with_the_same(kind: TableKind) -> None:
    table = kind.written(1, 2)
    assert news_for(table, table) == []


def test_only_the_changes_that_a_node_lacks_are_sent(kind: TableKind) -> None:
    before = kind.written(1, 2)
    after = kind.written(1, 2, 3, after=before)
    (message,) = news_for(after, before)
    ((change,),) = (page.changes for page in message.pages)
    assert change[0] == before.versions[A.incarnation] + 1


def test_a_removal_wins_over_an_older_copy(kind: TableKind) -> None:
    offered = kind.written(1)
    withdrawn = kind.written(after=offered)
    (stale,) = news_for(offered, kind.empty)
    assert withdrawn.merged(source(), stale) is withdrawn
    assert kind.read(merged(offered, withdrawn), A) == kind.read(kind.empty, A)


def test_a_message_that_comes_twice_changes_nothing(kind: TableKind) -> None:
    (message,) = news_for(kind.written(1, 2), kind.empty)
    known = kind.empty.merged(source(), message)
    assert known.merged(source(), message) is known


def test_content_of_a_removed_run_is_not_taken(kind: TableKind) -> None:
    assert merged(kind.empty, kind.written(1), source("b", gone="a")) is kind.empty


def test_only_who_has_the_word_tells_of_others(kind: TableKind) -> None:
    both = kind.written(1, by="b", after=kind.written(1))
    assert merged(kind.empty, both, source("b", has_word=True)).versions == both.versions
    assert merged(kind.empty, both, source("b", has_word=False)).versions == {B.incarnation: 1}


def test_the_own_part_is_never_taken_but_told_again_above_what_others_have(kind: TableKind) -> None:
    older_run_of_the_log = kind.written(4, 5, 6)
    own = kind.written(1)
    after = merged(own, older_run_of_the_log, source("b", "a"))
    assert kind.read(after, A) == kind.read(own, A)
    assert after.versions[A.incarnation] > 3
    assert kind.read(merged(older_run_of_the_log, after), A) == kind.read(own, A)


def test_a_version_out_of_all_reason_is_gone_beyond_by_one_step_a_time(kind: TableKind) -> None:
    own = kind.written(1)
    assert own.beyond(A, 1) is own
    after = own.beyond(A, 2**62)
    assert after.versions == {A.incarnation: JUMP_MAX + 2}
    assert kind.read(after, A) == kind.read(own, A)


def test_a_version_far_ahead_is_taken_from_its_owner_alone(kind: TableKind) -> None:
    far = kind.written(1).beyond(A, JUMP_MAX)
    assert merged(kind.empty, far, source("b", has_word=True)) == kind.empty
    assert merged(kind.empty, far, source("a", has_word=True)).versions == far.versions


def test_only_parts_of_members_are_kept_and_asked_for(kind: TableKind) -> None:
    both = kind.written(1, by="b", after=kind.written(1))
    assert both.kept({A, B}) is both
    assert both.kept({B}).versions == {B.incarnation: 1}
    assert both.lacks({A.incarnation: 2}, {A, B})
    assert not both.lacks({A.incarnation: 2}, {B})
    assert not both.lacks({A.incarnation: 1, Z.incarnation: 9}, {A, B})


def test_removals_are_forgotten_in_time_also_by_who_missed_them(kind: TableKind) -> None:
    stale = table = kind.written(1, 200)
    for number in range(2, 3 * REMOVED_SPARE):
        table = kind.written(1, number % 100 + (number % 7) * 100, after=table)
        table = kind.written(1, after=table)
    assert sum(len(page.changes) for message in news_for(table, kind.empty) for page in message.pages) <= (
        2 + REMOVED_SPARE
    )
    assert kind.read(merged(stale, table), A) == kind.read(table, A)


def test_a_large_part_travels_in_pages_that_each_fit(kind: TableKind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots_module, "Room", lambda: slots_module.room_after(slots_module.Weight(200_000, 15_000)))
    told = kind.written(*range(99))
    messages = news_for(told, kind.empty)
    assert len(messages) > 1
    known = kind.empty
    for message in messages:
        frame = PAGES.frame_control(message)
        assert PAGES.decode_control(frame[HEADER_BYTES:]) == message
        assert kind.read(known, A) != kind.read(told, A)
        known = known.merged(source(), message)
    assert kind.read(known, A) == kind.read(told, A)
    first, _, *rest = messages
    lost = kind.empty
    for message in (first, *rest):
        lost = lost.merged(source(), message)
    assert lost.versions[A.incarnation] == first.pages[0].upto, "what follows a lost page is not taken"
    assert kind.read(merged(lost, told), A) == kind.read(told, A)


def test_pages_of_another_kind_are_a_decode_error(kind: TableKind) -> None:
    other = REGISTRY_KIND if kind is ROWS_KIND else ROWS_KIND
    (message,) = news_for(other.written(1), other.empty)
    with pytest.raises(DecodeError, match="its pages are"):
        kind.empty.merged(source(), message)


def test_one_part_twice_in_a_message_is_a_decode_error(kind: TableKind) -> None:
    (message,) = news_for(kind.written(1), kind.empty)
    twice = replace(message, pages=message.pages * 2)
    with pytest.raises(DecodeError, match="distinct"):
        kind.empty.merged(source(), twice)


def test_a_message_names_its_table_and_its_cluster(kind: TableKind) -> None:
    (message,) = news_for(kind.written(1), kind.empty)
    assert (message.table, message.cluster_id) == (kind.empty.name, CLUSTER)


def test_digests_are_equal_where_the_versions_are(kind: TableKind) -> None:
    told = kind.written(1, 2)
    tables, same, other = (TableSet((each,)) for each in (told, merged(kind.empty, told), kind.written(1)))
    assert digest_of(tables, b"x") == digest_of(same, b"x") != digest_of(other, b"x")
    assert len(digest_of(tables, b"x")) == 16
