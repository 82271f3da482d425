"""Small image files, made by Pillow or by hand."""

import struct
import zlib
from pathlib import Path

from PIL import Image


def write_image(path: Path, colour: tuple[int, int, int] = (200, 30, 90), size=(12, 9)) -> Path:
    """One image of one colour; `size` is (width, height) as Pillow has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    return path


def png(width, height, depth, colour, rows, extra=b""):
    """A PNG written by hand: `rows` are the bytes of each row, `colour` PNG's colour type."""

    def chunk(kind, body):
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    end = chunk(b"IDAT", body) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + end
