"""Image files written by hand, so that any part of them can be wrong."""

import struct
import zlib

from PIL import ImageCms

from fuzz.seeds import HEIGHT, WIDTH, encoded, rgb
from zcolor.icc import srgb_profile


def whole(file_format, file_exif=None, icc=None):
    """A small RGB file with an EXIF block or a profile of one's own."""
    options = {"exif": file_exif} if file_exif is not None else {}
    return encoded(rgb(), file_format, **options, **({"icc_profile": icc} if icc else {}))


# ---- PNG -------------------------------------------------------------------------------------

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"


def chunk(kind, data=b"", *, length=None, crc=None):
    """One chunk of a PNG; its length and its checksum may lie."""
    crc = zlib.crc32(kind + data) if crc is None else crc
    return (
        struct.pack(">I", len(data) if length is None else length)
        + kind
        + data
        + (struct.pack(">I", crc))
    )


def header(width=WIDTH, height=HEIGHT, bits=8, color=0, interlace=0, method=0):
    """IHDR."""
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, color, method, 0, interlace))


def rows(bits=8, channels=1, width=WIDTH, height=HEIGHT):
    """IDAT for a picture of this kind: one filter byte a row, then zeros and a few ones."""
    row = b"\0" + bytes(i % 3 for i in range((width * bits * channels + 7) // 8))
    return chunk(b"IDAT", zlib.compress(row * height))


END = chunk(b"IEND")


def png(*chunks):
    """A PNG of these chunks."""
    return PNG_MAGIC + b"".join(chunks)


# ---- TIFF, which EXIF is too -------------------------------------------------------------------

_SIZES = {1: "B", 2: "s", 3: "H", 4: "I", 7: "s", 11: "f", 12: "d"}


def tiff(entries, data=b"", *, next_ifd=0, n_entries=None):
    """A little-endian TIFF: `entries` are (tag, type, count, value), `data` begins at DATA_AT.

    A value is a number in the entry itself; strips and long values stand in `data`.
    """
    body = b"".join(struct.pack("<HHII", *entry) for entry in sorted(entries))
    n_entries = len(entries) if n_entries is None else n_entries
    ifd = struct.pack("<H", n_entries) + body + struct.pack("<I", next_ifd)
    return (b"II*\0" + struct.pack("<I", 8) + ifd).ljust(DATA_AT, b"\0") + data


DATA_AT = 400


def picture_entries(
    width=WIDTH, height=HEIGHT, bits=8, samples=1, *, photometric=1, compression=1, n_bytes=None,
    **changed,
):  # fmt: skip
    """Entries of one strip at DATA_AT; `changed` are more of them: t277=(3, 1, 65535)."""
    n_bytes = width * height * bits * samples // 8 if n_bytes is None else n_bytes
    entries = {
        256: (4, 1, width), 257: (4, 1, height), 258: (3, 1, bits), 259: (3, 1, compression),
        262: (3, 1, photometric), 273: (4, 1, DATA_AT), 277: (3, 1, samples),
        278: (4, 1, height & 0xFFFFFFFF), 279: (4, 1, min(n_bytes, 2**32 - 1)),
    }  # fmt: skip
    entries |= {int(name[1:]): value for name, value in changed.items()}
    return [(tag, *value) for tag, value in entries.items()]


def exif(entries, data=b"", **how):
    """An EXIF block."""
    return b"Exif\0\0" + tiff(entries, data, **how)


# ---- others ----------------------------------------------------------------------------------


def box(kind, data, size=None):
    """A box of JPEG 2000 or AVIF."""
    return struct.pack(">I", len(data) + 8 if size is None else size) + kind + data


def riff(*chunks, size=None):
    """A WebP of these (name, data)."""
    body = b"WEBP" + b"".join(
        name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)
        for name, data in chunks
    )
    return b"RIFF" + struct.pack("<I", len(body) if size is None else size) + body


def vp8x(width, height, flags=0):
    """The header of an extended WebP."""
    return b"VP8X", bytes([flags, 0, 0, 0]) + (width - 1).to_bytes(3, "little") + (
        (height - 1).to_bytes(3, "little")
    )


def bmp(width, height, bits=24, *, compression=0, n_colors=0, offset=54, data=b"\0" * 64):
    """A Windows bitmap."""
    info = struct.pack(
        "<IiiHHIIiiII", 40, width, height, 1, bits, compression, 0, 0, 0, n_colors, 0
    )
    return b"BM" + struct.pack("<IHHI", 54 + len(data), 0, 0, offset) + info + data


def gif(width, height, *frames, palette=0xF0):
    """A GIF; a frame is (left, top, width, height)."""
    table = b"\0" * 6 if palette & 0x80 else b""
    body = b"".join(
        b"," + struct.pack("<HHHHB", *frame, 0) + b"\x02\x02\x44\x01\0" for frame in frames
    )
    return b"GIF89a" + struct.pack("<HHBBB", width, height, palette, 0, 0) + table + body + b";"


def replaced(data, old, new):
    """`data` with the first `old` in it changed, which must be there."""
    assert old in data
    return data.replace(old, new, 1)


def with_size(data, width, height):
    """A whole file of ours with another size in its header, wherever it says 16 x 12."""
    for code in (">II", ">HH", "<HH", "<II", "<ii"):
        for pair in ((WIDTH, HEIGHT), (HEIGHT, WIDTH)):
            new = (width, height) if pair[0] == WIDTH else (height, width)
            top = 2 ** (31 if code[1] == "i" else 8 * struct.calcsize(code[1])) - 1
            if struct.pack(code, *pair) in data and max(new) <= top:
                return data.replace(struct.pack(code, *pair), struct.pack(code, *new))
    raise ValueError("this file does not state its size as two numbers")


# ---- profiles --------------------------------------------------------------------------------


def profile_of(kind):
    """A whole profile that Pillow makes: "LAB", "XYZ" or "sRGB"."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile(kind)).tobytes()


def profile_with(position, new):
    """The sRGB profile with other bytes somewhere."""
    data = bytearray(srgb_profile())
    data[position : position + len(new)] = new
    return bytes(data)


def tag_of(profile, name):
    """Where the data of a tag begins, and where its entry in the table does."""
    (count,) = struct.unpack_from(">I", profile, 128)
    for i in range(count):
        found, offset, _ = struct.unpack_from(">4sII", profile, 132 + 12 * i)
        if found == name:
            return offset, 132 + 12 * i
    raise KeyError(name)
