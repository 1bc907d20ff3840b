"""How runs of nodes look in texts: the same everywhere, so that one line is found by what another says."""

from __future__ import annotations

import pytest

from casty import ActorAddress, Member, MemberStatus, NodeAddress
from casty.address import UniqueAddress

RUN = UniqueAddress(NodeAddress("10.0.0.1", 2551), 0xABC)
TEXT = "0000000000000abc"


def test_a_run_has_one_form_in_all_texts() -> None:
    member = Member(RUN.address, MemberStatus.up, frozenset({"web"}), "web-1", incarnation=RUN.incarnation)
    actor = ActorAddress("shop", "/cart").at(RUN)
    for text in (str(RUN), repr(RUN), repr(member), str(actor), repr(actor), actor.to_uri()):
        assert TEXT in text, text
        assert str(RUN.incarnation) not in text, text


def test_what_a_repr_says_makes_the_same_value() -> None:
    member = Member(RUN.address, MemberStatus.up, frozenset({"web"}), "web-1", incarnation=7, extra=(("a", b"1"),))
    names = {one.__name__: one for one in (ActorAddress, Member, MemberStatus, NodeAddress, UniqueAddress, frozenset)}
    for value in (RUN, ActorAddress("shop", "/cart").at(RUN), ActorAddress("shop", "/cart")):
        assert eval(repr(value), names) == value
    assert eval(repr(member).replace("<MemberStatus.up: 'up'>", "MemberStatus.up"), names) == member


@pytest.mark.parametrize("fragment", ["7.3", "#00000000000000g7.3", "0000000000000007", "0000000000000007.x"])
def test_a_run_in_another_form_is_refused(fragment: str) -> None:
    with pytest.raises(ValueError, match="16 hexadecimal digits"):
        ActorAddress.from_uri(f"casty://shop@10.0.0.1:2551/cart#{fragment}")
