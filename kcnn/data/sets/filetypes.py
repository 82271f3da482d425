"""Which image files are read: Pillow's formats, by what they are called and how they begin.

| Format          | Suffixes                      |                                                |
|-----------------|-------------------------------|------------------------------------------------|
| JPEG            | `.jpg` `.jpeg` `.jpe` `.jfif` | of several pictures in one (MPO) the first     |
| PNG, BMP, WebP  | `.png` `.bmp` `.webp`         | of an animation the first frame                |
| GIF             | `.gif`                        | the first frame                                |
| TIFF            | `.tif` `.tiff`                | the first page; not of floats, 32 bits, or Lab |
| AVIF            | `.avif`                       | the first frame                                |
| JPEG 2000       | `.jp2` `.j2k` `.jpx`          |                                                |
| PPM, PGM, PBM   | `.ppm` `.pgm` `.pbm` `.pnm`   |                                                |
| QOI             | `.qoi`                        |                                                |
| HEIC            | `.heic` `.heif`               | the main picture; by the plug-in `pillow-heif` |

Not read of what Pillow opens: EPS and WMF, which other programs draw; TGA and PCX, which cannot be
told from bytes that are no image; documents, and containers of textures, icons and measurements.
"""

from __future__ import annotations

import functools
import importlib

_KINDS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png",),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
    "AVIF": (".avif",),
    "JPEG2000": (".jp2", ".j2k", ".jpx"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "QOI": (".qoi",),
    "HEIF": (".heic", ".heif"),
}
#: Which files below a folder are images; HEIC's with or without its plug-in, so that none is lost
#: without a word.
SUFFIXES = tuple(suffix for suffixes in _KINDS.values() for suffix in suffixes)
#: For messages.
NAMED = "JPEG, PNG, BMP, GIF, WebP, TIFF, AVIF, JPEG 2000, PPM, QOI or HEIC"
#: Of Pillow's own, in the order in which they are tried.
_OWN = tuple(kind for kind in _KINDS if kind != "HEIF")

# How files of these formats begin: one that does, and is not identified, is broken.
_SIGNATURES = (
    b"\xff\xd8\xff", b"\x89PNG\r\n", b"BM", b"GIF8", b"RIFF", b"II*\0", b"MM\0*", b"qoif",
    b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51",
)  # fmt: skip
#: ISO 23008-12: behind the length of the first box and its name `ftyp`.
_HEIF = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_AVIF = (b"avif", b"avis")
#: Bytes that say what a file is.
HEAD = 16


def formats(head: bytes = b"") -> tuple[str, ...]:
    """What Pillow is asked to try on a file that begins so; HEIC is looked for where it may be."""
    return (*_OWN, "HEIF") if _is_heif(head) and _plugged_in() else _OWN


def begins_as_image(head: bytes) -> bool:
    """Whether it is how a file of these formats begins."""
    return head.startswith(_SIGNATURES) or _brand(head) in _AVIF + _HEIF


def needs_plug_in(head: bytes) -> bool:
    """Whether it is HEIC, and there is nothing to read it."""
    return _is_heif(head) and not _plugged_in()


def _brand(head: bytes) -> bytes:
    return head[8:12] if head[4:8] == b"ftyp" else b""


def _is_heif(head: bytes) -> bool:
    return _brand(head) in _HEIF


@functools.cache
def _plugged_in() -> bool:
    """Whether pillow-heif is installed; then Pillow knows of it from here on."""
    try:
        importlib.import_module("pillow_heif").register_heif_opener()
    except ImportError:
        return False
    return True
