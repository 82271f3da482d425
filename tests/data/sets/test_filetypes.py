"""Kinds of image files: each that is listed is read, what cannot be shown is refused by name."""

import io

import numpy as np
import pytest
from PIL import Image

from kcnn.data import load_data, preflight
from kcnn.data.sets import filetypes
from kcnn.data.sets.decoding import decode
from kcnn.data.sets.seen import look_at
from kcnn.errors import InputError

RAMP = np.arange(8 * 12 * 3, dtype=np.uint8).reshape(8, 12, 3)


@pytest.mark.parametrize("suffix", [s for s in filetypes.SUFFIXES if s not in (".heic", ".heif")])
def test_every_suffix_is_read_from_a_file_and_from_bytes(tmp_path, suffix):
    path = tmp_path / f"picture{suffix}"
    grey = suffix in (".pgm", ".pbm")
    known = Image.registered_extensions()[suffix]
    Image.fromarray(RAMP).convert("L" if grey else "RGB").save(path, known)
    assert look_at([path]) == []
    for source in (path, path.read_bytes()):
        assert np.abs(decode(source).astype(int) - RAMP).mean() < 40
    if suffix in (".tif", ".ppm", ".qoi", ".jp2"):
        np.testing.assert_array_equal(decode(path), RAMP)


def test_heic_is_read_where_its_plug_in_is(tmp_path, monkeypatch):
    heif = pytest.importorskip("pillow_heif")
    path, renamed = tmp_path / "a.heic", tmp_path / "b.HEIC"
    heif.from_pillow(Image.new("RGB", (16, 8), (200, 30, 30))).save(path, quality=90)
    content = path.read_bytes()
    renamed.write_bytes(content[:8] + b"mif1" + content[12:])  # as other programs call it
    for source in (path, renamed, content):
        assert np.abs(decode(source).mean(axis=(0, 1)) - (200, 30, 30)).max() < 6
    assert look_at([path, renamed]) == []
    path.write_bytes(content[:200])
    assert "truncated or damaged" in look_at([path])[0][1]
    monkeypatch.setattr(filetypes, "_plugged_in", lambda: False)
    assert "pip install pillow-heif" in look_at([renamed])[0][1]


def test_what_is_no_picture_of_bytes_is_refused_before_a_training(tmp_path):
    kinds = {
        "floats": Image.fromarray(RAMP[..., 0].astype("float32")),
        "long": Image.fromarray(RAMP[..., 0].astype("int32") * 1000),
        "lab": Image.fromarray(RAMP).convert("LAB"),
        "wide": Image.fromarray(RAMP[..., 0].astype("uint16") * 256 + 77),
    }
    paths = [tmp_path / f"{name}.tif" for name in kinds]
    for path, image in zip(paths, kinds.values(), strict=True):
        image.save(path)
    assert [path.stem for path, reason in look_at(paths) if "convert it" in reason] == [
        "floats", "long", "lab",
    ]  # fmt: skip
    np.testing.assert_array_equal(decode(paths[-1], 1)[..., 0], RAMP[..., 0])


def test_of_several_pages_or_frames_the_first_is_taken_and_it_is_said(tmp_path):
    first, second = (Image.new("RGB", (8, 8), colour) for colour in ("red", "blue"))
    for number, suffix in enumerate(("tif", "gif", "png", "webp", "avif", "jpg")):
        path = tmp_path / "ab"[number % 2] / f"{number}.{suffix}"
        path.parent.mkdir(exist_ok=True)
        several = {} if suffix == "jpg" else {"save_all": True, "append_images": [second]}
        first.save(path, **several)
        assert decode(path)[0, 0, 0] > 200
        first.save(path.with_stem(f"one{number}"))
    checked = preflight(preflight(load_data(tmp_path, validation=0)))
    assert checked.provenance.count("of 5 files with several frames or pages the first") == 1


def test_signatures_say_what_is_broken():
    whole = io.BytesIO()
    Image.fromarray(RAMP).save(whole, "TIFF")
    with pytest.raises(InputError, match="truncated or damaged"):
        decode(whole.getvalue()[:100])
    with pytest.raises(InputError, match="TIFF, AVIF, JPEG 2000, PPM, QOI or HEIC image"):
        decode(b"no picture at all")
