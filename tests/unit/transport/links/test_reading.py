"""A large frame is read into memory that was there before, whoever is no stranger sends it."""

from __future__ import annotations

from random import Random

import pytest
import trio
from helpers.transport import QuietConnection

from casty.errors import FrameError
from casty.transport.links.reading import (
    PLACE_BYTES_MAX,
    PLACE_PART_BYTES_MIN,
    PLACES_KEPT_MAX,
    READ_BYTES_MAX,
    READS_AT_ONCE_MAX,
    STRANGER_READ_BYTES_MAX,
    FrameReader,
    Frames,
    Places,
)
from casty.wire.control.acknowledgements import ack_frame
from casty.wire.frame import HEADER_BYTES, FrameDecoder, FrameKind, frame

LARGE = frame(FrameKind.ENVELOPE, bytes(range(256)) * 3_000)
SMALL = frame(FrameKind.CONTROL, b"small")


class Script(QuietConnection):
    """A connection whose bytes come in chunks of at most ``chunk``, and which notes how they were asked for."""

    def __init__(self, data: bytes, *, chunk: int = 10**9, is_quick: bool = False) -> None:
        self.data = data
        self.chunk = chunk
        self.asked: list[tuple[str, int]] = []
        self.position = 0
        self.is_quick = is_quick

    def _take(self, size: int) -> bytes:
        taken = self.data[self.position : self.position + min(size, self.chunk)]
        self.position += len(taken)
        return taken

    async def receive(self, max_bytes: int) -> bytes:
        await trio.lowlevel.checkpoint()
        self.asked.append(("receive", max_bytes))
        return self._take(max_bytes)

    def receive_into_nowait(self, place: memoryview) -> int:
        if not self.is_quick:
            return 0
        self.asked.append(("place, at once", len(place)))
        return self._put(place)

    async def receive_into(self, place: memoryview) -> int:
        await trio.lowlevel.checkpoint()
        self.asked.append(("place", len(place)))
        return self._put(place)

    def _put(self, place: memoryview) -> int:
        data = self._take(len(place))
        place[: len(data)] = data
        return len(data)


async def read_all(
    script: Script, *, places: Places | None = None, is_stranger: bool = False, limit: int = 2**22
) -> list[tuple[FrameKind, bytes]]:
    reader, found, size = FrameReader(script, FrameDecoder(limit), places or Places()), [], len(script.data)
    total = 0
    while True:
        count, frames = await reader.read(is_stranger=is_stranger)
        total += count
        found += [(kind, bytes(body)) for kind, body in frames]
        reader.done()
        if not count:
            assert total == size
            return found


@pytest.mark.parametrize("seed", range(10))
async def test_frames_come_out_the_same_however_their_bytes_come(seed: int) -> None:
    rng = Random(seed)
    bodies = [
        rng.randbytes(rng.choice([0, 10, 5_000, 65_536, 65_550, 100_000, 900_000, PLACE_BYTES_MAX - 5, 1_300_000]))
        for _ in range(12)
    ]
    frames = [(rng.choice([FrameKind.ENVELOPE, FrameKind.SLICE]), body) for body in bodies]
    script = Script(
        b"".join(frame(*one) for one in frames), chunk=rng.choice([20_001, 65_536, 10**9]), is_quick=seed % 2 == 0
    )
    assert await read_all(script) == frames


async def test_a_reader_is_eager_for_what_members_send_from_the_moment_at_which_they_are() -> None:
    script = Script(SMALL * 4, chunk=len(SMALL))
    reader = FrameReader(script, FrameDecoder(100), Places())
    for is_stranger in (True, False, True, False):
        await reader.read(is_stranger=is_stranger)
        assert script.is_eager is not is_stranger
        reader.done()


async def test_a_reader_is_not_eager_for_what_comes_behind_an_acknowledgement_alone() -> None:
    reads = [ack_frame(1), SMALL, ack_frame(2) + SMALL, ack_frame(3), ack_frame(4) + LARGE[:100_000], LARGE[100_000:]]
    eager, told = list[bool](), list[bool]()
    script = Script(b"")
    reader = FrameReader(script, FrameDecoder(2**22), Places())
    for data in [*reads, SMALL]:
        script.data += data
        await reader.read(is_stranger=False)
        eager.append(script.is_eager)
        told.append(reader.is_only_told)
        reader.done()
    assert told[:4] == [True, False, False, True]
    assert eager[:5] == [True, False, True, True, False]
    assert not any(told[-2:]), "what is behind it is no acknowledgement"


async def test_a_large_frame_is_read_into_its_place_and_nothing_behind_it() -> None:
    script = Script(SMALL + LARGE + SMALL)
    assert [kind for kind, _ in await read_all(script)] == [FrameKind.CONTROL, FrameKind.ENVELOPE, FrameKind.CONTROL]
    rest = len(SMALL + LARGE) - READ_BYTES_MAX
    assert script.asked == [("receive", READ_BYTES_MAX), ("place", rest)] + [("receive", READ_BYTES_MAX)] * 2


async def test_what_is_there_of_a_large_frame_is_read_without_waiting() -> None:
    script = Script(LARGE + LARGE[:100_000], is_quick=True)
    assert len(await read_all(script)) == 1
    rest, after = len(LARGE) - READ_BYTES_MAX, len(LARGE) - 100_000
    assert script.asked[:3] == [("receive", READ_BYTES_MAX), ("place, at once", rest), ("receive", READ_BYTES_MAX)]
    assert script.asked[3:] == [("place, at once", rest), ("place, at once", after), ("place", after)]


async def test_a_large_frame_that_comes_while_it_is_read_is_not_waited_for() -> None:
    script = Script(LARGE, chunk=READ_BYTES_MAX, is_quick=True)
    assert len(await read_all(script)) == 1
    assert "place" not in {how for how, _ in script.asked}


async def test_a_large_frame_that_comes_in_drops_is_waited_for_after_some_reads() -> None:
    script = Script(LARGE, chunk=PLACE_PART_BYTES_MIN, is_quick=True)
    reader = FrameReader(script, FrameDecoder(2**22), Places())
    await reader.read(is_stranger=False)
    how = [how for how, _ in script.asked]
    assert how.count("place, at once") == READS_AT_ONCE_MAX
    script.asked.clear()
    await reader.read(is_stranger=False)
    assert [how for how, _ in script.asked] == ["place"]


async def test_the_place_of_one_frame_is_that_of_the_next() -> None:
    places = Places()
    await read_all(Script(LARGE), places=places)
    kept = places.take(1)
    places.give_back(kept)
    await read_all(Script(LARGE * 3), places=places)
    assert places.take(1) is kept


async def test_at_most_a_few_places_are_kept() -> None:
    places = Places()
    used = [places.take(100_000) for _ in range(PLACES_KEPT_MAX + 3)]
    for place in used:
        places.give_back(place)
    assert len({id(places.take(1)) for _ in range(PLACES_KEPT_MAX + 3)} & set(map(id, used))) == PLACES_KEPT_MAX


async def test_a_body_that_is_kept_against_the_rules_shows_no_other_frame() -> None:
    reader = FrameReader(Script(LARGE), FrameDecoder(2**22), Places())
    frames: Frames = ()
    while not frames:
        _, frames = await reader.read(is_stranger=False)
    ((_, body),) = frames
    assert body == LARGE[HEADER_BYTES:]
    reader.done()
    with pytest.raises(ValueError, match="released"):
        body[0]


@pytest.mark.parametrize("come", [HEADER_BYTES, PLACE_PART_BYTES_MIN - 1])
async def test_no_place_is_made_on_the_word_of_a_length_alone(come: int) -> None:
    script = Script(LARGE[:come])
    await read_all(script)
    assert {how for how, _ in script.asked} == {"receive"}


async def test_a_stranger_has_no_place() -> None:
    script = Script(LARGE + SMALL)
    assert len(await read_all(script, is_stranger=True)) == 2
    assert set(script.asked) == {("receive", STRANGER_READ_BYTES_MAX)}


async def test_a_frame_that_is_too_large_for_a_place_is_collected() -> None:
    script = Script(frame(FrameKind.ENVELOPE, bytes(PLACE_BYTES_MAX)) + SMALL, chunk=100_000)
    assert len(await read_all(script)) == 2
    assert {how for how, _ in script.asked} == {"receive"}


async def test_what_came_with_the_hello_is_there_at_once_and_a_large_frame_in_it_goes_on() -> None:
    decoder = FrameDecoder(4_096)
    cut = 50_000
    assert decoder.feed(SMALL + SMALL + LARGE[:cut], frames_max=1) == [(FrameKind.CONTROL, b"small")]
    decoder.limit_bytes = 2**22
    script = Script(LARGE[cut:])
    reader = FrameReader(script, decoder, Places())
    assert reader.left() == [(FrameKind.CONTROL, b"small")]
    frames: Frames = ()
    while not frames:
        _, frames = await reader.read(is_stranger=False)
    ((kind, body),) = frames
    assert (kind, bytes(body)) == (FrameKind.ENVELOPE, LARGE[HEADER_BYTES:])
    assert script.asked == [("receive", READ_BYTES_MAX), ("place", len(LARGE) - cut - READ_BYTES_MAX)]


async def test_a_length_over_the_limit_is_refused_and_no_place_is_made() -> None:
    with pytest.raises(FrameError, match="is not within"):
        await read_all(Script(LARGE), limit=100_000)
