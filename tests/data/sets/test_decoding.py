"""Image files to pixels: every format, mode and rotation that is documented."""

import io
import os
import struct
import zlib

import numpy as np
import pytest
from oracles.images import png
from PIL import Image

from kcnn.data import load_image
from kcnn.data.sets.decoding import decode
from kcnn.data.sets.images import fit
from kcnn.errors import InputError

RAMP = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3) * 3  # (H, W, C), no symmetry


def encoded(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("kind", "options"),
    [("PNG", {}), ("BMP", {}), ("WEBP", {"lossless": True}), ("GIF", {}), ("JPEG", {})],
)
def test_every_format_from_file_and_from_bytes(tmp_path, kind, options):
    content = encoded(Image.fromarray(RAMP), kind, **options)
    path = tmp_path / f"größe 1.{kind.lower()}"
    path.write_bytes(content)
    for source in (path, str(path), content):
        pixels = decode(source)
        assert (pixels.dtype, pixels.shape) == (np.uint8, (4, 6, 3))
        if kind not in ("JPEG", "GIF"):
            np.testing.assert_array_equal(pixels, RAMP)
        assert np.abs(pixels.astype(int) - RAMP).mean() < 20


def test_luminance_weighs_the_channels():
    pixels = decode(encoded(Image.fromarray(RAMP)), channels=1)
    expected = RAMP @ np.array([0.299, 0.587, 0.114])
    assert pixels.shape == (4, 6, 1)
    assert np.abs(pixels[..., 0] - expected).max() <= 1


def test_greyscale_becomes_three_equal_channels():
    content = encoded(Image.fromarray(RAMP[..., 0]))
    np.testing.assert_array_equal(decode(content), RAMP[..., :1].repeat(3, axis=2))
    np.testing.assert_array_equal(decode(content, channels=1), RAMP[..., :1])


def test_sixteen_bits_keep_the_high_byte():
    values = np.array([[0, 255, 256, 40000], [65535, 32768, 1000, 65280]], dtype=np.uint16)
    from_pillow = encoded(Image.fromarray(values))
    by_hand = png(4, 2, 16, 0, [row.astype(">u2").tobytes() for row in values])
    for content in (from_pillow, by_hand):
        pixels = decode(content, channels=1)[..., 0]
        np.testing.assert_array_equal(pixels, values // 256)
    rgb = np.stack([values, values[::-1], 65535 - values], axis=-1)
    content = png(4, 2, 16, 2, [row.astype(">u2").tobytes() for row in rgb])
    np.testing.assert_array_equal(decode(content), rgb // 256)


def test_one_bit_becomes_black_and_white():
    bits = np.array([[True, False, True], [False, False, True]])
    content = encoded(Image.fromarray(bits))
    np.testing.assert_array_equal(decode(content, channels=1)[..., 0], bits * 255)


def test_transparency_is_composited_over_white():
    alpha = np.array([[0, 255], [128, 64]], dtype=np.uint8)
    colour = np.full((2, 2, 3), (200, 40, 0), dtype=np.uint8)
    content = encoded(Image.fromarray(np.dstack([colour, alpha])))
    share = alpha[..., None] / 255
    expected = share * colour + (1 - share) * 255
    assert np.abs(decode(content) - expected).max() <= 1
    grey = encoded(Image.fromarray(np.dstack([colour[..., 0], alpha])))
    assert np.abs(decode(grey, channels=1) - (share * 200 + (1 - share) * 255)).max() <= 1


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_palette_with_transparency(kind):
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 0), 1)
    np.testing.assert_array_equal(decode(encoded(image, kind))[0], [[10, 20, 30], [200, 100, 50]])
    clear = decode(encoded(image, kind, transparency=1))
    np.testing.assert_array_equal(clear[0], [[10, 20, 30], [255, 255, 255]])


def test_palette_with_an_alpha_for_each_colour():
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 0), 1)
    content = encoded(image, transparency=bytes([255, 51]))  # opaque, and a fifth
    np.testing.assert_array_equal(decode(content)[0], [[10, 20, 30], [244, 224, 214]])


def test_one_transparent_colour_of_a_png():
    extra = b"tRNS" + struct.pack(">H", 7)
    extra = struct.pack(">I", 2) + extra + struct.pack(">I", zlib.crc32(extra))
    content = png(2, 1, 8, 0, [bytes([7, 9])], extra)
    np.testing.assert_array_equal(decode(content, channels=1)[0, :, 0], [255, 9])


def test_cmyk_becomes_rgb():
    cyan = np.zeros((16, 16, 4), dtype=np.uint8)
    cyan[..., 0] = 255
    pixels = decode(encoded(Image.fromarray(cyan, "CMYK"), "JPEG", quality=95))
    assert np.abs(pixels.astype(int) - [0, 255, 255]).max() < 8


def test_the_first_frame_of_an_animation():
    frames = [Image.new("RGB", (3, 2), colour) for colour in ("red", "blue", "green")]
    content = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(decode(content), np.full((2, 3, 3), (255, 0, 0)))


@pytest.mark.parametrize(
    ("orientation", "turned"),
    [
        (1, lambda a: a),
        (2, lambda a: a[:, ::-1]),
        (3, lambda a: a[::-1, ::-1]),
        (4, lambda a: a[::-1]),
        (5, lambda a: a.transpose(1, 0, 2)),
        (6, lambda a: np.rot90(a, -1)),
        (7, lambda a: a[::-1, ::-1].transpose(1, 0, 2)),
        (8, lambda a: np.rot90(a, 1)),
    ],
)
@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_exif_orientation_turns_the_image(kind, orientation, turned):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {}
    content = encoded(Image.fromarray(RAMP), kind, exif=exif, **options)
    np.testing.assert_array_equal(decode(content), turned(RAMP))


def test_fit_takes_the_centre_of_the_longer_side():
    wide = np.zeros((4, 12, 3), dtype=np.uint8)
    wide[:, 4:8] = 255
    np.testing.assert_array_equal(fit(wide, 4, 4), np.full((4, 4, 3), 255))
    tall = wide.transpose(1, 0, 2)
    np.testing.assert_array_equal(fit(tall, 8, 8)[1:-1], np.full((6, 8, 3), 255))
    assert fit(tall[..., :1], 3, 5).shape == (3, 5, 1)


def test_fit_averages_when_it_shrinks():
    stripes = np.zeros((64, 64, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    small = fit(stripes, 8, 8)
    assert np.abs(small[:, 1:-1].astype(int) - 128).max() < 20  # without antialiasing 0 or 255


def test_fit_leaves_an_image_of_the_right_size_alone():
    np.testing.assert_array_equal(fit(RAMP, 4, 6), RAMP)


def test_load_image_is_decode_and_fit(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(encoded(Image.fromarray(RAMP)))
    for shape in ((4, 6, 3), (3, 3, 3), (9, 5, 1)):
        expected = fit(decode(path, shape[2]), *shape[:2])
        np.testing.assert_array_equal(load_image(path, shape), expected)


@pytest.mark.parametrize("shape", [(4, 6), (None, None, 3), (0, 6, 3), (4, 6, 2), (4, 6, 4)])
def test_shapes_that_cannot_be_loaded_are_refused(shape):
    with pytest.raises(InputError, match=r"shape \(H, W, C\)|3 channels"):
        load_image(encoded(Image.fromarray(RAMP)), shape)


def test_bad_sources_are_refused_with_their_path(tmp_path):
    path = tmp_path / "früh am Tag.jpg"
    with pytest.raises(InputError, match=r"früh am Tag\.jpg: cannot be read: No such file"):
        decode(path)
    path.write_bytes(b"")
    with pytest.raises(InputError, match="is empty"):
        decode(path)
    path.write_text("hello")
    with pytest.raises(InputError, match="is not a JPEG"):
        decode(path)
    path.write_bytes(encoded(Image.fromarray(RAMP), "EPS"))
    with pytest.raises(InputError, match="is not a JPEG"):
        decode(path)
    path.write_bytes(encoded(Image.fromarray(RAMP), "JPEG")[:-40])
    with pytest.raises(InputError, match="truncated or damaged"):
        decode(path)
    with pytest.raises(InputError, match=f"{tmp_path}: is no regular file, but a folder"):
        decode(tmp_path)
    with pytest.raises(InputError, match="pixels are declared"):
        decode(png(20_000, 20_000, 8, 0, []))


def test_bytes_are_bounded_not_pixels(tmp_path):
    """8,000² pixels of 16 bits and transparency are below the limit of pixels, and 1 GB."""
    head = struct.pack(">II", 8000, 8000) + bytes((16, 6, 0, 0, 0))
    chunk = struct.pack(">I", 13) + b"IHDR" + head
    data = b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", zlib.crc32(b"IHDR" + head))
    body = zlib.compress(b"")
    data += struct.pack(">I", len(body)) + b"IDAT" + body
    data += struct.pack(">I", zlib.crc32(b"IDAT" + body))
    (tmp_path / "a.png").write_bytes(data)
    for source in (data, tmp_path / "a.png"):
        with pytest.raises(InputError, match="decoding it takes 977 MiB, and 768 are allowed"):
            decode(source)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file_is_not_waited_for(make, tmp_path):
    make(tmp_path / "x.jpg")
    with pytest.raises(InputError, match="no regular file"):
        load_image(tmp_path / "x.jpg", (8, 8, 3))


def test_sixteen_bits_are_the_high_byte():
    values = np.array([[0, 255, 256, 513], [65535, 65280, 1000, 40000]])
    found = decode(encoded(Image.fromarray(values.astype(np.uint16))), 1)
    np.testing.assert_array_equal(found[..., 0], values // 256)
