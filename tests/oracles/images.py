"""Small image files, made by Pillow."""

from pathlib import Path

from PIL import Image


def write_image(path: Path, colour: tuple[int, int, int] = (200, 30, 90), size=(12, 9)) -> Path:
    """One image of one colour; `size` is (width, height) as Pillow has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    return path
