"""The decoder law over many damaged messages: ``python tests/benchmarks/fuzz_codec.py --cases 10000000 --seed 1``.

Any bytes either are a message or raise ProtocolError, and a message that was read can be written, and is read as one of
its class again. Each case is a frame of the corpora of messages and control messages, or of a taught class: some bytes
are replaced, repeated, left out, cut off, or come from another frame, or any msgpack stands in place of the payload. A
block of cases is drawn from the seed and its own number: ``--seed 1 --first 37 --cases 10000`` repeats one.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from random import Random
from typing import Any

import msgpack

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from casty.errors import ProtocolError  # noqa: E402  # as above
from casty.protocol.membership.status import REPORT_TYPES  # noqa: E402  # as above
from casty.testing.samples import control_registry  # noqa: E402  # as above
from casty.wire.envelope import encode_entity, encode_wait, end_of_head  # noqa: E402  # as above
from casty.wire.frame import HEADER_BYTES  # noqa: E402  # as above
from casty.wire.handshake import decode_hello, decode_hello_ack, decode_refused  # noqa: E402  # as above
from casty.wire_types import WireType  # noqa: E402  # as above
from tests.unit.wire import test_message_corpus as corpus  # noqa: E402  # a module of the tests, found by the line above
from tests.unit.wire.conftest import new_codec  # noqa: E402  # as above

BLOCK_CASES = 10_000
PROGRESS_BLOCKS = 20
HEADS = (
    b"\x80\x81\x82\x90\x91\x92\x93\x96\xc0\xc2\xc3\xc4\xc7\xca\xcb\xcc\xcf\xd0\xd3\xd9\xdb\xdc\xdd\xde\xdf\xff\0\x7f"
)
"""First bytes of msgpack that open something, or are a bound."""


def fraction_of(sent: tuple[int, int], cls: type[Fraction]) -> Fraction:
    """Return a fraction of a numerator and a denominator above 0: a sign that moved could make one of 65 bits."""
    if sent[1] < 1:
        raise ValueError(f"expected a denominator above 0, got {sent[1]}")
    return cls(*sent)


FRACTION: WireType[Fraction, tuple[int, int]] = WireType(
    Fraction,
    "fuzz.Fraction",
    tuple[int, int],
    unstructure=lambda value: (value.numerator, value.denominator),
    structure=fraction_of,
)
TAUGHT: list[tuple[Any, object]] = [
    (Fraction, Fraction(1, 3)),
    (list[Fraction | int | None], [Fraction(1, 2), 3, None]),
    (dict[Fraction, set[Fraction]], {Fraction(1): {Fraction(2)}}),
    (corpus.Tree | Fraction, corpus.TREE),
]


@dataclass
class Figures:
    """What came of the cases."""

    cases: int = 0
    read: int = 0
    slowest: float = 0.0
    slowest_body: bytes = b""
    faults: list[str] = field(default_factory=list)


class Fuzz:
    """Draws damaged bodies, and has them decoded."""

    def __init__(self) -> None:
        self.codec = new_codec(wire_types=[FRACTION])
        self.control = new_codec()
        names = {entry.cls: entry.wire_name for entry in control_registry()} | REPORT_TYPES
        for message_type, name in names.items():
            self.control.register(message_type, name=name)
        samples = (*corpus.SAMPLES, *TAUGHT)
        frames = [self.codec.frame_envelope("/x", 1, value, form) for form, value in samples]
        frames += [self._to_entity(value, form) for form, value in samples[::4]]
        self.forms = {name: form for form, _ in samples for name in self.codec.names_of(form)}
        """Types of messages by the names under which they travel."""
        known = (ROOT / "tests/unit/wire/control_messages.txt").read_text(encoding="ascii").splitlines()[1:]
        self.envelopes = [frame[HEADER_BYTES:] for frame in frames]
        self.controls = [bytes.fromhex(line.split()[1])[HEADER_BYTES:] for line in known]
        self.others: list[Callable[[bytes], object]] = [
            self.codec.decode_notice, decode_hello, decode_hello_ack, decode_refused
        ]  # fmt: skip

    def _to_entity(self, value: object, form: object) -> bytes:
        """Return the frame of a request to an entity."""
        write = self.codec.writer("/_entity/carts", 0, value, form, has_tail=True)
        return write(value, encode_wait(2.0, 7) + encode_entity(5, "cart-1"))

    def block(self, seed: int, number: int, cases: int, figures: Figures) -> None:
        """Run the cases of one block."""
        rng = Random(f"{seed}/{number}")
        for _ in range(cases):
            bodies = self.controls if rng.random() < 0.2 else self.envelopes
            body = self.damaged(rng, bodies)
            start = time.process_time()
            try:
                figures.read += self.law(body, bodies is self.controls, rng)
            except Exception as error:
                figures.faults.append(f"--seed {seed} --first {number}: {error!r} of {body.hex()}")
            took = time.process_time() - start
            if took > figures.slowest:
                figures.slowest, figures.slowest_body = took, body
            figures.cases += 1

    def damaged(self, rng: Random, bodies: list[bytes]) -> bytes:
        """Draw one body."""
        body = bytearray(rng.choice(bodies))
        if bodies is self.envelopes and rng.random() < 0.2:
            return bytes(body[: end_of_head(body)]) + msgpack.packb(anything(rng, 4))
        start = end_of_head(body) if bodies is self.envelopes and rng.random() < 0.8 else 0
        for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
            here, way = rng.randint(min(start, len(body)), len(body)), rng.choice((0, 0, 0, 0, 1, 2, 3, 4, 5))
            there = min(len(body), here + rng.randrange(9))
            if way == 0:
                body[here : here + 1] = rng.randbytes(1)
            elif way == 1:
                body[here : here + 1] = bytes([rng.choice(HEADS)])
            elif way == 2:
                body[here:here] = body[here:there] * rng.choice((1, 1, 40))
            elif way == 3:
                del body[here:there]
            elif way == 4:
                other = rng.choice(bodies)
                body[here:there] = other[rng.randrange(len(other)) :][: rng.randrange(40)]
            else:
                del body[max(here, len(body) - 40) :]
        return bytes(body)

    def law(self, body: bytes, is_control: bool, rng: Random) -> bool:
        """Decode one body; return whether it is a message. Raises what breaks the law."""
        try:
            if rng.random() < 0.02:
                rng.choice(self.others)(body)
                return True
            if is_control:
                found = self.control.decode_control(body)
            else:
                envelope = self.codec.decode_envelope(body)
                found = envelope.message
        except ProtocolError as error:
            str(error).encode()  # it can be logged
            return False
        if is_control:
            again = self.control.decode_control(self.control.frame_control(found)[HEADER_BYTES:])
        else:
            written = self.codec.frame_envelope("/x", 1, found, self.forms.get(envelope.name))
            again = self.codec.decode_envelope(written[HEADER_BYTES:]).message
        if type(again) is not type(found):
            raise AssertionError(f"{found!r} comes back as {again!r}")
        return True


def anything(rng: Random, depth: int) -> Any:
    """Draw any value of msgpack."""
    kind = rng.randrange(10 if depth else 7)
    if kind > 6:
        items = [anything(rng, depth - 1) for _ in range(rng.randrange(4))]
        return items if kind < 9 else {rng.choice(("", "x", "value", "a", b"k")): item for item in items}
    integer = rng.choice((0, 1, -1, 2**63, 2**64 - 1, -(2**63), rng.getrandbits(40)))
    text = rng.choice(
        ("", "a", "x", "corpus.Tree", "fuzz.Fraction", "2026-01-01", "1E+5", "list", "dict", "\U0001f600")
    )
    return (None, bool(integer % 2), integer, rng.uniform(-9, 9), text, rng.randbytes(rng.choice((4, 16))), 1e300)[kind]


def main(arguments: list[str] | None = None) -> int:
    """Run the cases, and return 1 where one broke the law."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, metavar="BLOCK", help=f"where to begin, in {BLOCK_CASES} cases")
    options = parser.parse_args(arguments)
    fuzz, figures, start, number = Fuzz(), Figures(), time.perf_counter(), options.first
    while figures.cases < options.cases and len(figures.faults) < 20:
        fuzz.block(options.seed, number, min(BLOCK_CASES, options.cases - figures.cases), figures)
        number += 1
        if number % PROGRESS_BLOCKS == 0:
            print(f"{figures.cases} cases, {len(figures.faults)} broke the law", file=sys.stderr, flush=True)
    for fault in figures.faults:
        print(fault)
    print(
        f"{figures.cases} cases of seed {options.seed} in {time.perf_counter() - start:.0f} s: {figures.read} were "
        f"messages, {len(figures.faults)} broke the law; the slowest took {figures.slowest * 1e3:.1f} ms "
        f"of processor time, {len(figures.slowest_body)} bytes"
    )
    return 1 if figures.faults else 0


if __name__ == "__main__":
    sys.exit(main())
