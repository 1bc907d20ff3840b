"""A codec whose refs are plain addresses."""

from __future__ import annotations

from typing import Any

import pytest
from helpers.refs import AddressRef

from casty.address import ActorAddress
from casty.wire.codec.codec import Codec


def new_codec(**options: Any) -> Codec:
    return Codec(
        export_ref=lambda ref, form: ref.address.place,
        import_ref=lambda place, form: AddressRef(ActorAddress(*place), form),
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
    return AddressRef
