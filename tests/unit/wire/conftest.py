"""A codec whose refs are plain addresses."""

from __future__ import annotations

from typing import Any

import pytest

from casty.address import ActorAddress
from casty.refs import ActorRef
from casty.wire.codec.codec import Codec


class PlainRef(ActorRef[Any]):
    """A ref that knows its address and the type it was decoded for."""

    def __init__(self, address: ActorAddress, message_type: object = None) -> None:
        self._address = address
        self.message_type = message_type

    @property
    def address(self) -> ActorAddress:
        return self._address

    def tell(self, message: Any) -> None:
        raise AssertionError("not told in these tests")

    async def send(self, message: Any) -> None:
        raise AssertionError("not sent to in these tests")


def new_codec(**options: Any) -> Codec:
    return Codec(
        export_ref=lambda ref, form: ref.address.place,
        import_ref=lambda place, form: PlainRef(ActorAddress(*place), form),
        **options,
    )


@pytest.fixture
def codec() -> Codec:
    return new_codec()


@pytest.fixture
def make_codec() -> Any:
    return new_codec


@pytest.fixture
def make_ref() -> Any:
    return PlainRef
