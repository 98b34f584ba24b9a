"""More than 200 picture files that nobody wishes to get, made when asked for.

`nasty()` gives each with its verdict: "picture" if it can be read all the same, "refused" if it
must not be, and "either" where the decoder may decide.
"""

import functools
import io
import pickle
import struct
import zipfile
import zlib

import numpy as np
from PIL import Image

from fuzz.seeds import HEIGHT, WIDTH, deep, encoded, grey, rgb
from fuzz.seeds import pictures as seeds
from tests.hostile.builders import (
    DATA_AT,
    END,
    PNG_MAGIC,
    bmp,
    box,
    chunk,
    exif,
    gif,
    header,
    picture_entries,
    png,
    profile_of,
    profile_with,
    replaced,
    riff,
    rows,
    tag_of,
    tiff,
    vp8x,
    whole,
    with_size,
)
from zcolor.icc import srgb_profile

LIMIT = 1_000_000
"""The pixels that bombs are refused by."""
_LARGE = 2**31 - 1
_XBM = b"#define a_width %d\n#define a_height %d\nstatic char a_bits[] = {\n0};"


@functools.cache
def nasty():
    """Name -> (bytes, verdict) of all of them."""
    parts = (_bombs, _no_size, _kinds, _pages, _exif, _profiles, _order_png, _broken, _foreign)
    return {f"{part.__name__[1:]}-{name}": found for part in parts for name, found in part()}


def cut(step=10):
    """Every format cut off after every `step` bytes: name -> bytes."""
    return {
        f"{name}-{length}": data[:length]
        for name, data in seeds().items()
        for length in range(1, len(data) - 1, step)
    }


def _refused(**files):
    return [(name.replace("_", "-"), (data, "refused")) for name, data in files.items()]


def _picture(**files):
    return [(name.replace("_", "-"), (data, "picture")) for name, data in files.items()]


def _either(**files):
    return [(name.replace("_", "-"), (data, "either")) for name, data in files.items()]


def _bombs():
    black, zeros = np.zeros((2000, 2000), np.uint8), zlib.compress(bytes(70_000_000))
    for width, height in ((65535, 65535), (_LARGE, 1), (1, _LARGE), (_LARGE, _LARGE), (1001, 1000)):
        name = f"{width}x{height}"
        yield from _refused(
            **{
                f"png_{name}": png(header(width, height), rows(), END),
                f"tiff_{name}": tiff(picture_entries(width, height), bytes(64)),
                f"tiff_one_strip_{name}": tiff(
                    picture_entries(width, height, compression=8), zeros
                ),
                f"bmp_{name}": bmp(width, height),
                f"ppm_{name}": b"P6 %d %d 255\n" % (width, height),
                f"xbm_{name}": _XBM % (width, height),
            }
        )
    whole_files = seeds()
    for name in ("jpeg", "gif", "tga"):
        yield from _refused(**{f"{name}_large": with_size(whole_files[name], 65000, 65000)})
    yield from _refused(
        jp2=with_size(whole_files["jp2"], _LARGE, _LARGE),
        avif=with_size(whole_files["avif"], 30000, 30000),
        webp=riff(vp8x(2**24, 256), (b"VP8L", bytes(20))),
        webp_edge=riff(vp8x(16383, 16383), (b"VP8L", bytes(20))),
        png_ratio=encoded(black, "PNG"),
        png_one_bit=encoded(Image.new("1", (2000, 2000)), "PNG"),
        gif_ratio=encoded(black, "GIF"),
        tiff_ratio=encoded(black, "TIFF", compression="tiff_adobe_deflate"),
        webp_ratio=encoded(black, "WEBP", lossless=True),
        jpeg_ratio=encoded(black, "JPEG", quality=1),
        jp2_ratio=encoded(black, "JPEG2000"),
        bmp_rle=bmp(30000, 30000, 8, compression=1, n_colors=1, data=b"\0\0\0\0\0\1"),
        pcx=replaced(whole_files["pcx"], struct.pack("<2H", WIDTH - 1, HEIGHT - 1), b"\xff" * 4),
        ppm_digits=b"P6 " + b"9" * 4000 + b" 1 255\n",
        ppm_text=b"P3 99999 99999 255\n1 2 3",
    )
    yield from _either(
        png_behind_the_end=png(header(), rows(), chunk(b"IDAT", zeros), END),
        png_one_row_of_many=png(header(), chunk(b"IDAT", zeros), END),
        png_text=png(header(), chunk(b"zTXt", b"a\0\0" + zeros), rows(), END),
        png_unicode=png(header(), chunk(b"iTXt", b"a\0\1\0\0\0" + zeros), rows(), END),
        png_profile=png(header(), chunk(b"iCCP", b"a\0\0" + zeros), rows(), END),
        png_many_texts=png(header(), *[chunk(b"tEXt", b"a\0" + b"x" * 99)] * 2000, rows(), END),
        png_deep_behind_the_end=replaced(
            deep(".png"), END, chunk(b"IDAT", zeros[: len(zeros) // 9]) + END
        ),
        gif_frame_outside=gif(8, 8, (0, 0, 60000, 60000)),
        gif_frame_far=gif(8, 8, (65000, 65000, 4, 4)),
        tiff_strip_of_4_gb=tiff(picture_entries(n_bytes=2**32 - 1), bytes(300)),
        tiff_65535_samples=tiff(picture_entries(samples=65535), bytes(300)),
        tiff_tile=tiff(
            picture_entries(
                t322=(4, 1, 2**31), t323=(4, 1, 2**31), t324=(4, 1, DATA_AT), t325=(4, 1, 99)
            ),
            bytes(300),
        ),
        tiff_large_tile=tiff(
            picture_entries(
                compression=8,
                t322=(4, 1, 32768),
                t323=(4, 1, 32768),
                t324=(4, 1, DATA_AT),
                t325=(4, 1, 99),
            ),
            bytes(300),
        ),
        tiff_deflated=tiff(picture_entries(compression=8, n_bytes=len(zeros)), zeros),
        tiff_count_of_4_g=tiff(picture_entries(t258=(3, 2**32 - 1, 500)), bytes(300)),
    )


def _no_size():
    for width, height in ((0, 0), (0, 5), (5, 0)):
        name = f"{width}x{height}"
        yield from _refused(
            **{
                f"png_{name}": png(header(width, height), rows(), END),
                f"tiff_{name}": tiff(picture_entries(width, height), bytes(64)),
                f"bmp_{name}": bmp(width, height),
                f"gif_{name}": gif(width, height, (0, 0, width, height)),
                f"ppm_{name}": b"P6 %d %d 255\n" % (width, height),
                f"tga_{name}": with_size(seeds()["tga"], width, height),
            }
        )
    jpeg, size = seeds()["jpeg"], struct.pack(">HH", HEIGHT, WIDTH)
    yield from _refused(
        jpeg=replaced(jpeg, size, struct.pack(">HH", 0, 0)),
        jpeg_no_width=replaced(jpeg, size, struct.pack(">HH", 5, 0)),
        webp=riff(),
        jp2=with_size(seeds()["jp2"], 0, 0),
        bmp_negative=bmp(-5, 5),
        ppm_negative=b"P6 -5 5 255\n" + bytes(75),
        tiff_without=tiff([(256, 4, 1, 5)]),
    )
    yield from _either(
        bmp_top_down=bmp(5, -5, data=bytes(80)),
        bmp_lowest=bmp(5, -(2**31)),
        png_least=png(header(1, 1), rows(width=1, height=1), END),
    )


def _kinds():
    picture, grid = Image.fromarray(rgb()), Image.fromarray(grey())
    palette = picture.quantize(8)
    for bits in (1, 2, 4, 8, 16):
        yield from _picture(**{f"png_grey_{bits}": png(header(bits=bits), rows(bits), END)})
        yield from _picture(
            **{f"png_tRNS_{bits}": png(header(bits=bits), chunk(b"tRNS", b"\0\1"), rows(bits), END)}
        )
    for bits in (1, 2, 4, 8):
        few = png(header(bits=bits, color=3), chunk(b"PLTE", b"\1\2\3"), rows(bits), END)
        yield from _either(
            **{
                f"png_palette_of_one_{bits}": few,
                f"png_palette_missing_{bits}": png(header(bits=bits, color=3), rows(bits), END),
            }
        )
    for channels, color in ((3, 2), (2, 4), (4, 6)):
        for bits in (8, 16):
            data = rows(bits, channels)
            yield from _picture(
                **{f"png_{color}_{bits}": png(header(bits=bits, color=color), data, END)}
            )
    for bits, color in ((16, 3), (3, 0), (0, 0), (255, 0), (1, 2), (4, 6), (8, 1), (8, 5), (8, 77)):
        data = png(header(bits=bits, color=color), chunk(b"PLTE", bytes(48)), rows(16, 4), END)
        yield from _refused(**{f"png_{bits}_bits_of_{color}": data})
    for samples, photometric, bits in (
        (1, 3, 16),
        (1, 1, 12),
        (1, 1, 32),
        (3, 2, 12),
        (3, 8, 8),
        (3, 6, 8),
        (1, 32845, 8),
        (2, 2, 8),
        (5, 2, 8),
        (1, 4, 1),
        (1, 65535, 8),
        (1, 1, 0),
        (1, 1, 3),
        (4, 5, 16),
        (1, 0, 16),
    ):
        data = tiff(
            picture_entries(bits=bits, samples=samples, photometric=photometric), bytes(2000)
        )
        yield from _either(**{f"tiff_{samples}x{bits}_photometric_{photometric}": data})
    for name, number in (("nan", np.nan), ("inf", np.inf), ("large", 1e30), ("half", 0.5)):
        pixels = np.full((HEIGHT, WIDTH), number, np.float32)
        yield from _refused(**{f"tiff_float_{name}": encoded(Image.fromarray(pixels), "TIFF")})
    yield from _refused(
        tiff_int32=encoded(Image.fromarray(grey().astype(np.int32)), "TIFF"),
    )
    yield from _picture(
        png_palette_with_alpha=encoded(palette, "PNG", transparency=bytes(range(0, 160, 20))),
        png_palette_clear=encoded(palette, "PNG", transparency=3),
        png_interlaced=png(header(1, 1, interlace=1), rows(width=1, height=1), END),
        gif_clear=encoded(palette, "GIF", transparency=1),
        gif_interlaced=encoded(palette, "GIF", interlace=1),
        tiff_cmyk=encoded(picture.convert("CMYK"), "TIFF"),
        tiff_one_bit=encoded(grid.convert("1"), "TIFF", compression="group4"),
        tiff_alpha=encoded(picture.convert("RGBA"), "TIFF"),
        tiff_packbits=encoded(picture, "TIFF", compression="packbits"),
        tiff_jpeg=encoded(picture, "TIFF", compression="jpeg"),
        jpeg_cmyk=encoded(picture.convert("CMYK"), "JPEG"),
        jpeg_progressive=encoded(picture, "JPEG", progressive=True),
        jpeg_rare_sampling=encoded(picture, "JPEG", subsampling="4:1:1"),
        webp_alpha=encoded(picture.convert("RGBA"), "WEBP"),
        avif_alpha=encoded(picture.convert("RGBA"), "AVIF", speed=10),
        jp2_grey_alpha=encoded(grid.convert("LA"), "JPEG2000"),
        bmp_one_bit=encoded(grid.convert("1"), "BMP"),
        tga_grey_alpha=encoded(grid.convert("LA"), "TGA"),
        pbm=b"P4 9 2\n\xff\x80\0\0",
        pgm_of_one_level=b"P5 2 1 1\n\0\1",
        ppm_text=b"P3 # a note\n1 1 255\n 1 2 3\n",
    )


def _pages():
    one, two = Image.fromarray(grey()), Image.fromarray(grey()[::-1])
    both = {"save_all": True, "append_images": [two]}
    yield from _refused(
        gif=encoded(one, "GIF", **both),
        png=encoded(one, "PNG", **both),
        webp=encoded(one.convert("RGB"), "WEBP", **both),
        avif=encoded(one.convert("RGB"), "AVIF", speed=10, **both),
        tiff=encoded(one, "TIFF", **both),
        tiff_of_500=encoded(
            one.resize((1, 1)), "TIFF", save_all=True, append_images=[one.resize((1, 1))] * 499
        ),
    )
    yield from _picture(mpo=encoded(one.convert("RGB"), "MPO", **both))
    first = picture_entries()
    yield from _either(
        tiff_next_is_itself=tiff(first, bytes(300), next_ifd=8),
        tiff_next_is_outside=tiff(first, bytes(300), next_ifd=2**32 - 1),
        tiff_next_is_odd=tiff(first, bytes(300), next_ifd=9),
        gif_of_2000=gif(2, 2, *[(0, 0, 2, 2)] * 2000),
        gif_without_a_frame=gif(5, 5),
        apng_that_says_so=png(
            header(), chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0)), rows(), END
        ),
        apng_of_none=png(header(), chunk(b"acTL", struct.pack(">II", 0, 0)), rows(), END),
    )


def _exif():
    blocks = {
        f"orientation_{value}": exif([(0x0112, 3, 1, value)]) for value in (0, 1, 6, 9, 65535)
    }
    blocks |= {
        "orientation_text": exif([(0x0112, 2, 4, 0x363636)]),
        "orientation_many": exif([(0x0112, 3, 2**32 - 1, 6)]),
        "truncated": exif([(0x0112, 3, 1, 6)] * 3)[:24],
        "count": exif([(0x0112, 3, 1, 6)], n_entries=65535),
        "offset": b"Exif\0\0II*\0\xff\xff\xff\xff",
        "loop": exif([(0x8769, 4, 1, 8), (0x8825, 4, 1, 8)], next_ifd=8),
        "loop_of_interop": exif([(0x8769, 4, 1, 8), (0xA005, 4, 1, 8)]),
        "outside": exif([(0x8769, 4, 1, 2**32 - 1), (0x010F, 2, 10_000, 2**31)]),
        "unknown_type": exif([(0x010F, 99, 1, 6), (0x0112, 0, 1, 6)]),
        "fraction": exif([(0x011A, 5, 1, DATA_AT)], struct.pack("<II", 1, 0)),
        "text": b"Exif\0\0" + b"not a TIFF at all" * 3,
        "empty": b"Exif\0\0",
        "other_order": b"Exif\0\0MM*\0\0\0\0\x08\0\1\x01\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0",
        "large": exif([(0x927C, 7, 60_000, DATA_AT)], bytes(60_000)),
        "self_in_maker_note": exif([(0x8769, 4, 1, 8), (0x927C, 7, 400, 0)]),
    }
    for name, block in blocks.items():
        yield from _picture(
            **{f"{kind}_{name}": whole(kind, block) for kind in ("JPEG", "PNG", "WEBP")}
        )
    for name, value in (("0", 0), ("9", 9), ("65535", 65535)):
        data = tiff(picture_entries(t274=(3, 1, value)), bytes(grey()))
        yield from _either(**{f"TIFF_orientation_{name}": data})
    yield from _either(
        TIFF_exif_is_itself=tiff(picture_entries(t34665=(4, 1, 8)), bytes(grey())),
        TIFF_exif_is_outside=tiff(picture_entries(t34665=(4, 1, 2**31)), bytes(grey())),
        TIFF_resolution=tiff(picture_entries(t282=(5, 1, 2**31)), bytes(grey())),
    )


def _profiles():
    srgb = srgb_profile()
    red, entry = tag_of(srgb, b"rTRC")
    xyz, _ = tag_of(srgb, b"rXYZ")
    profiles = {
        "one_byte": b"\0",
        "text": b"no profile at all " * 20,
        "truncated": srgb[: len(srgb) // 2],
        "header_alone": srgb[:128],
        "a_megabyte_of_zeros": bytes(1_000_000),
        "said_to_be_cmyk": profile_with(16, b"CMYK"),
        "said_to_be_grey": profile_with(16, b"GRAY"),
        "unknown_space": profile_with(16, b"\xff\xfe\xfd\xfc"),
        "lab": profile_of("LAB"),
        "xyz": profile_of("XYZ"),
        "4_g_tags": profile_with(128, b"\xff\xff\xff\xff"),
        "tags_outside": profile_with(entry + 4, struct.pack(">II", 2**32 - 1, 2**32 - 1)),
        "curve_is_the_header": profile_with(entry + 4, struct.pack(">II", 0, 128)),
        "unknown_curve": profile_with(red, b"curX"),
        "curve_of_kind_9": profile_with(red, b"para\0\0\0\0\0\x09"),
        "curve_of_4_g": profile_with(red, b"curv\0\0\0\0\xff\xff\xff\xff"),
        "exponent_0": profile_with(red + 12, struct.pack(">i", 0)),
        "exponent_negative": profile_with(red + 12, struct.pack(">i", -(2**31))),
        "exponent_large": profile_with(red + 12, struct.pack(">i", 2**31 - 1)),
        "slope_0": profile_with(red + 16, struct.pack(">i", 0)),
        "red_is_black": profile_with(xyz + 8, bytes(12)),
        "red_is_negative": profile_with(xyz + 8, b"\x80\0\0\0" * 3),
        "size_lies": profile_with(0, b"\xff\xff\xff\xff"),
        "no_magic": profile_with(36, b"nope"),
    }
    for name, profile in profiles.items():
        yield from _picture(
            **{f"{kind}_{name}": whole(kind, icc=profile) for kind in ("JPEG", "PNG")}
        )
        chunked = chunk(b"iCCP", b"a\0\0" + zlib.compress(profile))
        yield from _picture(**{f"png16_{name}": _with_chunk(deep(".png"), chunked)})
    cmyk = Image.fromarray(rgb()).convert("CMYK")
    yield from _picture(
        cmyk_with_rgb=encoded(cmyk, "JPEG", icc_profile=srgb),
        cmyk_with_a_lie=encoded(cmyk, "JPEG", icc_profile=profile_with(16, b"CMYK")),
        grey_with_rgb=encoded(grey(), "JPEG", icc_profile=srgb),
        grey_with_a_lie=encoded(grey(), "PNG", icc_profile=profile_with(16, b"GRAY")),
    )


def _with_chunk(data, added):
    """A PNG with one more chunk behind its header."""
    return data[:33] + added + data[33:]


def _order_png():
    head, data = header(), rows()
    palette = header(color=3)
    yield from _either(
        data_first=png(data, head, END),
        two_headers=png(head, header(99, 99), data, END),
        second_header_between=png(head, data, header(4000, 4000), END),
        palette_last=png(palette, rows(), chunk(b"PLTE", bytes(48)), END),
        two_palettes=png(palette, chunk(b"PLTE", bytes(3)), chunk(b"PLTE", bytes(48)), rows(), END),
        palette_of_2_bytes=png(palette, chunk(b"PLTE", b"ab"), rows(), END),
        palette_of_300=png(palette, chunk(b"PLTE", bytes(900)), rows(), END),
        no_end=png(head, data),
        two_ends=png(head, data, END, END),
        after_the_end=png(head, data, END) + b"hello" * 100,
        unknown_critical=png(head, chunk(b"ABCD", b"x"), data, END),
        data_in_bytes=png(
            head, *[chunk(b"IDAT", bytes([b])) for b in zlib.compress(bytes(17 * 12))], END
        ),
        data_empty=png(head, chunk(b"IDAT"), data, END),
        interrupted_data=png(head, data, chunk(b"tEXt", b"a\0b"), data, END),
        wrong_crc=png(head, chunk(b"tEXt", b"a\0b", crc=1), data, END),
        text_without_end=png(head, chunk(b"tEXt", b"a" * 100), data, END),
        gamma_0=png(head, chunk(b"gAMA", bytes(4)), data, END),
        density_0=png(head, chunk(b"pHYs", bytes(9)), data, END),
        density_large=png(head, chunk(b"pHYs", b"\xff" * 8 + b"\1"), data, END),
    )
    yield from _refused(
        wrong_crc_of_header=png(chunk(b"IHDR", b"\0\0\0\5\0\0\0\5\x08\0\0\0\0", crc=1), data, END),
        length_of_4_g=png(head, chunk(b"IDAT", b"x", length=2**32 - 1)),
        length_negative=png(head, chunk(b"tEXt", b"x", length=2**31)),
        header_alone=png(head),
        header_short=png(chunk(b"IHDR", bytes(5)), data, END),
        nothing=PNG_MAGIC,
        unknown_method=png(header(method=9), chunk(b"IDAT", b"nonsense"), END),
        unknown_letters=png(head, chunk(b"\0\1\2\3"), data, END),
    )


def _broken():
    """What no header gives away."""
    whole_files = seeds()
    jpeg = whole_files["jpeg"]
    start = jpeg.index(b"\xff\xda")
    table = jpeg.index(b"\xff\xdb")
    yield from _either(
        jpeg_without_an_end=jpeg[:-2],
        jpeg_with_a_tail=jpeg + b"\0" * 1000,
        jpeg_twice=jpeg + jpeg,
        jpeg_in_jpeg=jpeg[:2] + b"\xff\xe2\xff\xff" + jpeg * 3,
        jpeg_two_frames=jpeg[:start] + jpeg[2:],
        jpeg_no_tables=jpeg[:table] + jpeg[start:],
        jpeg_scan_of_zeros=jpeg[: start + 14] + bytes(500) + b"\xff\xd9",
        jpeg_scan_of_marks=jpeg[: start + 14] + b"\xff\xd0" * 500 + b"\xff\xd9",
        jpeg_mark_of_no_length=jpeg[:2] + b"\xff\xe1\0\0" + jpeg[2:],
        jpeg_255_components=jpeg[:2] + b"\xff\xc0\0\x11\x08\0\5\0\5\xff" + bytes(9) + jpeg[2:],
        jpeg_12_bits=replaced(jpeg, b"\xff\xc0\0\x11\x08", b"\xff\xc0\0\x11\x0c"),
        jpeg_arithmetic=replaced(jpeg, b"\xff\xc0", b"\xff\xc9"),
        jpeg_lossless=replaced(jpeg, b"\xff\xc0", b"\xff\xc3"),
        bmp_bits_9=bmp(5, 5, 9),
        bmp_offset=bmp(5, 5, offset=2**32 - 1),
        bmp_colors=bmp(5, 5, 8, n_colors=2**32 - 1),
        bmp_compression=bmp(5, 5, compression=77),
        bmp_rle_outside=bmp(
            5, 5, 8, compression=1, n_colors=2, data=bytes(8) + b"\0\2\xff\xff" * 9
        ),
        jp2_box_of_no_size=replaced(whole_files["jp2"], b"jp2h", b"jp2h")[:16]
        + box(b"abcd", b"", 1),
        jp2_without_code=whole_files["jp2"][: whole_files["jp2"].index(b"jp2c")],
        avif_box_lies=replaced(whole_files["avif"], b"meta", b"mdat"),
        webp_size_lies=riff(vp8x(5, 5), size=2**32 - 1),
        webp_without_data=riff(vp8x(5, 5, 0x10)),
        tiff_no_entries=tiff([]),
        tiff_65535_entries=tiff([], n_entries=65535),
        tiff_compression=tiff(picture_entries(compression=65000), bytes(300)),
        tiff_offset_outside=tiff(picture_entries(t273=(4, 1, 2**32 - 1)), bytes(300)),
        tiff_offsets_many=tiff(picture_entries(t273=(4, 2**31, 8)), bytes(300)),
        big_tiff=b"II+\0\x08\0\0\0" + struct.pack("<Q", 2**63) + bytes(100),
        gif_no_palette=gif(5, 5, (0, 0, 5, 5), palette=0),
        gif_code_size=replaced(whole_files["gif"], b"\x2c\0\0\0\0", b"\x2c\0\0\0\1"),
        pcx_odd=whole_files["pcx"][:65] + b"\xff" + whole_files["pcx"][66:],
        tga_map=b"\0\1\1" + b"\xff" * 15 + bytes(500),
    )


def _foreign():
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("../../photo.jpg", seeds()["jpeg"])
    rng = np.random.default_rng(7)
    yield from _refused(
        empty=b"",
        one_byte=b"\xff",
        text=b"Dear grandmother,\n" * 20,
        html=b"<!doctype html><title>404 Not Found</title>",
        json=b'{"error": "no such file"}' * 9,
        svg=b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
        pdf=b"%PDF-1.7\n1 0 obj\n" * 9,
        postscript=b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        script=b"#!/bin/sh\nrm -rf ~\n",
        program=b"\x7fELF\2\1\1" + bytes(200),
        pickle=pickle.dumps(["a picture"] * 9),
        archive=archive.getvalue(),
        zeros=bytes(4096),
        ones=b"\xff" * 4096,
        newlines=b"\n" * 4096,
        noise=rng.bytes(4096),
        magic_jpeg=b"\xff\xd8\xff",
        magic_gif=b"GIF89a",
        magic_webp=b"RIFF\0\0\0\0WEBP",
        magic_avif=b"\0\0\0\x1cftypavif",
        magic_jp2=b"\0\0\0\x0cjP  \r\n\x87\n",
        magic_bmp=b"BM",
        magic_tiff=b"II*\0",
        magic_ppm=b"P6",
        icon=b"\0\0\1\0\1\0" + bytes(60),
        psd=b"8BPS\0\1" + bytes(60),
        fits=b"SIMPLE  =                    T",
        hdr=b"#?RADIANCE\n",
        ico_png=b"\0\0\1\0" + seeds()["png"],
    )
