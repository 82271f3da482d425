"""Image files to pixels, in one way at training and at predict time.

| Stored as                                  | Becomes                                            |
|--------------------------------------------|----------------------------------------------------|
| EXIF orientation                           | the image is turned upright                        |
| transparency (RGBA, LA, palette, tRNS)     | composited over white, the page it was drawn for   |
| 16 bits per channel                        | the high byte (value >> 8); nothing is clipped     |
| 1 bit                                      | 0 and 255                                          |
| CMYK, palette                              | RGB, by Pillow                                     |
| several frames or pages                    | the first                                          |
| `channels=1`                               | luminance, 0.299 R + 0.587 G + 0.114 B (ITU-R 601) |
"""

import contextlib
import io
import os
import stat
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from kcnn.data.sets import filetypes
from kcnn.errors import InputError

# Pillow warns of decompression bombs from 89,478,485 pixels on; beyond it, kcnn refuses.
MAX_PIXELS = 1024 * 1024 * 1024 // 4 // 3
#: Of one image while it is decoded and converted; threads decode several.
MAX_BYTES = 768 * 2**20

BROKEN = "is truncated or damaged"
_NO_COLOURS = ("F", "LAB", "HSV")  # Pillow's modes: floats of any range, and what it cannot convert
_TOO_LARGE = f"more than {MAX_PIXELS:,} pixels are declared: scale the image down first"


class BadImage(Exception):
    """Why one file is no image that can be used, as the end of the phrase `PATH: ...`."""


def open_image(source: Path | io.BytesIO) -> Image.Image:
    """The header of an image file, its format and size checked; pixels are not decoded.

    Raises:
        BadImage: empty, unreadable, of no format that is read, or larger than `MAX_PIXELS`.
    """
    if isinstance(source, Path) and not is_regular(source):
        raise BadImage("is no regular file, but a folder, pipe, socket or device")
    try:
        image = _opened(source)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise BadImage(_TOO_LARGE) from error
    except Image.UnidentifiedImageError as error:
        raise BadImage(_unidentified(source)) from error
    except OSError as error:
        reason = f"cannot be read: {error.strerror}" if error.errno else f"{BROKEN}: {error}"
        raise BadImage(reason) from error
    except Exception as error:  # decoders raise a dozen kinds on broken headers
        raise BadImage(f"{BROKEN}: {error}") from error
    if image.width * image.height > MAX_PIXELS:
        image.close()
        raise BadImage(_TOO_LARGE)
    if (size := image.width * image.height * _bytes_per_pixel(image)) > MAX_BYTES:
        image.close()
        raise BadImage(
            f"decoding it takes {size / 2**20:,.0f} MiB, and {MAX_BYTES / 2**20:,.0f} are allowed: "
            f"scale the image down first"
        )
    if image.mode in _NO_COLOURS or (image.mode == "I" and image.format == "TIFF"):
        image.close()
        raise BadImage(
            f"holds {image.mode}, no bytes of grey or colours (floats, 32 bits or Lab): convert it "
            f"to 8 or 16 bits first"
        )
    return image


def has_several(image: Image.Image) -> bool:
    """Whether an opened file holds several frames or pages, of which the first is used."""
    if image.format == "MPO":  # a photograph with a second one, for depth or as a preview
        return False
    try:
        return bool(getattr(image, "is_animated", False))
    except Exception:  # a damaged second frame is not looked at
        return False


def _opened(source: Path | io.BytesIO) -> Image.Image:
    try:
        return Image.open(source, formats=filetypes.formats())
    except Exception:  # AVIF's decoder, too, tries HEIC that is called `mif1`
        more = filetypes.formats(_head(source))
        if more == filetypes.formats():
            raise
    return Image.open(source, formats=more)


def _bytes_per_pixel(image: Image.Image) -> int:
    """At most, with the copies that `_converted` makes; Pillow keeps RGB in four bytes."""
    if _may_be_transparent(image):
        return 4 * 4  # itself, white, both on each other, and without transparency
    if image.mode.startswith("I"):
        return 4 + 4 + 1 + 4
    return 4 + 4 if image.mode != "RGB" else 4


def _may_be_transparent(image: Image.Image) -> bool:
    try:
        return image.has_transparency_data
    except Exception:  # a palette that is not there
        return True


def is_transparent(path: Path) -> bool:
    """Whether an image file has parts that are not opaque, which become white.

    Raises:
        BadImage: As `open_image`.
    """
    with open_image(path) as image:
        if not _may_be_transparent(image):
            return False
        load_pixels(image)
        alpha = np.asarray(image.convert("RGBA").getchannel("A"))
        return bool((alpha < 255).any())


def is_regular(path: Path) -> bool:
    """Whether a path is not one that is no file: what is not there, opening says better."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        return True


def load_pixels(image: Image.Image) -> None:
    """Decode the pixels of an opened image in place; BadImage where that fails."""
    try:
        image.load()
    except Exception as error:  # as above: OSError, SyntaxError, struct.error, zlib.error, ...
        raise BadImage(f"{BROKEN}: {error}") from error


def decode(source: str | os.PathLike | bytes, channels: int = 3) -> np.ndarray:
    """Read one image file, as the table above says.

    Args:
        source: a path, or the bytes of a file.
        channels: 3 for RGB, 1 for luminance.

    Returns:
        uint8, (H, W, C) with C = `channels`.

    Raises:
        InputError: no such file, not an image, truncated, oversize, or other `channels`.
    """
    return np.atleast_3d(np.asarray(read(source, channels)))  # (H, W) -> (H, W, 1)


def read(source: str | os.PathLike | bytes, channels: int = 3) -> Image.Image:
    """As `decode`, but as a Pillow image of mode RGB or L."""
    if channels not in (1, 3):
        raise InputError(
            f"Image files are read with 3 channels (RGB) or 1 (luminance). Received: {channels}."
        )
    opened = io.BytesIO(source) if isinstance(source, bytes) else Path(source)
    try:
        with open_image(opened) as image:
            load_pixels(image)
            return _as_mode(image, "RGB" if channels == 3 else "L")
    except BadImage as error:
        raise InputError(
            f"{f'{len(source)} bytes' if isinstance(source, bytes) else opened}: {error}. "
            f"Images are {filetypes.NAMED} files."
        ) from error


def decode_within(source: str | os.PathLike | bytes, side: int, channels: int = 3) -> np.ndarray:
    """As `decode`, shrunk until its longer side has at most `side` pixels, the aspect ratio kept.

    Raises:
        InputError: As `decode`; `side` below 1.
    """
    if side < 1:
        raise InputError(f"A picture has at least 1 pixel on a side; received {side}.")
    image = read(source, channels)
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    return np.atleast_3d(np.asarray(image))


def glimpse(path: Path, side: int) -> Image.Image:
    """As `read`, but a JPEG only as large as it has to be for `side` pixels either way.

    Raises:
        InputError: As `decode`.
    """
    try:
        with open_image(path) as image:
            image.draft("RGB", (side, side))
            load_pixels(image)
            return _as_mode(image, "RGB")
    except BadImage as error:
        raise InputError(f"{path}: {error}.") from error


def fit(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Scale an image until it just covers the target, and cut the centre out.

    Bilinear with antialiasing, the aspect ratio kept. An image of the target's size is unchanged.

    Args:
        image: uint8, (H, W, C) with C = 1 or 3.
        height: rows of the result, at least 1.
        width: columns of the result, at least 1.

    Returns:
        uint8, (height, width, C).
    """
    pixels = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    return np.atleast_3d(np.asarray(fitted(pixels, height, width)))


def fitted(image: Image.Image, height: int, width: int) -> Image.Image:
    """As `fit`, on a Pillow image."""
    if image.size == (width, height):
        return image
    scale = min(image.width / width, image.height / height)
    # The part of the image that becomes the target, in fractions of its pixels.
    left = (image.width - width * scale) / 2
    top = (image.height - height * scale) / 2
    box = (
        max(left, 0.0),
        max(top, 0.0),
        min(left + width * scale, image.width),
        min(top + height * scale, image.height),
    )
    return image.resize((width, height), Image.Resampling.BILINEAR, box=box)


def _as_mode(image: Image.Image, mode: str) -> Image.Image:
    try:
        return _converted(image, mode)
    except Exception as error:  # of pixels that their palette does not have, and the like
        raise BadImage(f"{BROKEN}: {error}") from error


def _converted(image: Image.Image, mode: str) -> Image.Image:
    image = _upright(image)
    if image.mode.startswith("I"):  # I;16 in its byte orders, or I: 16 bits in 32
        high = np.asarray(image) >> 8  # uint16, or int32
        image = Image.fromarray(np.clip(high, 0, 255, out=high).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image).convert("RGB")
    if image.mode not in ("L", "1", "RGB"):
        image = image.convert("RGB")
    return image if image.mode == mode else image.convert(mode)


def _upright(image: Image.Image) -> Image.Image:
    # EXIF that cannot be parsed turns nothing; the pixels are sound.
    with contextlib.suppress(Exception):
        ImageOps.exif_transpose(image, in_place=True)  # else every image is copied
    return image


def _head(source: Path | io.BytesIO) -> bytes:
    with source.open("rb") if isinstance(source, Path) else io.BytesIO(source.getvalue()) as file:
        return file.read(filetypes.HEAD)


def _unidentified(source: Path | io.BytesIO) -> str:
    head = _head(source)
    if not head:
        return "is empty"
    if filetypes.needs_plug_in(head):
        return "is HEIC, which Pillow reads with a plug-in: pip install pillow-heif"
    if filetypes.begins_as_image(head):
        return f"{BROKEN}: its header ends too early"
    return f"is not a {filetypes.NAMED} image"
