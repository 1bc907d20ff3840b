"""What asks a node to hold back is read, or refused with one error."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from casty.errors import FrameError
from casty.wire.control.pause import PATH_BYTES_MAX, decode_path, pause_frame, resume_frame
from casty.wire.frame import FrameDecoder, FrameKind


@given(path=st.text(max_size=100).filter(lambda text: text.isprintable()))
def test_paths_come_back(path: str) -> None:
    frames = FrameDecoder(PATH_BYTES_MAX).feed(pause_frame(path) + resume_frame(path))
    assert [(kind, decode_path(body)) for kind, body in frames] == [(FrameKind.PAUSE, path), (FrameKind.RESUME, path)]


@given(body=st.binary(max_size=50) | st.just(b"x" * (PATH_BYTES_MAX + 1)))
def test_any_bytes_are_read_or_refused_with_one_error(body: bytes) -> None:
    try:
        assert decode_path(body).encode() == body
    except FrameError:
        return
