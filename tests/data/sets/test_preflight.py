"""The pre-flight: every bad file is found, with its path, and good ones are left alone."""

import io

import numpy as np
import pytest
from oracles.images import png
from PIL import Image

from kcnn.data import from_arrays, load_data, preflight
from kcnn.data.sets.seen import look_at
from kcnn.errors import InputError

KINDS = ("JPEG", "PNG", "BMP", "GIF", "WEBP")


def content(kind, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def written(folder, **files):
    paths = []
    for name, data in files.items():
        paths.append(folder / f"{name}.jpg")
        paths[-1].write_bytes(data)
    return paths


def test_good_files_pass_whatever_their_suffix(tmp_path):
    animated = io.BytesIO()
    frames = [Image.new("L", (5, 5), grey) for grey in (0, 90, 200)]
    frames[0].save(animated, "GIF", save_all=True, append_images=frames[1:])
    files = {kind: content(kind) for kind in KINDS} | {"animated": animated.getvalue()}
    assert look_at(written(tmp_path, **files)) == []


def test_bytes_after_the_end_are_no_fault(tmp_path):
    files = {kind: content(kind) + b"\0" * 50 for kind in KINDS}
    assert look_at(written(tmp_path, **files)) == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("part", [0.3, 0.6, 0.95, 0.998])
def test_truncated_files_are_found(tmp_path, kind, part):
    whole = content(kind)
    (path,) = written(tmp_path, cut=whole[: int(part * len(whole))])
    ((found, reason),) = look_at([path])
    assert found == path
    assert "truncated" in reason


def test_every_other_fault_has_its_reason(tmp_path):
    damaged = bytearray(content("PNG"))
    damaged[100] ^= 0xFF
    paths = written(
        tmp_path,
        empty=b"",
        text=b"this is not an image\n" * 20,
        web_page=b"<!DOCTYPE html><html></html>",
        stub=b"\xff\xd8\xff",
        good=content("JPEG"),
        damaged=bytes(damaged),
        large=png(10_000, 10_000, 8, 0, []),
        huge=png(100_000, 100_000, 8, 0, []),
    )
    paths.append(tmp_path / "missing.jpg")
    bad = {path.stem: reason for path, reason in look_at(paths)}
    assert list(bad) == [
        "empty",
        "text",
        "web_page",
        "stub",
        "damaged",
        "large",
        "huge",
        "missing",
    ]
    assert bad["empty"] == "is empty"
    assert all("is not a JPEG" in bad[key] for key in ("text", "web_page"))
    assert all("damaged" in bad[key] for key in ("damaged", "stub"))
    assert "pixels are declared" in bad["large"]
    assert "pixels are declared" in bad["huge"]
    assert "No such file" in bad["missing"]


def test_progress_counts_every_file(tmp_path):
    paths = written(tmp_path, **{f"n{i}": content("BMP", i) for i in range(9)})
    seen = []
    look_at(paths, seen.append)
    assert seen == list(range(1, 10))


@pytest.fixture
def spoilt(make_folder):
    """30 images of two classes, 25 of them good."""
    root = make_folder({"a": 15, "b": 15})
    for i in range(5):
        (root / "a" / f"{i:03}.png").write_bytes(b"")
    return root


def test_bad_files_are_refused_with_every_path(spoilt):
    with pytest.raises(InputError, match="5 of 30 image files") as caught:
        preflight(load_data(spoilt))
    for i in range(5):
        assert f"{spoilt}/a/{i:03}.png: is empty" in str(caught.value)
    assert "skip_bad" in str(caught.value)


def test_a_long_list_is_cut(spoilt):
    for i in range(15):
        (spoilt / "b" / f"{i:03}.png").write_bytes(b"x")
        (spoilt / "a" / f"{i:03}.png").write_bytes(b"x")
    with pytest.raises(InputError, match="and 10 more"):
        preflight(load_data(spoilt))


def test_skip_bad_leaves_them_out_and_moves_nothing_else(spoilt):
    before = load_data(spoilt)
    after = preflight(before, skip_bad=True)
    for name in ("train", "validation", "test"):
        old, new = getattr(before, name), getattr(after, name)
        good = [path for path in old.images if path.stat().st_size]
        assert list(new.images) == good
        assert [before.class_names[label] for label in new.labels] == [p.parent.name for p in good]
    assert "5 bad files left out" in after.provenance
    assert after.fingerprint != before.fingerprint
    assert load_data(spoilt, skip_bad=True).fingerprint == after.fingerprint


def test_skip_bad_must_leave_every_class(spoilt):
    for path in (spoilt / "a").iterdir():
        path.write_bytes(b"")
    with pytest.raises(InputError, match="no training image is left of a"):
        load_data(spoilt, skip_bad=True)


def test_skip_bad_must_leave_every_split(make_folder):
    root = make_folder({"train/a": 3, "train/b": 3, "val/a": 1})
    (root / "val" / "a" / "000.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"test split .* is empty"):
        load_data(root, skip_bad=True, validation=2)


def test_good_data_and_arrays_pass_untouched(make_folder, noise):
    data = load_data(make_folder({"a": 5, "b": 5}))
    assert preflight(data) is data
    arrays = from_arrays((noise, np.tile([0, 1], 20)))
    assert preflight(arrays) is arrays


def test_real_photographs_pass(real_data):
    data = load_data("imagenette_small")
    assert preflight(data) is data
