"""Ways to damage a file: bits, lengths, magic numbers, cuts, splices, repetitions."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Sequence

from fuzz.seeds import header_text, with_header

MOST_AT_ONCE = 5
"""Mutations that one file gets at most."""
# Numbers at the edges of what lengths, offsets and counts are stored in.
_EDGES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
# Beginnings by which readers know their files.
_MAGIC = (
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff",
    b"GIF89a",
    b"II*\0",
    b"MM\0*",
    b"RIFF",
    b"BM",
    b"P6",
    b"P5",
    b"\0\0\0\x0cjP  ",
    b"\0\0\0\x1cftypavif",
    b"\x89HDF\r\n\x1a\n",
    b"OHDR",
    b"GCOL",
    b"TREE",
    b"HEAP",
    b"SNOD",
    b"PK\x03\x04",
    b"PK\x01\x02",
    b"IDAT",
    b"IHDR",
    b"Exif\0\0",
    b"iCCP",
    b"\0\0\0\0",
)
_WORDS = (
    "0",
    "-1",
    "1e9",
    "99999999999",
    "1e308",
    "NaN",
    "Infinity",
    "null",
    "true",
    '""',
    "[]",
    "{}",
    "[1,2]",
    '"\\ud800"',
    '"../../etc/passwd"',
    "0.5",
    "3",
    '"zhang"',
    '"vgg16"',
)


def mutated(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    """Damage a file in one to `MOST_AT_ONCE` ways.

    Parameters
    ----------
    data
        A whole file.
    others
        Files whose pieces may be spliced in.
    rng
        Decides how; the same generator gives the same file.

    Returns
    -------
    The damaged file.

    Examples
    --------
    >>> once = mutated(b"a whole file", [b"another"], random.Random(1))
    >>> once == mutated(b"a whole file", [b"another"], random.Random(1)) != b"a whole file"
    True
    """
    damaged = bytearray(data)
    for _ in range(rng.randint(1, MOST_AT_ONCE)):
        if damaged:
            rng.choice(_WAYS)(damaged, others, rng)
    return bytes(damaged)


def with_other_values(data: bytes, rng: random.Random) -> bytes:
    """Change values in zcolor's own header of a checkpoint, and leave all the rest whole.

    The file's frame, its tensors and their checksum stay right, and the header has no checksum, so
    that what it says of the network is believed.

    Parameters
    ----------
    data
        A checkpoint.
    rng
        Decides which.
    """
    header = json.loads(header_text(data))
    # Without the hash of itself, as files of older versions are: nobody looks past a wrong one.
    header.pop("header_sha256", None)
    text = json.dumps(header)
    for _ in range(rng.randint(1, 2)):
        values = list(re.finditer(r'(?<=: )(-?[\d.e+-]+|"[^"]*"|null|true|false)', text))
        if values:
            chosen = rng.choice(values)
            text = text[: chosen.start()] + rng.choice(_WORDS) + text[chosen.end() :]
    size = 8 + int.from_bytes(data[:8], "little")
    top = json.loads(data[8:size])
    top["__metadata__"]["zcolor"] = text
    return with_header(data, json.dumps(top).encode())


Way = Callable[[bytearray, Sequence[bytes], random.Random], None]


def _bits(data: bytearray, _: Sequence[bytes], rng: random.Random) -> None:
    for _ignored in range(rng.randint(1, 8)):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _bytes(data: bytearray, _: Sequence[bytes], rng: random.Random) -> None:
    start = rng.randrange(len(data))
    for i in range(start, min(start + rng.randint(1, 16), len(data))):
        data[i] = rng.randrange(256)


def _number(data: bytearray, _: Sequence[bytes], rng: random.Random) -> None:
    """A length, an offset or a count at the edge of its range."""
    width = rng.choice((1, 2, 4, 8))
    value = rng.choice((*_EDGES, len(data), len(data) + 1)) & (1 << 8 * width) - 1
    start = rng.randrange(len(data))
    new = value.to_bytes(width, rng.choice(("little", "big")))
    data[start : start + width] = new[: len(data) - start]


def _near(data: bytearray, _: Sequence[bytes], rng: random.Random) -> None:
    """A number a little larger or smaller than it was."""
    start = rng.randrange(len(data))
    data[start] = (data[start] + rng.choice((-16, -2, -1, 1, 2, 16))) % 256


def _magic(data: bytearray, _: Sequence[bytes], rng: random.Random) -> None:
    word = rng.choice(_MAGIC)
    start = rng.choice((0, rng.randrange(len(data))))
    data[start : start + len(word)] = word


def _cut(data: bytearray, _: Sequence[bytes], rng: random.Random) -> None:
    del data[rng.randrange(len(data)) :]


def _removed(data: bytearray, _: Sequence[bytes], rng: random.Random) -> None:
    start = rng.randrange(len(data))
    del data[start : start + rng.randint(1, 64)]


def _repeated(data: bytearray, _: Sequence[bytes], rng: random.Random) -> None:
    start = rng.randrange(len(data))
    piece = data[start : start + rng.randint(1, 200)]
    data[start:start] = piece * rng.choice((1, 1, 2, 50))


def _moved(data: bytearray, _: Sequence[bytes], rng: random.Random) -> None:
    start = rng.randrange(len(data))
    piece = data[start : start + rng.randint(1, 64)]
    del data[start : start + len(piece)]
    place = rng.randint(0, len(data))
    data[place:place] = piece


def _spliced(data: bytearray, others: Sequence[bytes], rng: random.Random) -> None:
    other = rng.choice(others)
    start, place = rng.randrange(len(other)), rng.randrange(len(data))
    piece = other[start : start + rng.randint(1, 400)]
    data[place : place + rng.choice((0, len(piece)))] = piece


def _half(data: bytearray, others: Sequence[bytes], rng: random.Random) -> None:
    """The beginning of this file and the end of another."""
    other = rng.choice(others)
    data[rng.randrange(len(data)) :] = other[rng.randrange(len(other)) :]


def _filled(data: bytearray, _: Sequence[bytes], rng: random.Random) -> None:
    start = rng.randrange(len(data))
    stop = min(start + rng.randint(1, 256), len(data))
    data[start:stop] = bytes([rng.choice((0, 0xFF, 0x20))]) * (stop - start)


_WAYS: tuple[Way, ...] = (
    _bits, _bits, _bytes, _number, _number, _near, _magic, _cut, _removed, _repeated, _moved,
    _spliced, _half, _filled,
)  # fmt: skip
