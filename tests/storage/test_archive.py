"""Archives: what goes in comes out, and nothing that is not whole is believed."""

import errno
import json
import struct

import ml_dtypes
import numpy as np
import pytest

from kcnn.errors import InputError
from kcnn.storage import archive, files

CONTENT = {
    "numbers": [1, -2.5, float("nan"), float("-inf"), 2**80, True, None, "Ümläut\n"],
    "pair": (1, [2, (3,)]),
    "scalar": np.float32(0.1),
    "weights": np.arange(6.0).reshape(2, 3),
    "order": np.asfortranarray(np.arange(6).reshape(2, 3)),
    "half": np.array([1.5, -0.0], ml_dtypes.bfloat16),
    "seed": np.array([1, 2**32 - 1], "uint32"),
    "flags": np.array([True, False]),
    "none": np.zeros((0, 3), "float32"),
    "point": np.array(7),
    "array": {"array": 1, "dict": 2, "tuple": 3},  # names that the format has a use for
}


def equal(a, b):
    if isinstance(a, (np.ndarray, np.generic)):
        assert type(a) is type(b)
        assert a.dtype == b.dtype
        assert a.shape == b.shape
        assert a.tobytes() == b.tobytes()
    elif isinstance(a, dict):
        assert list(a) == list(b)
        for key in a:
            equal(a[key], b[key])
    elif isinstance(a, (list, tuple)):
        assert type(a) is type(b)
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            equal(x, y)
    else:
        assert type(a) is type(b)
        assert a == b or a != a


@pytest.fixture
def written(tmp_path):
    path = tmp_path / "a.ckpt"
    archive.write(path, CONTENT)
    return path


def test_round_trip(written):
    equal(CONTENT, archive.read(written))
    assert [p.name for p in written.parent.iterdir()] == ["a.ckpt"]


def test_every_truncation_is_noticed(written):
    whole = written.read_bytes()
    for size in [*range(0, len(whole), 7), len(whole) - 1]:
        written.write_bytes(whole[:size])
        with pytest.raises(archive.DamagedError, match="damaged"):
            archive.read(written)


def test_every_flipped_bit_is_noticed(written):
    whole = written.read_bytes()
    rng = np.random.default_rng(0)
    for place in [*range(20), *rng.integers(0, len(whole), 100)]:
        changed = bytearray(whole)
        changed[place] ^= 1 << rng.integers(8)
        written.write_bytes(changed)
        with pytest.raises(InputError):
            archive.read(written)


def test_appended_bytes_are_noticed(written):
    written.write_bytes(written.read_bytes() + b"x")
    with pytest.raises(archive.DamagedError):
        archive.read(written)


def test_another_version_is_refused_by_name(written):
    written.write_bytes(written.read_bytes().replace(b"archive 1\n", b"archive 7\n"))
    with pytest.raises(InputError, match="format 7; this version of kcnn reads format 1"):
        archive.read(written)


def test_no_length_is_believed_before_the_checksum(tmp_path):
    """A head that declares an exabyte is refused without taking memory for it."""
    path = tmp_path / "huge.ckpt"
    rows = json.dumps({"arrays": [{"dtype": "<f8", "shape": [2**57]}]}).encode()
    path.write_bytes(b"kcnn archive 1\n" + struct.pack("<Q", 2**60) + rows + b"\n{}" + b"0" * 32)
    with pytest.raises(archive.DamagedError):
        archive.read(path)


def test_what_is_not_plain_is_refused(tmp_path):
    for value in (object(), {1: 2}, np.array([object()]), {3.5}, b"bytes"):
        assert not archive.is_plain(value)
        with pytest.raises(TypeError):
            archive.write(tmp_path / "a.ckpt", {"x": value})
    assert list(tmp_path.iterdir()) == []
    assert archive.is_plain(CONTENT)


def test_a_failed_write_leaves_the_file_before(written, monkeypatch):
    def fail(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        archive.write(written, {"other": 1})
    equal(CONTENT, archive.read(written))
    assert [p.name for p in written.parent.iterdir()] == ["a.ckpt"]
